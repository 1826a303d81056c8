"""Class-wise calibration error, reliability rows and the study of before and after, against definitions and netcal."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from cxr_core.errors import CxrError
from cxr_core.evaluation.calibration import bin_members, calibration_report
from cxr_core.evaluation.calibration_classes import classwise_report
from cxr_core.evaluation.calibration_figures import class_reliability_figure, reliability_figure
from cxr_core.evaluation.calibration_study import study_calibration
from cxr_core.evaluation.reliability import reliability_rows
from cxr_core.evaluation.temperature import fit_temperature
from cxr_core.plotting import png_bytes

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def sample(temperature: float, n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, logits that are ``temperature`` times what the labels follow, and their softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 3))
    real, said = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, logits * temperature))
    return (rng.random((n, 1)) > real.cumsum(axis=1)).sum(axis=1).clip(0, 2), logits * temperature, said


def groups(n: int) -> np.ndarray:
    return np.array([f"g{row // 2}" for row in range(n)], object)


def test_temperature_and_errors_equal_netcal() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.metrics import ECE
        from netcal.scaling import TemperatureScaling

        labels, logits, said = sample(2.0)
        theirs = TemperatureScaling()
        theirs.fit(said, labels)
        measure = ECE(15, equal_intervals=False).measure
        top, each = measure(said, labels), [measure(said[:, k], (labels == k).astype(int)) for k in range(3)]
        scaled = theirs.transform(said)
    ours = fit_temperature(logits, labels, resamples=2)
    assert ours.probabilities(logits) == pytest.approx(scaled, abs=1e-4)  # as far as their optimiser goes
    report = calibration_report(labels, said, groups(600), 0, 10)
    assert report["expected_calibration_error"]["value"] == pytest.approx(top, abs=1e-9)
    found = classwise_report(labels, said, groups(600), NAMES, 0, 10)
    assert [found["per_class"][name]["value"] for name in NAMES] == pytest.approx(each, abs=1e-9)
    assert found["value"] == pytest.approx(np.mean(each), abs=1e-9)


def test_the_classwise_error_equals_its_definition() -> None:
    labels, _, said = sample(0.5, 300)
    found = classwise_report(labels, said, groups(300), NAMES, 0, 10)
    for place, name in enumerate(NAMES):
        films = sorted(zip(said[:, place], labels == place, strict=True))
        parts = [films[start : start + 20] for start in range(0, 300, 20)]
        direct = sum(abs(sum(y for _, y in part) - sum(p for p, _ in part)) for part in parts) / 300
        assert found["per_class"][name]["value"] == pytest.approx(direct)
        assert found["per_class"][name]["films"] == (labels == place).sum()


def test_the_null_holds_a_calibrated_model_and_leaves_out_one_that_is_not() -> None:
    reached = 0
    for seed in range(30):
        labels, _, said = sample(1.0, seed=seed)
        found = classwise_report(labels, said, np.arange(600).astype(str), NAMES, seed, 150)
        reached += found["value"] <= found["null"]["high"]
    assert reached >= 24  # 95 % of 30 are 28; 23 or fewer have a probability of .1 %
    labels, _, said = sample(3.0)
    found = classwise_report(labels, said, groups(600), NAMES, 0, 150)
    assert found["low"] > found["null"]["high"]
    assert all(entry["value"] > entry["null"]["high"] for entry in found["per_class"].values())
    assert found["low"] < found["value"] < found["high"]


def test_a_class_without_films_counts_by_the_probability_it_takes() -> None:
    labels, _, said = sample(1.0, 200)
    labels[labels == 2] = 0
    found = classwise_report(labels, said, groups(200), NAMES, 0, 20)
    assert found["per_class"]["Tuberculosis"]["films"] == 0
    assert found["per_class"]["Tuberculosis"]["value"] == pytest.approx(said[:, 2].mean())
    json.dumps(found, allow_nan=False)


def test_reliability_rows_hold_exact_intervals_and_bands() -> None:
    rng = np.random.default_rng(2)
    claimed = np.r_[rng.random(90), np.zeros(10)]
    came = (rng.random(100) < claimed).astype(float)
    rows = reliability_rows(claimed, came, bin_members(claimed, 6))
    assert sum(row["films"] for row in rows) == 100
    draws = rng.random((4000, 100))
    members = bin_members(claimed, 6)
    for place, row in enumerate(rows):
        exact = binomtest(round(row["accuracy"] * row["films"]), row["films"]).proportion_ci(0.95, "exact")
        assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high))
        inside = members[:, place] > 0
        shares = (draws[:, inside] < claimed[inside]).mean(axis=1)
        covered = ((shares >= row["band_low"]) & (shares <= row["band_high"])).mean()
        assert covered >= 0.95 - 0.015
    assert rows[0]["band_low"] == 0.0
    all_right = reliability_rows(np.full(8, 1.0), np.ones(8), np.ones((8, 1)))[0]
    assert (all_right["high"], all_right["band_low"], all_right["band_high"]) == (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    labels, logits, said = sample(2.0, 900)
    rows = pd.DataFrame({"image_id": [f"{k:04}" for k in range(900)], "label_index": labels, "group_id": groups(900)})
    rows["split"] = np.repeat(["val", "calibration", "test"], 300)
    return rows.assign(**{f"l_{k}": logits[:, k] for k in range(3)}, **{f"p_{k}": said[:, k] for k in range(3)})


def test_the_study_fits_on_one_part_and_measures_on_another(predictions: pd.DataFrame) -> None:
    temperature, vector, report = study_calibration(predictions, NAMES, 3, resamples=150)
    fitted_on, test = (predictions[predictions["split"] == split] for split in ("calibration", "test"))
    columns = ["l_0", "l_1", "l_2"]
    direct = fit_temperature(fitted_on[columns].to_numpy(), fitted_on["label_index"].to_numpy(),
                             fitted_on["group_id"].to_numpy(), 3)  # fmt: skip
    assert temperature == direct
    assert vector.films == report["fitted_on"]["films"] == 300
    assert report["fitted_on"]["per_class"] == {
        name: int((fitted_on["label_index"] == k).sum()) for k, name in enumerate(NAMES)
    }
    after = direct.probabilities(test[columns].to_numpy())
    labels = test["label_index"].to_numpy()
    assert report["after"]["log_loss"]["value"] == pytest.approx(-np.log(after[np.arange(300), labels]).mean())
    for way in ("after", "after_vector"):
        for score, said in report["differences"][way].items():
            assert said["value"] == pytest.approx(report[way][score]["value"] - report["before"][score]["value"])
            assert said["low"] <= said["value"] <= said["high"] or score == "expected_calibration_error"
    assert report["differences"]["after"]["log_loss"]["high"] < 0
    verdict = report["verdict"]
    assert verdict["passed"]
    assert verdict["value"] == report["after"]["expected_calibration_error"]["value"] <= verdict["limit"]
    assert f"{verdict['value']:.3f}" in verdict["sentence"]
    json.dumps(report, allow_nan=False)


def test_a_model_beyond_its_null_does_not_pass(predictions: pd.DataFrame) -> None:
    rows = predictions[(predictions["split"] != "calibration") | (predictions["image_id"] < "0310")]
    temperature, vector, report = study_calibration(rows, NAMES, 3, resamples=60)
    assert not temperature.fitted
    assert not vector.fitted
    assert report["before"] == report["after"]
    assert not report["verdict"]["passed"]
    assert report["verdict"]["value"] > report["verdict"]["limit"] == report["after"]["null"]["high"]
    assert "temperature 1 (10 films to calibrate on; 30 or more are needed)" in report["verdict"]["sentence"]
    assert set(report["differences"]["after"]["log_loss"].values()) == {0.0}


def test_without_test_films_there_is_no_study(predictions: pd.DataFrame) -> None:
    with pytest.raises(CxrError, match="No predictions of the test split"):
        study_calibration(predictions[predictions["split"] != "test"], NAMES, 3)


def test_one_test_film_gives_numbers_without_intervals(predictions: pd.DataFrame) -> None:
    rows = predictions[(predictions["split"] != "test") | (predictions["image_id"] == "0700")]
    report = study_calibration(rows, NAMES, 3, resamples=20)[2]
    assert report["after"]["expected_calibration_error"]["low"] is None
    assert report["differences"]["after"]["brier"]["low"] is None
    json.dumps(report, allow_nan=False)
    assert png_bytes(reliability_figure({"after": report["after"]}), dpi=40)


def test_the_diagrams_show_every_panel_and_mark_what_is_beyond_chance(predictions: pd.DataFrame) -> None:
    report = study_calibration(predictions, NAMES, 3, resamples=60)[2]
    figure = reliability_figure({"before": report["before"], "after": report["after"]})
    assert [axis.get_title() for axis in figure.axes] == ["before", "after"]
    for axis, way in zip(figure.axes, ("before", "after"), strict=True):
        beyond = [row for row in report[way]["reliability"]
                  if not row["band_low"] <= row["accuracy"] <= row["band_high"]]  # fmt: skip
        (marked,) = [line for line in axis.get_lines() if line.get_label() == "beyond chance"]
        assert len(marked.get_xdata()) == len(beyond)
        assert f"{report[way]['expected_calibration_error']['value']:.3f}" in axis.texts[0].get_text()
    each = class_reliability_figure({way: report[way]["classwise"] for way in ("before", "after")}, NAMES)
    assert len(each.axes) == 6
    assert each.axes[2].get_title().startswith("Tuberculosis (")
    assert png_bytes(each, dpi=40).startswith(b"\x89PNG")
