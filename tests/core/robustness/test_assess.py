"""The robustness report compares conditions on the same films and says what it computes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cxr_core.dataset.frames import ArrayFrames, Frames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.plotting import png_bytes
from cxr_core.robustness.assess import assess
from cxr_core.robustness.corruptions import CorruptedFrames, Preset, Step, presets
from cxr_core.robustness.figures import conditions_figure, confidence_figure, corruption_gallery
from cxr_core.settings_sections import RobustnessSettings

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
PRESETS = presets(RobustnessSettings())


@pytest.fixture(scope="module")
def labelled() -> LabelledFrames:
    """Films whose mean grey carries the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    frames = rng.normal(80 + 40 * labels[:, None, None], 25, (90, 24, 24)).clip(1, 255).astype(np.uint8)
    return LabelledFrames(ArrayFrames(frames), labels.astype(np.int64), [f"{row:016x}" for row in range(90)])


GROUPS = [f"g{row // 2}" for row in range(90)]


def by_grey(frames: Frames) -> np.ndarray:
    """A classifier that reads the mean grey: brightness is all it knows."""
    means = frames.take(np.arange(len(frames))).mean(axis=(1, 2))
    powers = np.exp(-(((means[:, None] - np.array([80, 120, 160])) / 20) ** 2))
    return powers / powers.sum(axis=1, keepdims=True)


def test_differences_are_those_of_the_conditions_and_lie_in_their_intervals(labelled: LabelledFrames) -> None:
    report = assess(by_grey, labelled, GROUPS, PRESETS, 0, NAMES, resamples=200)
    conditions = report["conditions"]
    assert list(conditions) == ["clean", "clinical", "severe"]
    assert conditions["clean"]["accuracy"] == 1.0
    for name in ("clinical", "severe"):
        difference = conditions[name]["difference"]
        for score in ("accuracy", "macro_f1", "macro_auc", "mean_confidence"):
            assert difference[score]["value"] == pytest.approx(conditions[name][score] - conditions["clean"][score])
            assert difference[score]["low"] <= difference[score]["value"] <= difference[score]["high"]
    assert conditions["severe"]["accuracy"] < conditions["clinical"]["accuracy"] < 1
    assert conditions["severe"]["difference"]["accuracy"]["high"] < 0
    json.dumps(report, allow_nan=False)


def test_a_condition_that_changes_nothing_differs_by_exactly_nothing(labelled: LabelledFrames) -> None:
    idle = {"idle": Preset("idle", (Step("gaussian_noise", 0.0),))}
    entry = assess(by_grey, labelled, GROUPS, idle, 0, NAMES, resamples=50)["conditions"]["idle"]
    for difference in entry["difference"].values():
        assert difference == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert entry["confidence_rose_while_accuracy_fell"] is False


def test_confidence_that_rises_while_accuracy_falls_is_flagged(labelled: LabelledFrames) -> None:
    def blind_and_sure(frames: Frames) -> np.ndarray:
        corrupted = isinstance(frames, CorruptedFrames)
        said = np.zeros(len(frames), int) if corrupted else labelled.labels
        sure = 0.99 if corrupted else 0.6
        return np.where(np.eye(3)[said] > 0, sure, (1 - sure) / 2)

    entry = assess(blind_and_sure, labelled, GROUPS, PRESETS, 0, NAMES, resamples=100)["conditions"]["severe"]
    assert entry["confidence_rose_while_accuracy_fell"] is True
    assert entry["confidence_rose_while_accuracy_fell_beyond_chance"] is True
    sober = assess(by_grey, labelled, GROUPS, PRESETS, 0, NAMES, resamples=100)["conditions"]["severe"]
    fell = sober["difference"]["mean_confidence"]["value"] > 0 > sober["difference"]["accuracy"]["value"]
    assert sober["confidence_rose_while_accuracy_fell"] is fell


def test_the_model_passes_once_a_condition_over_all_films(labelled: LabelledFrames) -> None:
    seen: list[int] = []

    def counting(frames: Frames) -> np.ndarray:
        seen.append(len(frames))
        return by_grey(frames)

    assess(counting, labelled, GROUPS, PRESETS, 0, NAMES, resamples=10)
    assert seen == [90, 90, 90]


def test_one_group_or_one_class_gives_no_interval_and_no_nan(labelled: LabelledFrames) -> None:
    normals = labelled.subset(np.flatnonzero(labelled.labels == 0))
    report = assess(by_grey, normals, ["same"] * len(normals), PRESETS, 0, NAMES)
    entry = report["conditions"]["clinical"]
    assert entry["intervals"]["accuracy"] is None
    assert entry["difference"]["macro_auc"] == {"value": None, "low": None, "high": None}
    json.dumps(report, allow_nan=False)
    for figure in (conditions_figure(report), confidence_figure(report)):
        assert png_bytes(figure, dpi=40)


def test_no_films_and_missing_groups_are_refused(labelled: LabelledFrames) -> None:
    with pytest.raises(CxrError, match="No films"):
        assess(by_grey, labelled.subset(np.arange(0)), [], PRESETS, 0, NAMES)
    with pytest.raises(CxrError, match="groups"):
        assess(by_grey, labelled, GROUPS[:3], PRESETS, 0, NAMES)


def test_figures_draw_every_condition(labelled: LabelledFrames) -> None:
    report = assess(by_grey, labelled, GROUPS, PRESETS, 0, NAMES, resamples=50)
    scores = conditions_figure(report)
    assert scores.axes[0].get_legend_handles_labels()[1] == ["clean", "clinical", "severe"]
    assert [axis.get_title() for axis in confidence_figure(report).axes] == ["clinical", "severe"]
    gallery = corruption_gallery(labelled, PRESETS, seed=0)
    assert [axis.get_title() for axis in gallery.axes[:3]] == ["clean", "clinical", "severe"]
    only_clean = assess(by_grey, labelled, GROUPS, {}, 0, NAMES, resamples=50)
    for figure in (scores, gallery, conditions_figure(only_clean), confidence_figure(only_clean)):
        assert png_bytes(figure, dpi=40)
