"""Scores inside sources, and their mean over the sources on the same resamples."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.comparison import MEAN, out_of_fold_report
from cxr_core.evaluation.intervals import intervals
from cxr_core.evaluation.metrics import classification_metrics, logits_of, probabilities_of
from cxr_core.evaluation.report import evaluation_report
from cxr_core.evaluation.source_scores import macro_over_sources, per_source
from cxr_core.evaluation.weighted import OVERALL, PER_CLASS

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
COLUMNS = ["p_0", "p_1", "p_2"]


def predictions(n: int = 300) -> pd.DataFrame:
    """Sources a and b with every class, c with one, d with three films of tuberculosis; groups cross a and b."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    source = np.array(["a", "b"])[np.arange(n) % 2].astype(object)
    source[:30] = "c"
    labels[:30] = 1
    source[30:60] = "d"
    labels[30:60] = [2] * 3 + [0] * 27
    powers = np.exp(rng.normal(size=(n, 3)) + np.where(source == "a", 2.5, 1.0)[:, None] * np.eye(3)[labels])
    p = powers / powers.sum(axis=1, keepdims=True)
    columns = {name: p[:, k] for k, name in enumerate(COLUMNS)}
    ids, groups = [f"i{k:03}" for k in range(n)], [f"g{k // 2 if k >= 60 else k}" for k in range(n)]
    table = {"image_id": ids, "split": "test", "label_index": labels, "source": source, "group_id": groups}
    return pd.DataFrame({**table, **columns})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return predictions()


@pytest.fixture(scope="module")
def macro(table: pd.DataFrame) -> dict:
    return json.loads(json.dumps(macro_over_sources(table, NAMES, 3, 200), allow_nan=False))


def test_every_source_has_every_score_with_its_interval(table: pd.DataFrame) -> None:
    found = per_source(table, NAMES, 3, 100)
    rows = table[table["source"] == "b"]
    truth, p, groups = rows["label_index"].to_numpy(), rows[COLUMNS].to_numpy(), rows["group_id"].to_numpy()
    assert found["b"]["intervals"] == intervals(truth, p, groups, 3, 100, NAMES)
    assert set(found["b"]["intervals"]) >= set(OVERALL)
    assert set(found["b"]["intervals"]["per_class"]["Pneumonia"]) == set(PER_CLASS)


def test_a_source_with_one_class_or_with_three_films_of_one_says_what_it_lacks(table: pd.DataFrame) -> None:
    found = per_source(table, NAMES, 3, 100)
    assert found["c"]["disease_auc"] == unavailable("every film is a disease")
    assert found["c"]["intervals"]["macro_auc"] == unavailable("every film is Pneumonia")
    small = found["d"]["disease_auc"]
    assert 0 <= small["value"] <= 1
    assert (small["low"], small["reason"]) == (
        None,
        "no interval: 3 patient groups with a disease, at least 5 are needed",
    )
    without = per_source(table, ("Covid", "Pneumonia", "Tuberculosis"), 3, 20)
    assert without["a"]["disease_auc"] == unavailable("there is no class Normal")


def test_the_mean_is_over_the_sources_that_have_the_score(table: pd.DataFrame, macro: dict) -> None:
    scores = {}
    for source, rows in table.groupby("source"):
        scores[source] = classification_metrics(rows["label_index"].to_numpy(), rows[COLUMNS].to_numpy(), NAMES)
    assert macro["accuracy"]["sources"] == ["a", "b", "c", "d"]
    assert macro["accuracy"]["value"] == pytest.approx(np.mean([m["accuracy"] for m in scores.values()]))
    assert macro["macro_auc"]["sources"] == ["a", "b"]
    assert macro["macro_auc"]["value"] == pytest.approx((scores["a"]["macro_auc"] + scores["b"]["macro_auc"]) / 2)
    assert macro["macro_auc"]["left_out"] == {
        "c": "every film is Pneumonia",
        "d": "3 patient groups with Tuberculosis, at least 5 are needed",
    }
    area = macro["per_class"]["Pneumonia"]["pr_auc"]
    both = [table[table["source"] == source] for source in ("a", "b")]
    assert area["value"] == pytest.approx(
        np.mean([average_precision_score(rows["label_index"] == 1, rows["p_1"]) for rows in both])
    )
    assert macro["per_class"]["Pneumonia"]["recall"]["sources"] == ["a", "b", "c"]


def test_the_interval_of_the_mean_is_over_the_same_resamples_of_all_groups(table: pd.DataFrame, macro: dict) -> None:
    spread = []
    for counts in np.concatenate(list(resample_weights(table["group_id"].to_numpy(object), 3, 200))).astype(int):
        drawn = table.loc[np.repeat(table.index, counts)]
        parts = [drawn[drawn["source"] == source] for source in ("a", "b")]
        spread.append(np.mean([roc_auc_score(rows["label_index"] != 0, 1 - rows["p_0"]) for rows in parts]))
    expected = percentile_interval(np.array(spread))
    assert {name: macro["disease_auc"][name] for name in ("low", "high")} == pytest.approx(expected)


def test_the_mean_is_the_same_in_the_comparison_of_ways(table: pd.DataFrame) -> None:
    folds = table.assign(split="out_of_fold", fold=0)
    report = out_of_fold_report({"shuffle": folds}, NAMES, 3, resamples=100)
    inside, macro = report["ways"]["shuffle"]["inside"], report["ways"]["shuffle"]["macro_over_sources"]
    for name in ("value", "low", "high"):
        assert inside[MEAN][name] == pytest.approx(macro["disease_auc"][name])
    assert (inside[MEAN]["sources"], inside["d"]["low"]) == (["a", "b"], None)


def test_one_source_has_no_mean(table: pd.DataFrame) -> None:
    alone = macro_over_sources(table[table["source"] == "a"], NAMES, 3, 20)
    for entry in (alone["accuracy"], alone["disease_auc"], alone["per_class"]["Normal"]["auc"]):
        assert (entry["value"], entry["reason"]) == (None, "fewer than two sources have it")


def test_the_report_holds_all_of_it_and_follows_the_seed(table: pd.DataFrame) -> None:
    report = evaluation_report(table, NAMES, 3, resamples=60)
    assert report["macro_over_sources"] == macro_over_sources(table, NAMES, 3, 60)
    assert report["per_source"] == per_source(table, NAMES, 3, 60)
    assert {"pr_auc", "brier"} <= set(report["overall"]["per_class"]["Normal"])
    assert {"mcc", "kappa", "brier", "macro_pr_auc"} <= set(report["overall"])
    assert report["intervals"]["per_class"]["Tuberculosis"]["recall"]["low"] is not None
    assert evaluation_report(table, NAMES, 3, resamples=60) == report
    assert evaluation_report(table, NAMES, 4, resamples=60) != report


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_are_refused_by_column(table: pd.DataFrame, value: float) -> None:
    broken = table.assign(p_1=table["p_1"].where(table.index != 7, value))
    for work in (evaluation_report, per_source, macro_over_sources):
        with pytest.raises(CxrError, match="p_1"):
            work(broken, NAMES, 3)
    with pytest.raises(CxrError, match="p_1"):
        probabilities_of(broken, 3)


def test_logits_are_read_in_the_order_of_the_classes(table: pd.DataFrame) -> None:
    logits = np.arange(900, dtype=np.float32).reshape(300, 3)
    told = table.assign(**{f"l_{k}": logits[:, k] for k in (2, 0, 1)})
    found = logits_of(told, 3)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, logits)
    with pytest.raises(CxrError, match="l_0"):
        logits_of(table, 3)
    with pytest.raises(CxrError, match="l_2"):
        logits_of(told.assign(l_2=np.nan), 3)
