"""The evaluation report: every score of the held-out films with its interval, and what went wrong how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import RESAMPLES
from cxr_core.evaluation.calibration import calibration_report
from cxr_core.evaluation.intervals import intervals
from cxr_core.evaluation.metrics import Metrics, classification_metrics, probabilities_of
from cxr_core.evaluation.source_scores import macro_over_sources, per_source

__all__ = ["evaluation_report", "failure_counts", "model_of"]


def evaluation_report(
    predictions: pd.DataFrame,
    names: Sequence[str],
    seed: int,
    split: str = "test",
    resamples: int = RESAMPLES,
    normal: str = "Normal",
) -> dict[str, Any]:
    """Report on one split of the predictions table (report 4.1, 4.2, 6.2).

    Args:
        predictions: the predictions table.
        names: class names in output order.
        seed: of the bootstrap.
        split: which rows count.
        resamples: of the bootstrap.
        normal: name of the class without disease.

    Returns:
        JSON-ready: ``overall`` (see :class:`Metrics`, its ``per_class`` and ``confusion`` included), ``intervals`` of
        every score, overall and of each class (see :func:`~cxr_core.evaluation.intervals.intervals`), ``calibration``
        (see :func:`~cxr_core.evaluation.calibration.calibration_report`), ``per_source`` and ``macro_over_sources``
        (see :mod:`cxr_core.evaluation.source_scores`), ``failures``, ``split``, ``seed``, ``notice``.

    Raises:
        CxrError: the split holds no film.
    """
    rows = predictions[predictions["split"] == split].sort_values("image_id")
    if rows.empty:
        raise CxrError(f"No predictions of the {split} split: predict it before evaluating.")
    labels, probabilities = rows["label_index"].to_numpy(np.int64), probabilities_of(rows, len(names))
    groups = rows["group_id"].to_numpy(object)
    overall = classification_metrics(labels, probabilities, names)
    return {
        "notice": NOTICE,
        "split": split,
        "seed": seed,
        "overall": overall,
        "intervals": intervals(labels, probabilities, groups, seed, resamples, names),
        "calibration": calibration_report(labels, probabilities, groups, seed, resamples),
        "per_source": per_source(rows, names, seed, resamples, normal),
        "macro_over_sources": macro_over_sources(rows, names, seed, resamples, normal),
        "failures": failure_counts(overall, normal),
    }


def model_of(predictions: pd.DataFrame) -> str:
    """Digest of the trained model that a predictions table says it was made with: its column ``trained_model``.

    Raises:
        CxrError: it does not say, or names several.
    """
    names = predictions["trained_model"].unique().tolist() if "trained_model" in predictions else []
    if len(names) != 1:
        raise CxrError(
            f"The predictions table names {len(names)} trained models, not one: materialise predictions again."
        )
    return str(names[0])


def failure_counts(metrics: Metrics, normal: str = "Normal") -> dict[str, Any]:
    """Kinds of error counted from the confusion matrix (report 6.2).

    Args:
        metrics: scores that hold the matrix.
        normal: name of the class without disease.

    Returns:
        ``errors`` in all; ``false_positives`` normal films called a disease, with ``false_positive_share`` of the
        normal films; ``false_negatives`` diseased films called normal, with ``false_negative_share`` of the diseased;
        ``between_diseases`` one disease called another; ``confusions`` each ordered pair of classes with its count,
        largest first. The three kinds and the shares are None where there is no normal class.
    """
    names, confusion = metrics["labels"], np.array(metrics["confusion"], np.int64)
    errors = int(confusion.sum() - np.trace(confusion))
    pairs = [
        {"true": names[row], "predicted": names[column], "count": int(confusion[row, column])}
        for row, column in np.ndindex(confusion.shape)
        if row != column
    ]
    pairs.sort(key=lambda pair: -int(str(pair["count"])))
    kinds = ("false_positives", "false_positive_share", "false_negatives", "false_negative_share", "between_diseases")
    result: dict[str, Any] = {"errors": errors, **dict.fromkeys(kinds), "confusions": pairs}
    if normal in names:
        place = names.index(normal)
        healthy = int(confusion[place].sum())
        diseased = int(confusion.sum()) - healthy
        flagged = healthy - int(confusion[place, place])
        missed = int(confusion[:, place].sum() - confusion[place, place])
        values = (flagged, flagged / healthy if healthy else None, missed, missed / diseased if diseased else None)
        result.update(zip(kinds, (*values, errors - flagged - missed), strict=True))
    return result
