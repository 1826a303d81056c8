"""Pooled against inside sources, and the explained share, against plain computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from cxr_core.trust.shortcut_model import Films, explained_share, inside_against_pooled, inside_sources, scored


def made(n: int = 300, seed: int = 0, bound: float = 0.9, sources: tuple[str, ...] = ("a", "b", "c")) -> Films:
    """Films whose source follows from the label in a share ``bound`` of them; two films a patient."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 3, n // 2), 2)
    place = np.where(np.repeat(rng.random(n // 2) < bound, 2), labels, np.repeat(rng.integers(0, 3, n // 2), 2))
    names = np.array(sources, object)[place % len(sources)]
    return Films(labels.astype(np.int64), np.array([f"g{k // 2}" for k in range(n)], object), names, 0, 1, 400)


def test_a_model_that_knows_the_source_alone_is_good_pooled_and_at_chance_inside():
    films = made()
    scores = np.select([films.sources == "a", films.sources == "b"], [0.1, 0.8], 0.9)
    found = inside_against_pooled(films, scores)
    assert found["pooled"]["value"] > 0.85
    assert found["inside"]["value"] == pytest.approx(0.5)
    assert found["difference"]["low"] > 0.3
    assert found["difference"]["value"] == pytest.approx(found["pooled"]["value"] - 0.5)


def test_a_model_that_knows_the_disease_keeps_its_score_inside():
    films = made()
    scores = (films.labels != 0) + np.random.default_rng(0).normal(0, 0.5, 300)
    found = inside_against_pooled(films, scores)
    assert found["inside"]["value"] > 0.85
    assert found["difference"]["low"] < 0 < found["difference"]["high"] or abs(found["difference"]["value"]) < 0.03


def test_inside_is_the_share_of_pairs_of_one_source_in_the_right_order():
    films = made(90, seed=3, bound=0.5)
    scores = np.round(np.random.default_rng(1).random(90) + 0.3 * (films.labels > 0), 1)
    wins = pairs = 0.0
    for i in np.flatnonzero(films.labels > 0):
        for j in np.flatnonzero(films.labels == 0):
            if films.sources[i] == films.sources[j]:
                pairs += 1
                wins += (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
    found = inside_against_pooled(films, scores)
    assert found["inside"]["value"] == pytest.approx(wins / pairs, abs=1e-12)
    assert found["pooled"]["value"] == pytest.approx(roc_auc_score(films.labels > 0, scores), abs=1e-12)
    each = inside_sources(films, scores)
    rows = films.sources == "a"
    assert each["a"]["value"] == pytest.approx(roc_auc_score(films.labels[rows] > 0, scores[rows]), abs=1e-12)


def test_scores_are_those_of_scikit_learn():
    films = made(120, seed=5)
    p = np.random.default_rng(2).dirichlet(np.ones(3), 120)
    p[np.arange(120), films.labels] += 0.4
    p /= p.sum(axis=1, keepdims=True)
    found = scored(films, p)
    areas = [roc_auc_score(films.labels == k, p[:, k]) for k in range(3)]
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(films.labels, p.argmax(axis=1)), abs=1e-12)
    assert found["macro_f1"]["value"] == pytest.approx(
        f1_score(films.labels, p.argmax(axis=1), average="macro"), abs=1e-12
    )
    assert found["macro_auc"]["value"] == pytest.approx(np.mean(areas), abs=1e-12)
    assert found["macro_auc"]["low"] < found["macro_auc"]["value"] < found["macro_auc"]["high"]


def test_the_explained_share_is_the_ratio_above_chance_with_a_paired_interval():
    films, rng = made(300, seed=7), np.random.default_rng(3)
    eye = np.eye(3)[films.labels]
    model, view = eye + rng.normal(0, 0.6, (300, 3)), eye + rng.normal(0, 1.6, (300, 3))
    found = explained_share(films, model, view)

    def area(rows: np.ndarray, scores: np.ndarray) -> float:
        ranks = rankdata(scores[rows], axis=0)
        found = []
        for k in range(3):
            positive = films.labels[rows] == k
            m = positive.sum()
            found.append((ranks[positive, k].sum() - m * (m + 1) / 2) / (m * (len(rows) - m)))
        return float(np.mean(found))

    every = np.arange(300)
    assert found["value"] == pytest.approx((area(every, view) - 0.5) / (area(every, model) - 0.5), abs=1e-12)
    ratios = []
    for _ in range(400):
        drawn = rng.integers(0, 150, 150)
        rows = np.concatenate([2 * drawn, 2 * drawn + 1])
        ratios.append((area(rows, view) - 0.5) / (area(rows, model) - 0.5))
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert found["low"] == pytest.approx(low, abs=0.03)
    assert found["high"] == pytest.approx(high, abs=0.03)
    assert explained_share(films, model, model)["value"] == pytest.approx(1)


def test_what_cannot_be_known_is_not_available():
    films = made(60)
    noise = np.random.default_rng(0).random((60, 3))
    assert "not above chance" in explained_share(films, np.full((60, 3), 1 / 3), noise)["reason"]
    one = Films(films.labels, films.groups, np.full(60, "a", object), 0, 1, 100)
    assert "one source" in inside_against_pooled(one, noise[:, 0])["difference"]["reason"]
    split = Films(films.labels, films.groups, np.where(films.labels == 0, "a", "b").astype(object), 0, 1, 100)
    assert "no source has films with and without" in inside_against_pooled(split, noise[:, 0])["inside"]["reason"]
    assert "no normal films" in inside_sources(split, noise[:, 0])["b"]["reason"]
    none = Films(films.labels, films.groups, films.sources, None, 1, 100)
    assert "no normal class" in inside_against_pooled(none, noise[:, 0])["pooled"]["reason"]
    same = Films(np.zeros(60, np.int64), films.groups, films.sources, 0, 1, 100)
    assert "two classes" in scored(same, noise)["macro_auc"]["reason"]
    alone = Films(films.labels, np.full(60, "g", object), films.sources, 0, 1, 100)
    assert "patient groups" in explained_share(alone, noise, noise)["reason"]


def test_a_model_without_any_error_has_a_share_still():
    films = made(90)
    found = explained_share(films, np.eye(3)[films.labels], np.eye(3)[films.labels] * 0.2 + 0.1)
    assert found["value"] == pytest.approx(1)
