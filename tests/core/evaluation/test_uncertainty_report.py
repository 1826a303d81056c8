"""The uncertainty report and its figures over made-up films: what it holds, what it says where films are too few."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_core.errors import CxrError
from cxr_core.evaluation.dropout import Head
from cxr_core.evaluation.prediction_sets import fit_prediction_sets
from cxr_core.evaluation.probabilities import softmax
from cxr_core.evaluation.selective import MEASURES
from cxr_core.evaluation.uncertainty_figures import (
    coverage_figure,
    policy_figure,
    risk_coverage_figure,
    set_size_figure,
)
from cxr_core.evaluation.uncertainty_report import film_uncertainties, sets_of, uncertainty_report
from cxr_core.plotting import png_bytes
from cxr_core.settings_trust import UncertaintySettings

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
SETTINGS = UncertaintySettings(passes=40)
FIGURES = (risk_coverage_figure, coverage_figure, set_size_figure, policy_figure)


def head() -> Head:
    rng = np.random.default_rng(5)
    return Head(rng.normal(0, 1, (3, 8)), rng.normal(0, 0.2, 3), 0.5)


def table(n: int = 600, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Predictions of a head whose claims are true, two films a patient, half of them to calibrate on."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(0, 1, (n, 8)).astype(np.float32)
    said = softmax(inputs.astype(np.float64) @ head().weight.T + head().bias)
    rows = pd.DataFrame(
        {
            "image_id": [f"{k:016x}" for k in range(n)],
            "split": np.where(np.arange(n) < n // 2, "calibration", "test"),
            "label_index": (rng.random((n, 1)) > said.cumsum(axis=1)).sum(axis=1).clip(0, 2),
            "source": [None if k % 7 == 0 else "north" if k % 3 else "south" for k in range(n)],
            "group_id": [f"g{k // 2}" for k in range(n)],
        }
    )
    return rows.assign(**{f"p_{k}": said[:, k] for k in range(3)}), inputs


def report_of(rows: pd.DataFrame, inputs: np.ndarray, **changes: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    fitted = sets_of(rows, NAMES, 0.9)
    test = rows[rows["split"] == "test"]
    said = test[["p_0", "p_1", "p_2"]].to_numpy()
    films = film_uncertainties(test, said, inputs[test.index], head(), fitted, SETTINGS.passes, 0)
    return films, uncertainty_report(films, fitted, SETTINGS.model_copy(update=changes), 0.5, 0, 200)


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, dict[str, Any]]:
    return report_of(*table())


def test_the_report_holds_every_measure_policy_class_and_source(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    films, report = made
    assert json.loads(json.dumps(report, allow_nan=False)) == json.loads(json.dumps(report))
    assert set(report["selective"]["areas"]["measures"]) == set(MEASURES)
    assert len(report["selective"]["policies"]) == len(MEASURES) * len(SETTINGS.referral_shares)
    for kind in ("marginal", "class_conditional"):
        said = report["prediction_sets"][kind]
        assert set(said["per_class"]) == set(NAMES)
        assert set(said["per_source"]) == {"north", "south", "unknown"}
        assert sum(row["films"] for row in said["sizes"]) == 300
    held = films[["set_0", "set_1", "set_2"]].to_numpy()[np.arange(300), films["label_index"]]
    assert report["prediction_sets"]["marginal"]["all"]["coverage"]["value"] == pytest.approx(held.mean())
    assert report["verdict"]["passed"]
    assert report["verdict"]["value"] == report["prediction_sets"]["marginal"]["all"]["each_group_once"]["value"]
    assert report["selective"]["areas"]["measures"]["confidence"]["gain"]["low"] > 0
    assert report["flag"]["share"]["value"] == pytest.approx((films["answered"] < 0.7).mean())
    assert (
        report["dropout"]["wrong"]["predictive_entropy"]["low"]
        > report["dropout"]["right"]["predictive_entropy"]["high"]
    )
    assert report["dropout"]["changed"] == (films["dropout_index"] != films["predicted_index"]).sum()


def test_the_same_films_in_another_order_give_the_same_report(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    rows, inputs = table()
    order = np.random.default_rng(1).permutation(len(rows))
    again = report_of(rows.iloc[order].reset_index(drop=True), inputs[order])[1]
    assert json.dumps(again, sort_keys=True) == json.dumps(made[1], sort_keys=True)


def test_only_calibration_films_fit_the_sets() -> None:
    rows, _ = table()
    other = rows.copy()
    other.loc[other["split"] == "test", ["p_0", "p_1", "p_2"]] = 1 / 3
    other.loc[other["split"] == "test", "label_index"] = 0
    assert sets_of(rows, NAMES, 0.9) == sets_of(other, NAMES, 0.9)
    changed = rows.copy()
    changed.loc[changed["split"] == "calibration", "label_index"] = 0
    assert sets_of(changed, NAMES, 0.9) != sets_of(rows, NAMES, 0.9)
    assert sets_of(rows, NAMES, 0.9).groups == 150


def test_films_of_another_kind_fail_the_check() -> None:
    rows, inputs = table()
    rows.loc[rows["split"] == "test", "label_index"] = np.random.default_rng(0).integers(0, 3, 300)
    verdict = report_of(rows, inputs)[1]["verdict"]
    assert not verdict["passed"]
    assert verdict["high"] < 0.9


def small(rows: pd.DataFrame, inputs: np.ndarray, keep: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    chosen = (rows["split"] == "calibration").to_numpy() | keep
    return rows[chosen].reset_index(drop=True), inputs[chosen]


def test_three_films_one_class_and_equal_probabilities_are_reported_and_drawn_without_a_made_up_interval() -> None:
    rows, inputs = table(300)
    three = report_of(*small(rows, inputs, np.arange(300) >= 297))[1]
    assert not three["verdict"]["passed"]
    assert "at least 5 are needed" in three["verdict"]["sentence"]
    assert three["prediction_sets"]["marginal"]["all"]["coverage"]["low"] is None
    single = report_of(*small(rows, inputs, (rows["label_index"] == 1).to_numpy()))[1]
    single_test = report_of(rows.assign(label_index=1), inputs)[1]
    assert single_test["prediction_sets"]["fitted"]["classes"][0]["quantile"] is None
    assert single_test["prediction_sets"]["marginal"]["per_class"]["Normal"]["coverage"]["value"] is None
    equal = report_of(rows.assign(**{f"p_{k}": 1 / 3 for k in range(3)}), inputs)[1]
    assert equal["prediction_sets"]["marginal"]["mean_size"]["value"] == 3
    assert equal["selective"]["areas"]["measures"]["confidence"]["gain"]["value"] == pytest.approx(0, abs=1e-12)
    flawless = rows.assign(label_index=rows[["p_0", "p_1", "p_2"]].to_numpy().argmax(axis=1))
    for report in (three, single, single_test, equal, report_of(flawless, inputs)[1]):
        json.dumps(report, allow_nan=False)
    for draw in FIGURES:
        assert len(draw(single_test).axes) >= 1
    for draw in FIGURES:
        assert png_bytes(draw(three), dpi=20).startswith(b"\x89PNG")


def test_without_calibration_films_nothing_is_ruled_out_and_the_check_does_not_pass() -> None:
    rows, inputs = table(300)
    report = report_of(rows[rows["split"] == "test"], inputs)[1]
    assert report["prediction_sets"]["fitted"]["quantile"] is None
    assert report["prediction_sets"]["marginal"]["mean_size"]["value"] == 3
    assert not report["verdict"]["passed"]
    assert "0 patient groups" in report["verdict"]["sentence"]
    assert "promise" in [text.get_text() for text in coverage_figure(report).axes[0].get_legend().get_texts()]


def test_no_test_film_and_a_probability_that_is_no_number_are_refused() -> None:
    rows, inputs = table(60)
    films, _ = report_of(rows, inputs)
    fitted = fit_prediction_sets(np.full((20, 3), 1 / 3), np.arange(20) % 3, NAMES, 0.9)
    with pytest.raises(CxrError, match="No predictions of the test split"):
        uncertainty_report(films.iloc[:0], fitted, SETTINGS, 0.5, 0, 50)
    rows.loc[3, "p_2"] = np.nan
    with pytest.raises(CxrError, match="Column p_2"):
        sets_of(rows, NAMES, 0.9)
    with pytest.raises(CxrError, match="lacks p_3"):
        sets_of(rows, (*NAMES, "Other"), 0.9)


def test_the_figures_say_what_the_report_says(made: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    report = made[1]
    axes = risk_coverage_figure(report).axes
    risk = report["selective"]["curves"]["measures"]["confidence"]["risk"]
    assert axes[0].get_lines()[0].get_ydata() == pytest.approx(risk)
    bars = [bar.get_height() for bar in set_size_figure(report).axes[0].patches]
    assert bars[:4] == pytest.approx([row["share"]["value"] for row in report["prediction_sets"]["marginal"]["sizes"]])
    names = [label.get_text() for label in coverage_figure(report).axes[0].get_yticklabels()]
    assert names[0] == "all films (300)"
    assert len(names) == 1 + 3 + 3
    stars = [line for line in policy_figure(report).axes[0].get_lines() if line.get_marker() == "*"]
    assert stars[0].get_xdata()[0] == report["flag"]["share"]["value"]
