"""Scores against scikit-learn and values worked out by hand; intervals against what theory expects."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, precision_recall_fscore_support, roc_auc_score

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import Ranking, percentile_interval, resample_weights, resampled_scores
from cxr_core.evaluation.intervals import intervals
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.report import evaluation_report, failure_counts, model_of
from cxr_core.evaluation.source_scores import per_source

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def made_up(n: int = 300, signal: float = 1.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and groups of two films each."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    powers = np.exp(rng.normal(size=(n, 3)) + signal * np.eye(3)[labels])
    return labels, powers / powers.sum(axis=1, keepdims=True), np.array([f"g{row // 2}" for row in range(n)])


def sure(labels: list[int], classes: int = 3) -> np.ndarray:
    """Probabilities that name the given classes with certainty."""
    return np.eye(classes)[labels]


def predictions(n: int = 120) -> pd.DataFrame:
    labels, probabilities, groups = made_up(n)
    columns = {f"p_{place}": probabilities[:, place] for place in range(3)}
    ids = [f"{row:016x}" for row in range(n)]
    source = np.where(np.arange(n) % 3 == 0, "", np.where(labels == 0, "a", "b"))
    return pd.DataFrame(
        {"image_id": ids, "split": "test", "label_index": labels, "source": source, "group_id": groups, **columns}
    )


def test_scores_equal_scikit_learn() -> None:
    labels, probabilities, _ = made_up()
    metrics = classification_metrics(labels, probabilities, NAMES)
    said = probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(labels, said)
    for place, name in enumerate(NAMES):
        of_class = metrics["per_class"][name]
        assert of_class["precision"] == pytest.approx(precision[place])
        assert of_class["recall"] == pytest.approx(recall[place])
        assert of_class["f1"] == pytest.approx(f1[place])
        assert of_class["support"] == support[place]
        assert of_class["auc"] == pytest.approx(roc_auc_score(labels == place, probabilities[:, place]))
    assert metrics["macro_f1"] == pytest.approx(f1.mean())
    assert metrics["macro_auc"] == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert metrics["log_loss"] == pytest.approx(log_loss(labels, probabilities))
    assert metrics["accuracy"] == pytest.approx((labels == said).mean())
    assert metrics["mean_confidence"] == pytest.approx(probabilities.max(axis=1).mean())


def test_a_small_table_worked_out_by_hand() -> None:
    metrics = classification_metrics(np.array([0, 0, 0, 1, 1, 2]), sure([0, 0, 1, 1, 2, 2]), NAMES)
    assert metrics["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    normal = metrics["per_class"]["Normal"]
    assert (normal["precision"], normal["recall"], normal["specificity"]) == (1.0, pytest.approx(2 / 3), 1.0)
    tuberculosis = metrics["per_class"]["Tuberculosis"]
    assert (tuberculosis["precision"], tuberculosis["recall"]) == (0.5, 1.0)
    assert tuberculosis["specificity"] == pytest.approx(4 / 5)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_a_class_without_films_is_none_and_named_and_leaves_the_macro_scores() -> None:
    metrics = classification_metrics(np.array([0, 0, 2, 2]), sure([0, 1, 2, 2]), NAMES)
    assert metrics["missing_classes"] == ["Pneumonia"]
    absent = metrics["per_class"]["Pneumonia"]
    assert (absent["recall"], absent["f1"], absent["auc"], absent["support"]) == (None, None, None, 0)
    assert (absent["precision"], absent["predicted"]) == (0.0, 1)
    assert metrics["macro_recall"] == pytest.approx((0.5 + 1) / 2)
    json.dumps(metrics, allow_nan=False)


def test_a_class_never_predicted_has_no_precision_and_counts_as_zero_in_the_mean() -> None:
    metrics = classification_metrics(np.array([0, 1, 2]), sure([0, 0, 2]), NAMES)
    assert metrics["per_class"]["Pneumonia"]["precision"] is None
    assert metrics["per_class"]["Pneumonia"]["f1"] == 0.0
    assert metrics["macro_precision"] == pytest.approx((0.5 + 0 + 1) / 3)


@pytest.mark.parametrize("labels", [[], [1], [1, 1, 1]])
def test_degenerate_sets_are_json_without_nan(labels: list[int]) -> None:
    array = np.array(labels, np.int64)
    metrics = classification_metrics(array, sure(labels) if labels else np.empty((0, 3)), NAMES)
    assert metrics["macro_auc"] is None
    json.dumps(metrics, allow_nan=False)


def test_certain_and_wrong_has_a_finite_log_loss() -> None:
    assert classification_metrics(np.array([0]), sure([1]), NAMES)["log_loss"] == pytest.approx(-np.log(2.0**-52))


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], np.eye(3)[[0]], "shape"),
        ([0, 3], np.eye(3)[[0, 1]], "Labels run"),
        ([0, 1], np.array([[2.0, -1.0, 0.0], [1.0, 0.0, 0.0]]), "add up"),
        ([0, 1], np.array([[np.nan, 0.5, 0.5], [1.0, 0.0, 0.0]]), "add up"),
        ([0, 1], np.array([[3.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), "add up"),
    ],
)
def test_what_are_no_probabilities_is_refused(labels: list[int], probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(CxrError, match=message):
        classification_metrics(np.array(labels), probabilities, NAMES)


@pytest.mark.parametrize("decimals", [1, 12])
def test_weighted_area_equals_that_of_repeated_films(decimals: int) -> None:
    labels, probabilities, groups = made_up(80)
    scores = probabilities[:, 0].round(decimals)  # one decimal: many ties
    weights = next(resample_weights(groups, seed=1, resamples=5))
    areas = Ranking(labels == 0, scores).auc(weights)
    for area, counts in zip(areas, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(80), counts)
        assert area == pytest.approx(roc_auc_score(labels[rows] == 0, scores[rows]))


def test_resampled_scores_equal_the_scores_of_repeated_films() -> None:
    labels, probabilities, groups = made_up(80)
    weights = next(resample_weights(groups, seed=3, resamples=4))
    (scores,) = resampled_scores(labels, [probabilities], groups, seed=3, resamples=4)
    for place, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(80), counts)
        expected = classification_metrics(labels[rows], probabilities[rows], NAMES)
        for name in ("accuracy", "macro_f1", "macro_auc", "mean_confidence"):
            assert scores[name][place] == pytest.approx(expected[name])


def test_groups_are_drawn_whole() -> None:
    groups = np.array(["a", "a", "b", "c", "c", "c"])
    (weights,) = resample_weights(groups, seed=0, resamples=50)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    drawn = weights[:, [0, 2, 3]].sum(axis=1)
    assert (drawn == 3).all()


def test_every_condition_sees_the_same_resamples() -> None:
    labels, probabilities, groups = made_up(60)
    first, second = resampled_scores(labels, [probabilities, probabilities], groups, seed=0, resamples=40)
    assert np.array_equal(first["macro_auc"], second["macro_auc"], equal_nan=True)


def test_the_interval_of_accuracy_has_the_width_of_the_binomial() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2000)
    said = np.where(rng.random(2000) < 0.8, labels, (labels + 1) % 3)
    found = intervals(labels, sure(said.tolist()), [str(row) for row in range(2000)], seed=1)["accuracy"]
    share = (labels == said).mean()
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / 2000)
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.1)
    assert found["low"] < share < found["high"]


def test_copies_in_one_group_do_not_narrow_the_interval() -> None:
    labels, probabilities, _ = made_up(100)
    ids = [str(row) for row in range(100)]
    once = intervals(labels, probabilities, ids, seed=0)["accuracy"]
    fourfold = intervals(np.tile(labels, 4), np.tile(probabilities, (4, 1)), ids * 4, seed=0)["accuracy"]
    assert fourfold == pytest.approx(once)


def test_intervals_follow_the_seed_and_need_two_groups() -> None:
    labels, probabilities, groups = made_up(60)
    assert intervals(labels, probabilities, groups, seed=1) == intervals(labels, probabilities, groups, seed=1)
    assert intervals(labels, probabilities, groups, seed=1) != intervals(labels, probabilities, groups, seed=2)
    alone = intervals(labels, probabilities, ["same"] * 60, seed=1)
    for score in (alone["accuracy"], alone["macro_auc"]):
        assert (score["low"], score["high"]) == (None, None)
        assert score["reason"] == "no interval: 1 patient group, at least 5 are needed"
    assert alone["groups"] == 1


def test_a_sample_without_errors_does_not_promise_a_world_without() -> None:
    labels = np.arange(60) % 3
    ids = [str(row // 2) for row in range(60)]  # 30 groups
    right = intervals(labels, sure(labels.tolist()), ids, seed=0)
    exact = {"low": 0.025 ** (1 / 30), "high": 1.0}  # Clopper and Pearson, 30 of 30
    assert right["accuracy"] == {"value": 1.0, "exact": True, **exact}
    for score in ("macro_f1", "macro_auc"):
        assert right[score] == unavailable("no interval: every resample gives the same value") | {"value": 1.0}
    wrong = intervals(labels, sure(((labels + 1) % 3).tolist()), ids, seed=0)
    assert wrong["accuracy"] == {"value": 0.0, "low": 0.0, "high": 1 - exact["low"], "exact": True}


def test_an_interval_of_mostly_undefined_values_is_none() -> None:
    assert percentile_interval(np.array([0.1, np.nan, np.nan, np.nan])) is None
    assert percentile_interval(np.linspace(0, 1, 101)) == pytest.approx({"low": 0.025, "high": 0.975})


def test_per_source_scores_are_those_of_its_rows() -> None:
    table = predictions()
    found = per_source(table, NAMES, seed=0, resamples=100)
    assert list(found) == ["a", "b", "unknown"]
    assert found["a"]["metrics"]["missing_classes"] == ["Pneumonia", "Tuberculosis"]
    assert found["a"]["disease_auc"] == unavailable("there is no film of a disease")
    rows = table[table["source"] == ""]
    expected = roc_auc_score(rows["label_index"] != 0, 1 - rows["p_0"])
    area = found["unknown"]["disease_auc"]
    assert area["value"] == pytest.approx(expected)
    assert area["low"] < area["value"] < area["high"]
    json.dumps(found, allow_nan=False)


def test_failures_of_the_reports_own_matrix() -> None:
    # Rebuilt from the report's 4.1: recalls .83, 1.00, .63 of 909, 583, 1,064; it claims "conservative" (TRAPS 10).
    confusion = [[754, 155, 0], [0, 583, 0], [394, 0, 670]]
    labels = np.repeat([0, 0, 1, 2, 2], [754, 155, 583, 394, 670])
    said = np.repeat([0, 1, 1, 0, 2], [754, 155, 583, 394, 670])
    metrics = classification_metrics(labels, sure(said.tolist()), NAMES)
    assert metrics["confusion"] == confusion
    failures = failure_counts(metrics)
    assert (failures["false_positives"], failures["false_negatives"], failures["between_diseases"]) == (155, 394, 0)
    assert failures["errors"] == 155 + 394
    assert failures["confusions"][0] == {"true": "Tuberculosis", "predicted": "Normal", "count": 394}
    assert failures["false_negative_share"] == pytest.approx(394 / (583 + 1064))


def test_failures_without_a_normal_class_are_none() -> None:
    failures = failure_counts(classification_metrics(np.array([0, 1]), sure([1, 1], 2), ("Pneumonia", "Tuberculosis")))
    assert (failures["errors"], failures["false_positives"]) == (1, None)


def test_the_report_reads_one_split_whatever_the_order_of_rows() -> None:
    table = predictions()
    table.loc[table.index[:40], "split"] = "val"
    report = evaluation_report(table, NAMES, seed=5, resamples=50)
    assert report["overall"]["n"] == report["calibration"]["n"] == 80
    assert report["calibration"]["log_loss"]["value"] == pytest.approx(report["overall"]["log_loss"])
    assert evaluation_report(table.sample(frac=1, random_state=0), NAMES, seed=5, resamples=50) == report
    json.dumps(report, allow_nan=False)
    with pytest.raises(CxrError, match="train"):
        evaluation_report(table, NAMES, seed=5, split="train")
    with pytest.raises(CxrError, match="p_2"):
        evaluation_report(table.drop(columns="p_2"), NAMES, seed=5)


def test_predictions_say_which_model_made_them() -> None:
    table = predictions(9)
    assert model_of(table.assign(trained_model="a" * 64)) == "a" * 64
    with pytest.raises(CxrError, match="names 0 trained models"):
        model_of(table)
    with pytest.raises(CxrError, match="names 2 trained models"):
        model_of(table.assign(trained_model=["a"] * 4 + ["b"] * 5))
