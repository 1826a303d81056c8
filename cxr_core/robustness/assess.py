"""How a model's scores change under corruption: each condition on the same films, differences paired film by film."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core import NOTICE
from cxr_core.dataset.frames import Frames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES, SCORES, percentile_interval, resampled_scores
from cxr_core.evaluation.metrics import Metrics, classification_metrics
from cxr_core.robustness.corruptions import CLEAN, CorruptedFrames, Preset

__all__ = ["CONFIDENCE_BINS", "Predict", "assess"]

Predict = Callable[[Frames], npt.NDArray[np.floating]]

CONFIDENCE_BINS = 20  # of the confidence histograms, over 0-1: steps of .05


def assess(
    predict: Predict,
    labelled: LabelledFrames,
    groups: Sequence[str],
    presets: Mapping[str, Preset],
    seed: int,
    names: Sequence[str],
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Score a model on clean and corrupted films, one pass of the model a condition (report 5.1, 5.2).

    Args:
        predict: frames to probabilities (n, k), in the order of the frames.
        labelled: the films, with the keys that seed their corruption.
        groups: n group names; films of one group are drawn together in the bootstrap.
        presets: conditions by name; the clean one is added where it is not among them.
        seed: of the corruptions and of the bootstrap.
        names: k class names.
        resamples: of the bootstrap.

    Returns:
        JSON-ready. ``conditions`` maps ``clean`` and each preset to ``steps``, ``accuracy``, ``macro_f1``,
        ``macro_auc``, ``mean_confidence``, ``log_loss``, ``intervals`` of the first four, ``confidence_histogram``
        (films a bin of .05), and, but for clean, ``difference`` from clean of the first four (``value``, ``low``,
        ``high``; paired over the same resamples of groups), ``confidence_rose_while_accuracy_fell`` (by the values)
        and ``confidence_rose_while_accuracy_fell_beyond_chance`` (both intervals leave out 0). Intervals are None
        where there are fewer than two groups.

    Raises:
        CxrError: no films, or groups that do not match them.
    """
    if not len(labelled):
        raise CxrError("No films to corrupt: pass the test split.")
    if len(groups) != len(labelled):
        raise CxrError(f"{len(labelled)} films and {len(groups)} groups do not match: pass one group a film.")
    conditions = {**presets, CLEAN.name: CLEAN}
    conditions = {name: conditions[name] for name in [CLEAN.name, *(n for n in presets if n != CLEAN.name)]}
    probabilities = {
        name: np.asarray(predict(_frames_of(labelled, preset, seed))) for name, preset in conditions.items()
    }
    metrics = {name: classification_metrics(labelled.labels, p, names) for name, p in probabilities.items()}
    count = len(set(groups))
    draws = resamples if count > 1 else 0
    scores = dict(
        zip(conditions, resampled_scores(labelled.labels, [*probabilities.values()], groups, seed, draws), strict=True)
    ) if draws else {}  # fmt: skip
    report: dict[str, Any] = {}
    for name, preset in conditions.items():
        entry = _entry(metrics[name], probabilities[name], preset)
        entry["intervals"] = {s: percentile_interval(scores[name][s]) if scores else None for s in SCORES}
        if name != CLEAN.name:
            changes = {s: scores[name][s] - scores[CLEAN.name][s] for s in SCORES} if scores else {}
            entry.update(_compare(metrics[CLEAN.name], metrics[name], changes))
        report[name] = entry
    said = {"n": len(labelled), "groups": count, "seed": seed, "resamples": draws, "level": LEVEL}
    return {"notice": NOTICE, **said, "conditions": report}


def _frames_of(labelled: LabelledFrames, preset: Preset, seed: int) -> Frames:
    return CorruptedFrames(labelled.frames, labelled.keys, preset, seed) if preset.acting else labelled.frames


def _entry(metrics: Metrics, probabilities: npt.NDArray[np.floating], preset: Preset) -> dict[str, Any]:
    histogram, _ = np.histogram(np.minimum(probabilities.max(axis=1), 1.0), CONFIDENCE_BINS, (0.0, 1.0))
    return {
        "steps": preset.describe(),
        **{score: metrics[score] for score in SCORES},  # type: ignore[literal-required]
        "log_loss": metrics["log_loss"],
        "confidence_histogram": histogram.tolist(),
    }


def _compare(clean: Metrics, corrupted: Metrics, changes: dict[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    difference: dict[str, dict[str, float | None]] = {}
    for score in SCORES:
        before, after = clean[score], corrupted[score]  # type: ignore[literal-required]
        interval = percentile_interval(changes[score], keep_flat=True) if changes else None
        difference[score] = {
            "value": None if before is None or after is None else after - before,
            "low": interval["low"] if interval else None,
            "high": interval["high"] if interval else None,
        }
    accuracy, confidence = difference["accuracy"], difference["mean_confidence"]
    return {
        "difference": difference,
        "confidence_rose_while_accuracy_fell": (confidence["value"] or 0) > 0 > (accuracy["value"] or 0),
        "confidence_rose_while_accuracy_fell_beyond_chance": (confidence["low"] or 0) > 0 > (accuracy["high"] or 0),
    }
