"""Calibration fitted on the part of the films kept for it, and measured before and after on test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import RESAMPLES, percentile_interval, resample_weights
from cxr_core.evaluation.calibration import BINS, ERROR, calibration_report, calibration_scores
from cxr_core.evaluation.calibration_classes import classwise_report
from cxr_core.evaluation.metrics import logits_of
from cxr_core.evaluation.temperature import MIN_FILMS, TemperatureScaling, fit_temperature
from cxr_core.evaluation.vector_scaling import VectorScaling, fit_vector_scaling

__all__ = ["FITTED_ON", "REPORT_FILE", "TEMPERATURE_FILE", "VECTOR_FILE", "calibration_verdict", "study_calibration"]

Floats = npt.NDArray[np.float64]

FITTED_ON = "calibration"  # split that is neither trained on, nor stops the training, nor is tested on
REPORT_FILE = "calibrated_model.json"
TEMPERATURE_FILE = "temperature.json"
VECTOR_FILE = "vector_scaling.json"
_SCORES = (ERROR, "brier", "log_loss")


def study_calibration(
    predictions: pd.DataFrame,
    names: Sequence[str],
    seed: int,
    resamples: int = RESAMPLES,
    min_films: int = MIN_FILMS,
    bins: int = BINS,
    measured_on: str = "test",
) -> tuple[TemperatureScaling, VectorScaling, dict[str, Any]]:
    """Fit both scalings on the rows of split ``calibration``, measure them on those of ``measured_on``.

    Args:
        predictions: the predictions table, with logits.
        names: class names in output order.
        seed, resamples: of intervals and nulls.
        min_films: below it no temperature is fitted.
        bins: of the calibration errors, at most.
        measured_on: the split that tells what the fit is worth.

    Returns:
        The temperature, the vector scaling, and a JSON-ready report: ``fitted_on`` (``split``, ``films``, ``groups``,
        ``per_class``), ``temperature`` and ``vector_scaling`` as recorded, ``measured_on``; ``before``, ``after``
        (temperature) and ``after_vector``: :func:`~cxr_core.evaluation.calibration.calibration_report` with
        ``classwise``; ``differences``: ``after`` and ``after_vector`` minus ``before``, on the same resamples;
        ``verdict``, see :func:`calibration_verdict`.

    Raises:
        CxrError: no film to measure on, or logits that are not finite.
    """
    fitting, tested = (
        predictions[predictions["split"] == split].sort_values("image_id") for split in (FITTED_ON, measured_on)
    )
    if tested.empty:
        raise CxrError(f"No predictions of the {measured_on} split: predict it before calibrating.")
    logits, labels, groups = _columns(fitting, len(names))
    temperature = fit_temperature(logits, labels, groups, seed, min_films=min_films)
    vector = fit_vector_scaling(logits, labels, groups, min_films)
    counts = {name: int((labels == place).sum()) for place, name in enumerate(names)}

    logits, labels, groups = _columns(tested, len(names))
    identity = TemperatureScaling(temperature=1.0, films=0, groups=0)
    scaled = {
        "before": identity.probabilities(logits),
        "after": temperature.probabilities(logits),
        "after_vector": vector.probabilities(logits),
    }
    measured = {
        name: {
            **calibration_report(labels, probabilities, groups, seed, resamples, bins),
            "classwise": classwise_report(labels, probabilities, groups, names, seed, resamples, bins),
        }
        for name, probabilities in scaled.items()
    }
    return (
        temperature,
        vector,
        {
            "notice": NOTICE,
            "seed": seed,
            "labels": list(names),
            "fitted_on": {
                "split": FITTED_ON,
                "films": temperature.films,
                "groups": temperature.groups,
                "per_class": counts,
            },
            "temperature": temperature.model_dump(mode="json"),
            "vector_scaling": vector.model_dump(mode="json"),
            "measured_on": measured_on,
            **measured,
            "differences": _differences(labels, scaled, groups, seed, resamples, bins),
            "verdict": calibration_verdict(measured["before"], measured["after"], temperature),
        },
    )


def calibration_verdict(
    before: dict[str, Any], after: dict[str, Any], temperature: TemperatureScaling
) -> dict[str, Any]:
    """Whether the calibrated model errs no more than a perfectly calibrated one would on as many films.

    Args:
        before, after: calibration reports without and with the temperature.
        temperature: that was applied.

    Returns:
        ``passed``, ``sentence``, ``value`` with ``low``, ``high`` (the error after), ``limit`` (95 % of the errors of a
        perfectly calibrated model lie below).
    """
    error, limit = after[ERROR], after["null"]["high"]
    passed = error["value"] <= limit
    how = f"temperature {temperature.temperature:.3g}" + (f" ({temperature.reason})" if temperature.reason else "")
    interval = f" [{error['low']:.3f}, {error['high']:.3f}]" if error["low"] is not None else ""
    sentence = (
        f"Expected calibration error {before[ERROR]['value']:.3f} before and {error['value']:.3f}{interval} after "
        f"{how}, on {after['n']} films; a perfectly calibrated model shows up to {limit:.3f} there: "
        f"{'within' if passed else 'above'} it."
    )
    return {
        "passed": bool(passed),
        "sentence": sentence,
        "value": error["value"],
        "low": error["low"],
        "high": error["high"],
        "limit": limit,
    }


def _columns(rows: pd.DataFrame, classes: int) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.object_]]:
    return (
        np.asarray(logits_of(rows, classes), np.float64),
        rows["label_index"].to_numpy(np.int64),
        rows["group_id"].to_numpy(object),
    )


def _differences(
    labels: npt.NDArray[np.int64],
    scaled: dict[str, Floats],
    groups: npt.NDArray[np.object_],
    seed: int,
    resamples: int,
    bins: int,
) -> dict[str, dict[str, Any]]:
    """Each way minus ``before``; both see the same resampled groups, so that what they share falls out."""
    functions = {name: calibration_scores(labels, probabilities, bins) for name, probabilities in scaled.items()}
    one = {name: function(np.ones((1, len(labels)))) for name, function in functions.items()}
    several = len(np.unique(groups.astype(str))) > 1
    weights = list(resample_weights(groups, seed, resamples)) if several else []
    drawn = {
        name: {score: [found[score] for found in blocks] for score in _SCORES}
        for name, blocks in ((name, [function(w) for w in weights]) for name, function in functions.items())
    }
    result: dict[str, dict[str, Any]] = {}
    for name in ("after", "after_vector"):
        result[name] = {}
        for score in _SCORES:
            interval = None
            if several:
                spread = np.concatenate(drawn[name][score]) - np.concatenate(drawn["before"][score])
                interval = percentile_interval(spread, keep_flat=True)
            value = float(one[name][score][0] - one["before"][score][0])
            result[name][score] = {"value": value, **(interval or {"low": None, "high": None})}
    return result
