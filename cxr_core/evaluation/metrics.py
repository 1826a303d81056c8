"""Scores of a classifier on labelled films, with intervals; what is undefined is None, never a made-up number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    SCORES,
    Interval,
    Ranking,
    percentile_interval,
    resample_weights,
    resampled_scores,
)

__all__ = [
    "ClassMetrics",
    "Metrics",
    "classification_metrics",
    "intervals",
    "named_sources",
    "per_source",
    "probabilities_of",
]

_SMALLEST = float(np.finfo(np.float64).eps)  # probability at which log loss is cut, as in scikit-learn
_TOLERANCE = 1e-3  # by which a row of probabilities may miss 1: float32 softmax misses it by 1e-6


class ClassMetrics(TypedDict):
    """One class against the rest; ``recall`` is its sensitivity. None where the denominator is zero."""

    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    auc: float | None
    support: int
    predicted: int


class Metrics(TypedDict):
    """Scores of one set of films.

    Macro scores are unweighted means over the classes with films (``missing_classes`` names the others); a class that
    is never predicted enters macro precision with 0, as in scikit-learn. ``confusion`` has true classes in rows.
    """

    n: int
    labels: list[str]
    missing_classes: list[str]
    accuracy: float | None
    macro_precision: float | None
    macro_recall: float | None
    macro_specificity: float | None
    macro_f1: float | None
    macro_auc: float | None
    log_loss: float | None
    mean_confidence: float | None
    per_class: dict[str, ClassMetrics]
    confusion: list[list[int]]


def classification_metrics(
    labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating], names: Sequence[str]
) -> Metrics:
    """Score predictions against labels; the class predicted is the one of largest probability.

    Args:
        labels: (n,) class indices, 0 to k - 1.
        probabilities: (n, k), rows summing to 1.
        names: k class names.

    Returns:
        The scores, shares 0-1, log loss in nats.

    Raises:
        CxrError: shapes that do not match, labels out of range, or rows that are no probabilities.
    """
    from sklearn.metrics import confusion_matrix, roc_auc_score

    _check(labels, probabilities, names)
    classes, n = range(len(names)), len(labels)
    confusion = (
        confusion_matrix(labels, probabilities.argmax(axis=1), labels=list(classes)) if n else _empty(len(names))
    )
    per_class: dict[str, ClassMetrics] = {}
    for place in classes:
        right, support, predicted = (
            int(confusion[place, place]),
            int(confusion[place].sum()),
            int(confusion[:, place].sum()),
        )
        both = 0 < support < n
        per_class[names[place]] = {
            "precision": _share(right, predicted),
            "recall": _share(right, support),
            "specificity": _share(n - support - predicted + right, n - support),
            "f1": _share(2 * right, support + predicted) if support else None,
            "auc": float(roc_auc_score(labels == place, probabilities[:, place])) if both else None,
            "support": support,
            "predicted": predicted,
        }
    present = [metrics for metrics in per_class.values() if metrics["support"]]
    chosen = np.maximum(probabilities[np.arange(n), labels].astype(np.float64), _SMALLEST)
    return {
        "n": n,
        "labels": list(names),
        "missing_classes": [name for name, metrics in per_class.items() if not metrics["support"]],
        "accuracy": _share(int(np.trace(confusion)), n),
        "macro_precision": _mean([metrics["precision"] or 0.0 for metrics in present]),
        "macro_recall": _mean([metrics["recall"] for metrics in present]),
        "macro_specificity": _mean([metrics["specificity"] for metrics in present]),
        "macro_f1": _mean([metrics["f1"] for metrics in present]),
        "macro_auc": _mean([metrics["auc"] for metrics in present]),
        "log_loss": float(-np.log(chosen).mean()) if n else None,
        "mean_confidence": float(probabilities.max(axis=1).astype(np.float64).mean()) if n else None,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def intervals(
    labels: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.floating],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Bootstrap intervals of accuracy, macro F1, macro AUC and mean confidence, over whole groups.

    Args:
        labels, probabilities: as :func:`classification_metrics`.
        groups: n group names; films of one group are drawn together.
        seed: of the draws.
        resamples: number of resamples.

    Returns:
        Each score's ``{"low", "high"}``, or None where there are fewer than two groups, the score is undefined, or the
        resamples do not differ; then accuracy 1 or 0 has its exact interval. And ``level``, ``resamples``, ``groups``,
        ``method``.
    """
    count = len(np.unique(np.asarray(groups, dtype=str)))
    said = {"level": LEVEL, "resamples": resamples, "groups": count, "method": "percentile bootstrap over groups"}
    if count < 2:
        return {**dict.fromkeys(SCORES), **said}
    (scores,) = resampled_scores(labels, [probabilities], groups, seed, resamples)
    found = {name: percentile_interval(values) for name, values in scores.items()}
    if found["accuracy"] is None:
        found["accuracy"] = _exact_interval(float(np.nanmean(scores["accuracy"])), count)
    return {**found, **said}


def _exact_interval(share: float, groups: int) -> Interval | None:
    """Clopper-Pearson interval (Biometrika 1934) of a share that is 1 or 0 in all of so many independent groups."""
    if share not in (0.0, 1.0):
        return None
    bound = ((1 - LEVEL) / 2) ** (1 / groups)
    return {"low": bound, "high": 1.0} if share == 1.0 else {"low": 0.0, "high": 1 - bound}


def per_source(
    predictions: pd.DataFrame, names: Sequence[str], seed: int, resamples: int = RESAMPLES, normal: str = "Normal"
) -> dict[str, dict[str, Any]]:
    """The same scores inside each source, where the source itself cannot give the class away (TRAPS 1).

    Args:
        predictions: the predictions table.
        names: class names in output order.
        seed, resamples: of the intervals.
        normal: name of the class without disease.

    Returns:
        Source name (``unknown`` where none is recorded) to ``metrics``, ``intervals``, and ``disease_auc``: area under
        the ROC curve of 1 - p(normal), disease against normal, ``value`` with ``low`` and ``high``; None where the
        source lacks one side or the data set has no normal class.
    """
    sources = named_sources(predictions["source"])
    result: dict[str, dict[str, Any]] = {}
    for source in sorted(sources.unique()):
        rows = predictions[sources == source]
        labels, probabilities = rows["label_index"].to_numpy(np.int64), probabilities_of(rows, len(names))
        groups = rows["group_id"].to_numpy(object)
        result[source] = {
            "metrics": classification_metrics(labels, probabilities, names),
            "intervals": intervals(labels, probabilities, groups, seed, resamples),
            "disease_auc": None,
        }
        if normal in names:
            place = list(names).index(normal)
            area = _binary_auc(labels != place, 1 - probabilities[:, place], groups, seed, resamples)
            result[source]["disease_auc"] = area
    return result


def named_sources(sources: pd.Series) -> pd.Series:
    """Source of each film as text, ``unknown`` where none is recorded."""
    known = sources.astype("object")
    return known.where(known.notna() & (known != ""), "unknown").astype(str)


def probabilities_of(predictions: pd.DataFrame, classes: int) -> npt.NDArray[np.float64]:
    """Columns ``p_0``, ``p_1`` ... of the predictions table, (n, classes) float64.

    Raises:
        CxrError: a column is missing.
    """
    columns = [f"p_{place}" for place in range(classes)]
    if missing := [column for column in columns if column not in predictions]:
        raise CxrError(f"The predictions table lacks {missing[0]}: predict again with {classes} classes.")
    return predictions[columns].to_numpy(np.float64)


def _binary_auc(
    positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], groups: Any, seed: int, resamples: int
) -> dict[str, float | None] | None:
    if positive.all() or not positive.any():
        return None
    ranking = Ranking(positive, scores)
    value = float(ranking.auc(np.ones((1, len(scores))))[0])
    spread = np.concatenate([ranking.auc(weights) for weights in resample_weights(groups, seed, resamples)])
    interval = percentile_interval(spread)
    return {"value": value, **(interval or {"low": None, "high": None})}


def _check(labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating], names: Sequence[str]) -> None:
    n, k = len(labels), len(names)
    if probabilities.shape != (n, k):
        raise CxrError(
            f"Probabilities of shape {probabilities.shape} do not fit {n} labels and {k} classes: predict again."
        )
    if n and not (int(labels.min()) >= 0 and int(labels.max()) < k):
        raise CxrError(
            f"Labels run from {labels.min()} to {labels.max()} but there are {k} classes: check label_index."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if not np.all(np.abs(sums - 1) < _TOLERANCE) or (probabilities < 0).any():
        raise CxrError("Some rows of probabilities are negative or do not add up to 1: pass softmax outputs.")


def _empty(classes: int) -> npt.NDArray[np.int64]:
    return np.zeros((classes, classes), np.int64)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
