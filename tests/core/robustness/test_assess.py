"""The robustness report compares conditions on the same films and says what it computes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from swept_tables import NAMES, clean_table, said_of, swept_table

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import resample_weights
from cxr_core.evaluation.calibration import ERROR
from cxr_core.evaluation.probabilities import softmax
from cxr_core.plotting import png_bytes
from cxr_core.robustness.assess import assess, conditions_table
from cxr_core.robustness.corruptions import presets
from cxr_core.robustness.degradation_scores import SCORES
from cxr_core.robustness.figures import conditions_figure, confidence_figure, corruption_gallery
from cxr_core.robustness.figures_degradation import degradation_figure, loss_figure
from cxr_core.settings_stress import RobustnessSettings

SETTINGS = RobustnessSettings()
N = 120
LABELS = np.arange(N) % 3
GROUPS = [f"g{row // 2}" for row in range(N)]
SOURCES = ["north" if row % 4 < 2 else "south" for row in range(N)]


def judged(said: dict[str, np.ndarray], wrong: int = 12, **more: Any) -> dict[str, Any]:
    clean = clean_table(LABELS, said_of(LABELS, range(wrong), 0.85), GROUPS, SOURCES)
    return assess(clean, swept_table(clean, said), softmax, NAMES, SETTINGS, **{"resamples": 200, **more})


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """Gamma costs more and more; noise is worst when mild; the presets cost a little and much."""
    gamma = {f"gamma-{s}": said_of(LABELS, range(12 + 6 * s), 0.85 - 0.05 * s, s) for s in range(1, 6)}
    noise = {
        f"gaussian_noise-{s}": said_of(LABELS, range(wrong), 0.8, s)
        for s, wrong in enumerate((70, 60, 45, 30, 20), start=1)
    }
    sure = said_of(LABELS, range(60), 0.97, 9)
    return judged({**gamma, **noise, "clinical": said_of(LABELS, range(15), 0.8, 8), "severe": sure})


def test_every_condition_has_its_scores_its_interval_and_its_difference_from_clean(report: dict[str, Any]) -> None:
    conditions = report["conditions"]
    assert list(conditions)[:3] == ["clean", "clinical", "severe"]
    assert list(conditions)[3:] == [f"{name}-{s}" for name in ("gamma", "gaussian_noise") for s in range(1, 6)]
    assert conditions["clean"]["accuracy"] == pytest.approx(0.9)
    assert "difference" not in conditions["clean"]
    for name, entry in conditions.items():
        assert sum(entry["confidence_histogram"]) == N
        for score in SCORES:
            assert entry["scores"][score]["low"] <= entry[score] <= entry["scores"][score]["high"] or score == ERROR
            assert entry["intervals"][score] == {key: entry["scores"][score][key] for key in ("low", "high")}
            if name != "clean":
                difference = entry["difference"][score]
                assert difference["value"] == pytest.approx(entry[score] - conditions["clean"][score])
                assert difference["low"] <= difference["high"]
    assert (conditions["gamma-3"]["corruption"], conditions["gamma-3"]["severity"]) == ("gamma", 3)
    assert (conditions["severe"]["corruption"], conditions["severe"]["severity"]) == (None, None)
    assert len(conditions["clinical"]["steps"]) == 5
    json.dumps(report, allow_nan=False)


def test_every_source_is_scored_by_itself(report: dict[str, Any]) -> None:
    for entry in report["conditions"].values():
        north, south = entry["per_source"]["north"], entry["per_source"]["south"]
        assert (north["films"], south["films"], north["groups"]) == (60, 60, 30)
        assert (north["accuracy"]["value"] + south["accuracy"]["value"]) / 2 == pytest.approx(entry["accuracy"])
    change = report["conditions"]["severe"]["per_source"]["north"]["difference"]["accuracy"]
    assert change["low"] < change["value"] < change["high"] < 0


def test_scores_are_those_of_the_probabilities_that_are_answered() -> None:
    said = {"clinical": said_of(LABELS, range(30), 0.9, 1)}
    plain = judged(said)
    clean = clean_table(LABELS, said_of(LABELS, range(12), 0.85), GROUPS, SOURCES)
    cooler = assess(clean, swept_table(clean, said), lambda x: softmax(x / 2), NAMES, SETTINGS, resamples=200)
    for name in ("clean", "clinical"):
        assert cooler["conditions"][name]["accuracy"] == plain["conditions"][name]["accuracy"]
        assert cooler["conditions"][name]["mean_confidence"] < plain["conditions"][name]["mean_confidence"] - 0.05


def test_errors_over_the_severities_are_as_defined(report: dict[str, Any]) -> None:
    gamma, noise = report["corruptions"]["gamma"], report["corruptions"]["gaussian_noise"]
    assert gamma["error"]["value"] == pytest.approx(np.mean([12 + 6 * s for s in range(1, 6)]) / N)
    assert gamma["error_over_clean"]["value"] == pytest.approx(gamma["error"]["value"] / 0.1)
    assert gamma["excess_error"]["value"] == pytest.approx(gamma["error"]["value"] - 0.1)
    assert gamma["excess_error_over_clean"]["value"] == pytest.approx(gamma["error_over_clean"]["value"] - 1)
    assert gamma["error"]["low"] < gamma["error"]["value"] < gamma["error"]["high"]
    draws = np.concatenate(list(resample_weights(GROUPS, SETTINGS.seed, 200)))
    rows = np.arange(N)
    clean, *wrong = (draws @ (rows < 12 + 6 * s) / draws.sum(axis=1) for s in range(6))
    for name, spread in {
        "error": np.mean(wrong, axis=0),
        "excess_error": np.mean(wrong, axis=0) - clean,
        "error_over_clean": np.mean(wrong, axis=0)[clean > 0] / clean[clean > 0],  # undefined without an error
    }.items():
        assert [gamma[name]["low"], gamma[name]["high"]] == pytest.approx(np.quantile(spread, [0.025, 0.975]))
    mean = report["mean_corruption_error"]
    assert mean["corruptions"] == 2
    assert mean["error"]["value"] == pytest.approx((gamma["error"]["value"] + noise["error"]["value"]) / 2)
    assert "AlexNet" in mean["definition"]
    worst = report["worst_corruption"]
    assert worst["name"] == "gaussian_noise"
    assert 0.9 < worst["share_of_resamples"]["value"] <= 1
    assert len(gamma["amounts"]) == 5


def test_a_severity_that_beats_a_milder_one_beyond_chance_is_named(report: dict[str, Any]) -> None:
    order = report["monotonicity"]
    assert report["corruptions"]["gamma"]["monotonicity"] == {"in_order": True, "rises": [], "violations": []}
    noise = report["corruptions"]["gaussian_noise"]["monotonicity"]
    assert noise["in_order"] is False
    assert len(noise["rises"]) == 10  # each of the ten pairs of severities, none against clean
    assert ("gaussian_noise-5", "gaussian_noise-1") in {(v["stronger"], v["milder"]) for v in noise["violations"]}
    assert all(pair["difference"] > pair["tolerance"] > 0 for pair in noise["violations"])
    assert order["violations"] == noise["violations"]
    assert order["pairs"] == 30
    assert "gaussian_noise-5 than gaussian_noise-1" in order["sentence"]


def test_a_severity_that_is_better_by_one_film_is_within_chance() -> None:
    wrong = (30, 29, 31, 30, 29)
    said = {f"gamma-{s}": said_of(LABELS, range(w), 0.8, s) for s, w in enumerate(wrong, start=1)}
    order = judged(said)["corruptions"]["gamma"]["monotonicity"]
    assert order["rises"]
    assert order["in_order"] is True
    assert order["violations"] == []


def test_confidence_that_rises_while_accuracy_falls_is_flagged_and_fails(report: dict[str, Any]) -> None:
    severe, clinical = report["conditions"]["severe"], report["conditions"]["clinical"]
    for name in ("confidence_rose_while_accuracy_fell", "confidence_rose_while_accuracy_fell_beyond_chance"):
        assert severe[name] is True
        assert clinical[name] is False
    said = report["confidence"]
    assert said["flagged"] == said["flagged_beyond_chance"] == said["flagged_surely"] == said["failing"] == ["severe"]
    assert said["conditions"] == 12
    assert "under 1 of 12 conditions" in said["sentence"]
    assert report["verdict"]["passed"] is False
    assert report["verdict"]["failing"] == ["severe"]
    assert report["severe_minus_clinical"]["accuracy"]["value"] == pytest.approx(-45 / N)


def test_a_single_corruption_fails_for_its_confidence_only_beyond_what_all_of_them_allow() -> None:
    base = {f"gamma-{s}": said_of(LABELS, range(26), 0.85, s, 0.1) for s in range(1, 6)}
    found = []
    for lift in (0.018, 0.09):
        sure = said_of(LABELS, range(26), 0.85 + lift, 50, 0.1)
        said = {**base, "clinical": said_of(LABELS, range(13), 0.8), "jpeg-1": sure}
        found.append(judged(said, resamples=400)["confidence"])
    slight, clear = found
    assert slight["flagged_beyond_chance"] == ["jpeg-1"]
    assert slight["failing"] == []
    assert clear["failing"] == clear["flagged_surely"] == ["jpeg-1"]


@pytest.mark.parametrize(("wrong", "passed"), [(12, True), (14, True), (18, False), (6, True)])
def test_the_verdict_holds_the_loss_under_the_clinical_preset_against_the_limit(wrong: int, passed: bool) -> None:
    verdict = judged({"clinical": said_of(LABELS, range(wrong), 0.7, 1)})["verdict"]
    loss = (wrong - 12) / N
    assert verdict["passed"] is passed
    assert verdict["value"] == pytest.approx(loss)
    assert verdict["low"] <= loss <= verdict["high"]
    assert verdict["limit"] == 0.04
    assert verdict["shown"] is (verdict["high"] <= 0.04)
    assert f"changes by {-100 * loss + 0.0:+.1f} points" in verdict["sentence"]
    if wrong == 12:  # no film changed sides: what 60 patient groups without a change leave open
        assert verdict["high"] == pytest.approx(1 - 0.025 ** (1 / 60))
    if verdict["high"] > 0.04:
        assert f"{100 * verdict['high']:.1f} points, is beyond it" in verdict["sentence"]


def test_without_the_clinical_preset_the_verdict_is_not_available_and_does_not_pass() -> None:
    report = judged({"gamma-1": said_of(LABELS, range(12), 0.7, 1)})
    assert report["verdict"]["passed"] is False
    assert report["verdict"]["value"] is None
    assert "not available: the clinical preset was not swept" in report["verdict"]["sentence"]
    assert report["severe_minus_clinical"]["accuracy"]["value"] is None
    only = judged({"clinical": said_of(LABELS, range(12), 0.7, 1)})
    assert only["worst_corruption"]["name"] is None
    assert only["mean_corruption_error"]["error"]["reason"] == "no corruption was swept"
    assert "not available" in only["monotonicity"]["sentence"]
    for figure in (degradation_figure(only), loss_figure(only), conditions_figure(report), confidence_figure(report)):
        assert png_bytes(figure, dpi=40)


def test_a_condition_that_changes_nothing_differs_by_exactly_nothing() -> None:
    same = said_of(LABELS, range(12), 0.85)
    report = judged({"clinical": same, **{f"shift-{s}": same for s in range(1, 6)}})
    for difference in report["conditions"]["clinical"]["difference"].values():
        assert (difference["value"], difference["low"], difference["high"], difference["p_value"]) == (0, 0, 0, 1)
    assert report["corruptions"]["shift"]["monotonicity"] == {"in_order": True, "rises": [], "violations": []}
    assert report["corruptions"]["shift"]["excess_error"]["value"] == 0
    assert report["verdict"]["passed"] is True
    assert report["confidence"]["flagged"] == []


@pytest.mark.parametrize("case", ["three films", "one class", "a class absent", "all equal", "one group", "no error"])
def test_thin_or_even_films_give_a_reason_and_no_made_up_number(case: str) -> None:
    n = 3 if case == "three films" else 30
    labels = {"one class": np.zeros(n, int), "a class absent": np.arange(n) % 2}.get(case, np.arange(n) % 3)
    groups = ["same"] * n if case == "one group" else [f"g{row}" for row in range(n)]
    flat = np.full((n, 3), 1 / 3)
    p = flat if case == "all equal" else said_of(labels, [] if case == "no error" else [0], 0.8)
    clean = clean_table(labels, p, groups, ["only"] * n)
    names = ["clinical", "severe", *(f"gamma-{s}" for s in range(1, 6)), *(f"jpeg-{s}" for s in range(1, 6))]
    said = {name: flat if case == "all equal" else said_of(labels, [0], 0.8, 1) for name in names}
    report = assess(clean, swept_table(clean, said), softmax, NAMES, SETTINGS, resamples=60)
    json.dumps(report, allow_nan=False)
    clinical = report["conditions"]["clinical"]
    if case in ("three films", "one group"):
        assert clinical["intervals"]["accuracy"] is None
        assert "patient group" in clinical["difference"]["accuracy"]["reason"]
        assert report["corruptions"]["gamma"]["monotonicity"]["in_order"] is None
        assert report["worst_corruption"]["share_of_resamples"]["value"] is None
        assert report["verdict"]["high"] is None
    if case == "one class":
        assert clinical["macro_auc"] is None
        assert clinical["difference"]["macro_auc"]["reason"] == "every film is Normal"
    if case == "a class absent":
        assert clinical["macro_auc"] is not None
    if case == "no error":
        assert "no error on the clean films" in report["mean_corruption_error"]["error_over_clean"]["reason"]
        assert report["conditions"]["clean"]["scores"]["accuracy"]["exact"] is True
    if case == "all equal":
        assert clinical["macro_auc"] == 0.5
        assert clinical["difference"]["mean_confidence"]["value"] == 0
    if case in ("three films", "all equal"):
        for figure in (conditions_figure, confidence_figure, degradation_figure, loss_figure):
            assert png_bytes(figure(report), dpi=30)
    assert len(conditions_table(report)) == 13


def test_conditions_of_other_films_or_labels_and_unknown_ones_are_refused() -> None:
    clean = clean_table(LABELS, said_of(LABELS, range(12), 0.85), GROUPS, SOURCES)
    swept = swept_table(clean, {"clinical": said_of(LABELS, range(15), 0.8)})

    def refused(rows: pd.DataFrame, match: str, films: pd.DataFrame = clean) -> None:
        with pytest.raises(CxrError, match=match):
            assess(films, rows, softmax, NAMES, SETTINGS, resamples=10)

    refused(swept.iloc[1:], "clinical was swept over other films")
    refused(swept.assign(label_index=(swept["label_index"] + 1) % 3), "other films or labels")
    refused(swept.assign(condition="fog-1"), "'fog-1'")
    refused(swept.assign(l_1=np.nan), "l_1")
    refused(swept, "No clean films", clean.iloc[:0])


def test_equal_tables_in_any_order_give_equal_reports(report: dict[str, Any]) -> None:
    said = {"clinical": said_of(LABELS, range(15), 0.8, 8)}
    clean = clean_table(LABELS, said_of(LABELS, range(12), 0.85), GROUPS, SOURCES)
    one, two = (
        assess(clean.sample(frac=1, random_state=seed), swept_table(clean, said, seed), softmax, NAMES, SETTINGS, 50)
        for seed in (1, 2)
    )
    assert json.dumps(one) == json.dumps(two)


def test_the_table_holds_every_condition_and_what_it_changed(report: dict[str, Any]) -> None:
    table = conditions_table(report).set_index("condition")
    assert list(table.index) == list(report["conditions"])
    assert table.loc["severe", "accuracy"] == pytest.approx(0.5)
    assert (
        table.loc["severe", "accuracy_change_high"] == report["conditions"]["severe"]["difference"]["accuracy"]["high"]
    )
    assert table["accuracy_change"].isna().tolist() == [name == "clean" for name in table.index]
    assert table.loc["gamma-2", "severity"] == 2
    assert table["severity"].isna().sum() == 3


def test_figures_draw_every_condition(report: dict[str, Any]) -> None:
    scores = conditions_figure(report)
    assert scores.axes[0].get_legend_handles_labels()[1] == ["clean", "clinical", "severe"]
    assert [axis.get_title() for axis in confidence_figure(report).axes] == ["clinical", "severe"]
    panels = degradation_figure(report)
    assert [axis.get_title() for axis in panels.axes[:2]] == ["Gamma", "Gaussian noise"]
    noise = panels.axes[1].get_lines()[0].get_ydata()
    assert np.asarray(noise).tolist() == pytest.approx([0.9, *(1 - w / N for w in (70, 60, 45, 30, 20))])
    loss = loss_figure(report)
    assert [text.get_text() for text in loss.axes[0].get_yticklabels()] == ["Gaussian noise", "Gamma"]
    assert loss.axes[0].texts[0].get_text() == f"{100 * (70 / N - 0.1):.1f}*"
    frames = np.random.default_rng(0).integers(1, 255, (4, 24, 24), np.uint8)
    labelled = LabelledFrames(ArrayFrames(frames), np.zeros(4, np.int64), [f"{row:016x}" for row in range(4)])
    gallery = corruption_gallery(labelled, presets(SETTINGS), seed=0)
    assert [axis.get_title() for axis in gallery.axes[:3]] == ["clean", "clinical", "severe"]
    for figure in (scores, panels, loss, gallery):
        assert png_bytes(figure, dpi=40)
