"""Scores of weighted films against scikit-learn on films repeated by their weight: every score, tie and gap."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights, resampled_all, resampled_scores
from cxr_core.evaluation.intervals import intervals
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.weighted import OVERALL, PER_CLASS, Ranking, WeightedScores

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def made_up(n: int = 240, decimals: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities (of few different values where rounded) and groups of one to three films."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    powers = np.exp(rng.normal(size=(n, 3)) + 1.1 * np.eye(3)[labels])
    p = powers / powers.sum(axis=1, keepdims=True)
    if decimals is not None:
        p = p.round(decimals)
        p[:, 0] = 1 - p[:, 1] - p[:, 2]
        p = np.abs(p.round(decimals))
    return labels, p, np.array([f"g{k}" for k in rng.integers(0, n // 2, n)])


def by_scikit_learn(labels: np.ndarray, p: np.ndarray) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Every score by the usual functions; films of every class."""
    said, truth = p.argmax(axis=1), np.eye(3)[labels]
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, said, labels=[0, 1, 2], zero_division=0)
    table = sk.multilabel_confusion_matrix(labels, said, labels=[0, 1, 2])
    per_class = {
        "precision": list(precision),
        "recall": list(recall),
        "specificity": [float(m[0, 0] / m[0].sum()) for m in table],
        "f1": list(f1),
        "auc": [float(sk.roc_auc_score(truth[:, c], p[:, c])) for c in range(3)],
        "pr_auc": [float(sk.average_precision_score(truth[:, c], p[:, c])) for c in range(3)],
        "brier": [float(sk.brier_score_loss(truth[:, c], p[:, c])) for c in range(3)],
    }
    overall = {
        "accuracy": float(sk.accuracy_score(labels, said)),
        **{f"macro_{name}": float(np.mean(values)) for name, values in per_class.items() if name != "brier"},
        "mcc": float(sk.matthews_corrcoef(labels, said)),
        "kappa": float(sk.cohen_kappa_score(labels, said)),
        "brier": float(np.mean(((p - truth) ** 2).sum(axis=1))),
        "log_loss": float(-np.log(np.maximum(p[np.arange(len(p)), labels], np.finfo(float).eps)).mean()),
        "mean_confidence": float(p.max(axis=1).mean()),
    }
    return overall, per_class


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_scores_of_the_films_themselves_equal_scikit_learn(decimals: int | None) -> None:
    labels, p, _ = made_up(decimals=decimals)
    found = classification_metrics(labels, p, NAMES)
    overall, per_class = by_scikit_learn(labels, p)
    assert {name: found[name] for name in OVERALL} == pytest.approx(overall, abs=1e-6)
    for place, label in enumerate(NAMES):
        for name in PER_CLASS:
            assert found["per_class"][label][name] == pytest.approx(per_class[name][place], abs=1e-6), (label, name)


@pytest.mark.parametrize("decimals", [None, 1])
def test_every_resampled_score_equals_a_plain_loop_over_the_same_resamples(decimals: int | None) -> None:
    labels, p, groups = made_up(decimals=decimals)
    ((overall, per_class),) = resampled_all(labels, [p], groups, seed=5, resamples=25)
    weights = np.concatenate(list(resample_weights(groups, 5, 25))).astype(int)
    assert weights.min() == 0
    assert weights.max() > 2
    for place, counts in enumerate(weights):
        rows = np.repeat(np.arange(len(labels)), counts)
        plain, plain_classes = by_scikit_learn(labels[rows], p[rows])
        assert {name: overall[name][place] for name in OVERALL} == pytest.approx(plain, abs=1e-9)
        for name in PER_CLASS:
            assert per_class[name][place].tolist() == pytest.approx(plain_classes[name], abs=1e-9), name


def test_intervals_are_the_percentiles_of_the_plain_loop() -> None:
    labels, p, groups = made_up(90)
    found = intervals(labels, p, groups, 1, 60, NAMES)
    plain: list[tuple[dict[str, float], dict[str, list[float]]]] = []
    for counts in np.concatenate(list(resample_weights(groups, 1, 60))).astype(int):
        rows = np.repeat(np.arange(90), counts)
        plain.append(by_scikit_learn(labels[rows], p[rows]))
    for name in OVERALL:
        low, high = np.quantile([one[0][name] for one in plain], [0.025, 0.975])
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high), abs=1e-9)
    for place, label in enumerate(NAMES):
        for name in PER_CLASS:
            low, high = np.quantile([one[1][name][place] for one in plain], [0.025, 0.975])
            entry = found["per_class"][label][name]
            assert (entry["low"], entry["high"]) == pytest.approx((low, high), abs=1e-9), (label, name)


def test_quick_scores_are_the_same_as_among_all() -> None:
    labels, p, groups = made_up(80)
    (few,) = resampled_scores(labels, [p], groups, 3, 30)
    ((overall, _),) = resampled_all(labels, [p], groups, 3, 30)
    for name, values in few.items():
        np.testing.assert_array_equal(values, overall[name])


def test_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, groups = made_up(61)
    whole = np.concatenate(list(resample_weights(groups, 2, 40)))
    monkeypatch.setattr("cxr_core.evaluation.bootstrap._BLOCK", 61 * 7)
    blocks = list(resample_weights(groups, 2, 40))
    assert [len(block) for block in blocks] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_a_resample_without_a_class_has_no_macro_score_but_those_of_the_others() -> None:
    labels, p, _ = made_up(60)
    weights = np.vstack([np.ones(60), labels != 2, labels == 0]).astype(float)
    overall, per_class = WeightedScores(labels, p).scores(weights)
    assert not np.isnan(overall["macro_f1"][0])
    assert np.isnan([overall["kappa"][2], overall["mcc"][2]]).all()  # one class is left
    for name in ("macro_recall", "macro_f1", "macro_auc", "macro_pr_auc"):
        assert np.isnan(overall[name][1])
    rows = labels != 2
    assert overall["accuracy"][1] == pytest.approx((p[rows].argmax(axis=1) == labels[rows]).mean())
    assert overall["mcc"][1] == pytest.approx(sk.matthews_corrcoef(labels[rows], p[rows].argmax(axis=1)))
    assert np.isnan(per_class["auc"][1, 2])
    assert per_class["auc"][1, 0] == pytest.approx(sk.roc_auc_score(labels[rows] == 0, p[rows, 0]))


@pytest.mark.parametrize("positive", [[], [True], [True, True, True], [False, False]])
def test_an_area_without_two_sides_is_undefined(positive: list[bool]) -> None:
    n = len(positive)
    for area in Ranking(np.array(positive, bool), np.linspace(0, 1, n)).areas(np.ones((4, n))):
        assert np.isnan(area).all()
        assert area.shape == (4,)


def test_an_area_of_films_that_count_not_at_all_is_undefined() -> None:
    weights = np.array([[0.0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]])
    areas, precisions = Ranking(np.array([True, True, False, False]), np.array([0.9, 0.1, 0.5, 0.2])).areas(weights)
    assert np.isnan(areas[:2]).all()
    assert np.isnan(precisions[:2]).all()
    assert (areas[2], precisions[2]) == (1.0, 1.0)


def test_an_interval_of_equal_values_is_none_even_when_they_differ_by_rounding() -> None:
    values = np.full(100, 1 / 3) + np.linspace(0, 1e-15, 100)
    assert percentile_interval(values) is None
    assert percentile_interval(values, keep_flat=True) is not None
    assert percentile_interval(values + np.linspace(0, 1e-9, 100)) is not None
