"""Scores of a classifier on labelled films; what is undefined is None, never a made-up number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import finite_probabilities
from cxr_core.evaluation.weighted import SMALLEST

__all__ = [
    "ClassMetrics",
    "Metrics",
    "classification_metrics",
    "logits_of",
    "named_sources",
    "probabilities_of",
]

_TOLERANCE = 1e-3  # by which a row of probabilities may miss 1: float32 softmax misses it by 1e-6


class ClassMetrics(TypedDict):
    """One class against the rest; ``recall`` is its sensitivity. None where the denominator is zero.

    ``auc`` is the area under the ROC curve and ``pr_auc`` average precision, both None where all films are on one side;
    ``brier`` is the mean squared error of the class's probability, 0-1.
    """

    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    auc: float | None
    pr_auc: float | None
    brier: float | None
    support: int
    predicted: int


class Metrics(TypedDict):
    """Scores of one set of films.

    Macro scores are unweighted means over the classes with films (``missing_classes`` names the others); a class that
    is never predicted enters macro precision with 0, as in scikit-learn. ``confusion`` has true classes in rows.

    ``mcc`` is Matthews' correlation coefficient for several classes (Gorodkin, Computational Biology and Chemistry
    2004), -1 to 1; None where the films, or the predictions, are all of one class. ``kappa`` is Cohen's (Educational
    and Psychological Measurement 1960), at most 1; None where the films are all of one class. ``brier`` is the sum over
    the classes of the squared error, mean over the films, 0-2 (Brier, Monthly Weather Review 1950).
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
    macro_pr_auc: float | None
    mcc: float | None
    kappa: float | None
    brier: float | None
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
    from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

    _check(labels, probabilities, names)
    classes, n = range(len(names)), len(labels)
    confusion = (
        confusion_matrix(labels, probabilities.argmax(axis=1), labels=list(classes)) if n else _empty(len(names))
    )
    squared = (probabilities.astype(np.float64) - np.eye(len(names))[labels]) ** 2
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
            "pr_auc": float(average_precision_score(labels == place, probabilities[:, place])) if both else None,
            "brier": float(squared[:, place].mean()) if n else None,
            "support": support,
            "predicted": predicted,
        }
    present = [metrics for metrics in per_class.values() if metrics["support"]]
    chosen = np.maximum(probabilities[np.arange(n), labels].astype(np.float64), SMALLEST)
    mcc, kappa = _agreement(confusion)
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
        "macro_pr_auc": _mean([metrics["pr_auc"] for metrics in present]),
        "mcc": mcc,
        "kappa": kappa,
        "brier": float(squared.sum(axis=1).mean()) if n else None,
        "log_loss": float(-np.log(chosen).mean()) if n else None,
        "mean_confidence": float(probabilities.max(axis=1).astype(np.float64).mean()) if n else None,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def named_sources(sources: pd.Series) -> pd.Series:
    """Source of each film as text, ``unknown`` where none is recorded."""
    known = sources.astype("object")
    return known.where(known.notna() & (known != ""), "unknown").astype(str)


def probabilities_of(predictions: pd.DataFrame, classes: int) -> npt.NDArray[np.float64]:
    """Columns ``p_0``, ``p_1`` ... of the predictions table, (n, classes) float64.

    Raises:
        CxrError: a column is missing or holds what is no number.
    """
    columns = [f"p_{place}" for place in range(classes)]
    if missing := [column for column in columns if column not in predictions]:
        raise CxrError(f"The predictions table lacks {missing[0]}: predict again with {classes} classes.")
    return finite_probabilities(predictions[columns].to_numpy(np.float64))


def logits_of(predictions: pd.DataFrame, classes: int) -> npt.NDArray[np.float64]:
    """Columns ``l_0``, ``l_1`` ... of the predictions table, (n, classes) float64.

    Raises:
        CxrError: a column is missing or holds what is no number.
    """
    columns = [f"l_{place}" for place in range(classes)]
    if missing := [column for column in columns if column not in predictions]:
        raise CxrError(f"The predictions table lacks {missing[0]}: predict again with {classes} classes.")
    return finite_probabilities(predictions[columns].to_numpy(np.float64), "l_")


def _agreement(confusion: npt.NDArray[np.integer]) -> tuple[float | None, float | None]:
    """Matthews' correlation coefficient and Cohen's kappa of a confusion matrix."""
    true, said = confusion.sum(axis=1).astype(np.float64), confusion.sum(axis=0).astype(np.float64)
    films, chance = true.sum(), float(true @ said)
    above = float(np.trace(confusion)) * films - chance
    below = (films**2 - true @ true) * (films**2 - said @ said)
    several = np.count_nonzero(true) > 1
    mcc = float(above / np.sqrt(below)) if below > 0 else None
    return mcc, float(above / (films**2 - chance)) if several else None


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
