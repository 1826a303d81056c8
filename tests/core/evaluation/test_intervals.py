"""What is said of a score where an interval cannot be had, or the score itself says nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from cxr_core.evaluation.availability import is_available
from cxr_core.evaluation.intervals import MIN_GROUPS, exact_interval, intervals
from cxr_core.evaluation.weighted import OVERALL, PER_CLASS

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
UNKNOWN = {"value": None, "low": None, "high": None}


def made_up(labels: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of some skill, and a group for each film."""
    powers = np.exp(np.random.default_rng(seed).normal(size=(len(labels), 3)) + np.eye(3)[labels])
    return powers / powers.sum(axis=1, keepdims=True), np.array([f"g{k}" for k in range(len(labels))])


@pytest.mark.parametrize("groups", [1, 5, 30])
@pytest.mark.parametrize("share", [0, 1])
def test_the_exact_interval_is_that_of_clopper_and_pearson(groups: int, share: int) -> None:
    expected = binomtest(share * groups, groups).proportion_ci(0.95, "exact")
    found = exact_interval(float(share), groups)
    assert found == pytest.approx({"low": expected.low, "high": expected.high}, abs=1e-9)


def test_a_perfect_share_of_a_class_has_the_exact_interval_of_its_own_groups() -> None:
    labels = np.repeat([0, 1, 2], [40, 30, 20])
    said = labels.copy()
    said[:4] = 1  # normal films missed: pneumonia called too often
    found = intervals(labels, np.eye(3)[said], [f"g{k // 2}" for k in range(90)], 0, 100, NAMES)["per_class"]
    recall = found["Tuberculosis"]["recall"]
    assert (recall["value"], recall["exact"]) == (1.0, True)
    assert recall["low"] == pytest.approx(0.025 ** (1 / 10))  # 20 films of 10 groups
    assert found["Normal"]["precision"]["low"] == pytest.approx(0.025 ** (1 / 18))  # 36 films called normal
    assert found["Normal"]["specificity"]["low"] == pytest.approx(0.025 ** (1 / 25))  # 50 others
    assert "exact" not in found["Normal"]["recall"]
    assert found["Normal"]["recall"]["low"] < 0.9 < found["Normal"]["recall"]["high"]


def test_a_class_of_three_films_has_no_interval_and_says_so() -> None:
    labels = np.repeat([0, 1, 2], [30, 30, 3])
    p, groups = made_up(labels)
    p[-3:] = [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]]
    found = intervals(labels, p, groups, 0, 200, NAMES)
    reason = f"no interval: 3 patient groups with Tuberculosis, at least {MIN_GROUPS} are needed"
    small = found["per_class"]["Tuberculosis"]
    for entry in (found["macro_f1"], found["macro_auc"], small["recall"], small["auc"], small["pr_auc"]):
        assert (entry["low"], entry["high"], entry["reason"]) == (None, None, reason)
    assert found["per_class"]["Tuberculosis"]["recall"]["value"] == pytest.approx(2 / 3)
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]
    assert "reason" not in found["per_class"]["Normal"]["auc"]


def test_films_of_one_class_have_no_score_that_needs_two() -> None:
    labels = np.zeros(40, np.int64)
    p, groups = made_up(labels)
    found = intervals(labels, p, groups, 0, 100, NAMES)
    for name in ("macro_precision", "macro_specificity", "macro_f1", "macro_auc", "macro_pr_auc", "mcc", "kappa"):
        assert found[name] == {**UNKNOWN, "reason": "every film is Normal"}
    for name in ("precision", "specificity", "f1", "auc", "pr_auc"):
        assert found["per_class"]["Normal"][name] == {**UNKNOWN, "reason": "every film is Normal"}
    assert found["per_class"]["Pneumonia"]["recall"] == {**UNKNOWN, "reason": "there is no film of Pneumonia"}
    assert found["per_class"]["Pneumonia"]["precision"] == {**UNKNOWN, "reason": "there is no film of Pneumonia"}
    assert found["per_class"]["Normal"]["recall"]["low"] < found["accuracy"]["value"]


def test_equal_probabilities_give_no_interval_where_nothing_varies() -> None:
    labels = np.arange(60) % 3
    found = intervals(labels, np.full((60, 3), 1 / 3), [str(k) for k in range(60)], 0, 200, NAMES)
    for name in ("macro_auc", "mean_confidence", "brier", "log_loss"):
        assert found[name]["reason"] == "no interval: every resample gives the same value"
    assert found["macro_auc"]["value"] == 0.5
    assert found["mcc"] == {**UNKNOWN, "reason": "every film was predicted to be of one class"}
    assert found["kappa"]["value"] == 0.0
    assert found["per_class"]["Pneumonia"]["precision"] == {**UNKNOWN, "reason": "no film was called Pneumonia"}
    assert found["accuracy"]["low"] < 1 / 3 < found["accuracy"]["high"]


def test_no_film_at_all_is_said_of_every_score() -> None:
    found = intervals(np.empty(0, np.int64), np.empty((0, 3)), [], 0, 50, NAMES)
    entries = [found[name] for name in OVERALL]
    entries += [found["per_class"][label][name] for label in NAMES for name in PER_CLASS]
    assert all(entry == {**UNKNOWN, "reason": "there is no film"} for entry in entries)


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 1, 2], [0] * 4 + [1], [0] * 20 + [1], [0, 1, 2] * 6])
@pytest.mark.parametrize("together", [False, True])
def test_no_set_of_films_breaks_the_report_or_has_a_number_without_bounds_or_reason(
    labels: list[int], together: bool
) -> None:
    array = np.array(labels)
    p, groups = made_up(array)
    found = intervals(array, p, ["one"] * len(labels) if together else groups, 0, 50, NAMES)
    json.dumps(found, allow_nan=False)
    entries = [found[name] for name in OVERALL]
    entries += [found["per_class"][label][name] for label in NAMES for name in PER_CLASS]
    for entry in entries:
        assert ("reason" in entry) == (entry["low"] is None)
        if "reason" not in entry:
            assert is_available(entry)
            assert entry["low"] <= entry["high"]
