"""Two models on the same films: paired resamples, p-values that hold what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import resample_weights, resampled_all
from cxr_core.evaluation.intervals import intervals
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.paired import bootstrap_p_value, difference_entry, paired_difference
from cxr_core.evaluation.weighted import OVERALL, PER_CLASS

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def made_up(n: int = 240, skills: tuple[float, float] = (1.5, 0.7), seed: int = 0) -> tuple[np.ndarray, ...]:
    """Labels, probabilities of two models that share most of their errors, groups of two films."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    shared = rng.normal(size=(n, 3))
    both = [np.exp(shared + 0.3 * rng.normal(size=(n, 3)) + skill * np.eye(3)[labels]) for skill in skills]
    a, b = (p / p.sum(axis=1, keepdims=True) for p in both)
    return labels, a, b, np.array([f"g{k // 2}" for k in range(n)])


def test_differences_are_those_of_the_scores_on_the_same_resamples() -> None:
    labels, a, b, groups = made_up()
    found = paired_difference(labels, a, b, groups, 3, 300, NAMES)
    one, two = classification_metrics(labels, a, NAMES), classification_metrics(labels, b, NAMES)
    (overall_a, classes_a), (overall_b, classes_b) = resampled_all(labels, [a, b], groups, 3, 300)
    for name in OVERALL:
        spread = overall_a[name] - overall_b[name]
        assert found[name]["value"] == pytest.approx(one[name] - two[name])
        assert (found[name]["low"], found[name]["high"]) == pytest.approx(np.quantile(spread, [0.025, 0.975]).tolist())
        assert found[name]["p_value"] == bootstrap_p_value(spread)
    for place, label in enumerate(NAMES):
        for name in PER_CLASS:
            entry = found["per_class"][label][name]
            assert entry["value"] == pytest.approx(one["per_class"][label][name] - two["per_class"][label][name])
            spread = classes_a[name][:, place] - classes_b[name][:, place]
            assert entry["low"] == pytest.approx(np.quantile(spread, 0.025))
    assert found["macro_auc"]["low"] > 0
    assert found["macro_auc"]["p_value"] == pytest.approx(2 / 301)


def test_pairing_narrows_the_interval_of_two_models_that_err_alike() -> None:
    labels, a, b, groups = made_up(skills=(1.0, 0.9))
    found = paired_difference(labels, a, b, groups, 0, 400)["accuracy"]
    alone = [intervals(labels, p, groups, 0, 400)["accuracy"] for p in (a, b)]
    apart = np.hypot(*(one["high"] - one["low"] for one in alone))
    assert found["high"] - found["low"] < 0.75 * apart


def test_a_model_less_itself_is_nothing_and_turning_the_two_turns_the_sign() -> None:
    labels, a, b, groups = made_up(90)
    same = paired_difference(labels, a, a, groups, 0, 100)
    for name in OVERALL:
        assert same[name] == {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}
    there, back = (paired_difference(labels, *pair, groups, 0, 100) for pair in ((a, b), (b, a)))
    assert there["mcc"]["value"] == -back["mcc"]["value"]
    assert there["mcc"]["low"] == pytest.approx(-back["mcc"]["high"])
    assert there["mcc"]["p_value"] == back["mcc"]["p_value"]


def test_the_p_value_counts_both_sides_and_the_sample_itself() -> None:
    assert bootstrap_p_value(np.array([0.1] * 97 + [-0.1] * 2)) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p_value(np.full(99, -0.2)) == pytest.approx(2 / 100)
    assert bootstrap_p_value(np.zeros(99)) == 1.0
    assert bootstrap_p_value(np.array([np.nan] * 50 + [0.1] * 49)) == pytest.approx(2 / 50)


def test_the_p_value_agrees_with_the_interval() -> None:
    for shift in np.linspace(-3, 3, 41):
        spread = np.random.default_rng(0).normal(size=1999) + shift
        entry = difference_entry(float(shift), spread)
        assert (entry["low"] > 0 or entry["high"] < 0) == (entry["p_value"] < 0.05)


def test_without_a_difference_the_p_value_is_small_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(4)
    groups = np.array([f"g{k // 2}" for k in range(200)])
    weights = np.concatenate(list(resample_weights(groups, 0, 500))) / 200
    skill = np.repeat(rng.beta(8, 2, (100, 1500)), 2, axis=0)  # of both models in each group, in 1,500 samples
    gain = (rng.random((200, 1500)) < skill).astype(float) - (rng.random((200, 1500)) < skill)
    spreads = weights @ gain
    p_values = np.array([bootstrap_p_value(spread) for spread in spreads.T])
    for level in (0.05, 0.2, 0.5):
        assert (p_values < level).mean() == pytest.approx(level, abs=0.04)


def test_what_has_no_difference_says_why() -> None:
    labels, a, b, groups = made_up(60)
    few = paired_difference(labels[:6], a[:6], b[:6], groups[:6], 0, 50, NAMES)
    assert few["accuracy"]["reason"] == "no interval: 3 patient groups, at least 5 are needed"
    assert few["accuracy"]["p_value"] is None
    only = labels == 0
    one = paired_difference(labels[only], a[only], b[only], groups[only], 0, 50, NAMES)
    assert one["macro_auc"] == unavailable("every film is Normal", p_value=None)
    json.dumps([few, one], allow_nan=False)
    with pytest.raises(CxrError, match="not of the same films"):
        paired_difference(labels, a, b[1:], groups, 0, 50)
    with pytest.raises(CxrError, match="add up"):
        paired_difference(labels, a, np.full_like(b, np.nan), groups, 0, 50)
