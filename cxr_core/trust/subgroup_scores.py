"""Scores of one stratum, and of each class beside its number of films (report 6.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.intervals import intervals
from cxr_core.trust.failure_shares import group_share

__all__ = ["class_imbalance", "stratum_scores"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]


def stratum_scores(
    labels: Labels,
    probabilities: Floats,
    groups: npt.NDArray[np.object_],
    names: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Accuracy, sensitivity and specificity of each class, and macro AUC where a class has films on both sides.

    Args:
        labels, probabilities, names: as :func:`cxr_core.evaluation.metrics.classification_metrics`; at least one film.
        groups: n group names.
        seed, resamples: of the bootstrap over groups.

    Returns:
        ``accuracy`` and ``macro_auc``, and ``per_class`` with ``films``, ``sensitivity`` and ``specificity``; each with
        its interval as :func:`cxr_core.evaluation.intervals.intervals` gives it.
    """
    found = intervals(labels, probabilities, groups, seed, resamples, names)
    return {
        "accuracy": found["accuracy"],
        "macro_auc": found["macro_auc"],
        "per_class": {
            name: {
                "films": int((labels == place).sum()),
                "sensitivity": found["per_class"][name]["recall"],
                "specificity": found["per_class"][name]["specificity"],
            }
            for place, name in enumerate(names)
        },
    }


def class_imbalance(
    labels: Labels,
    predicted: Labels,
    groups: npt.NDArray[np.object_],
    names: Sequence[str],
    training_films: Mapping[str, int],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Scores of each class beside the films that it was trained on: does the smallest class have the lowest recall?

    Args:
        labels, predicted: (n,) class indices.
        groups: n group names.
        names: class names.
        training_films: class name to films that the model was trained on.
        seed, resamples: of the bootstrap over groups.

    Returns:
        ``classes``: for each ``training_films``, ``films``, ``recall`` with its exact interval, ``precision``, ``f1``,
        ``lowest_recall_share``: share of the resamples in which its recall is the lowest, ties counted whole.
        ``smallest`` and ``lowest_recall``: names of the class with fewest training films and of the class with the
        lowest recall, None where two classes share the place; ``spread``: highest minus lowest recall.
    """
    cells = np.eye(len(names) ** 2)[labels * len(names) + predicted]
    confusion = cells.sum(axis=0).reshape(len(names), -1)
    draws = [(weights @ cells).reshape(len(weights), *confusion.shape) for weights in _weights(groups, seed, resamples)]
    drawn = np.concatenate(draws) if draws else np.zeros((0, *confusion.shape))
    recalls = _ratio(np.einsum("bcc->bc", drawn), drawn.sum(axis=2))
    whole = recalls[~np.isnan(recalls).any(axis=1)]
    lowest = (whole == whole.min(axis=1, keepdims=True)).mean(axis=0) if len(whole) else np.full(len(names), np.nan)
    classes: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        own = labels == place
        right, support, said = confusion[place, place], confusion[place].sum(), confusion[:, place].sum()
        share = group_share(predicted[own] == place, groups[own], f"films of {name}")
        classes[name] = {
            "training_films": int(training_films.get(name, 0)),
            "films": int(support),
            "recall": share,
            "precision": float(right / said) if said else None,
            "f1": float(2 * right / (support + said)) if support else None,
            "lowest_recall_share": None if np.isnan(lowest[place]) else float(lowest[place]),
        }
    known = {name: entry["recall"]["value"] for name, entry in classes.items() if entry["recall"]["value"] is not None}
    widths = recalls.max(axis=1) - recalls.min(axis=1)
    interval = percentile_interval(widths) if len(widths) else None
    low, high = (interval["low"], interval["high"]) if interval else (None, None)
    complete = len(known) == len(names)
    return {
        "classes": classes,
        "smallest": _only_least({name: entry["training_films"] for name, entry in classes.items()}),
        "lowest_recall": _only_least(known) if complete else None,
        "spread": available(max(known.values()) - min(known.values()), low, high)
        if complete
        else unavailable("a class has no films"),
    }


def _weights(groups: npt.NDArray[np.object_], seed: int, resamples: int) -> Any:
    return resample_weights(groups, seed, resamples) if len(set(groups.tolist())) > 1 else ()


def _only_least(values: Mapping[str, float]) -> str | None:
    least = [name for name, value in values.items() if value == min(values.values())]
    return least[0] if len(least) == 1 else None


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
