"""Errors counted: false positives and negatives, of each class, and which classes are taken for each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, is_available, unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.trust.failure_shares import group_share

__all__ = ["bias", "class_failures", "confusion_pairs", "lead_of_diseases"]

Labels = npt.NDArray[np.integer]
Groups = npt.NDArray[np.object_]


def bias(
    labels: Labels, predicted: Labels, groups: Groups, normal: int, seed: int, resamples: int
) -> dict[str, dict[str, Any]]:
    """Whether the model rather flags the healthy or rather misses the ill.

    Args:
        labels, predicted: (n,) class indices.
        groups: n group names.
        normal: index of the class without disease.
        seed, resamples: of the bootstrap over groups.

    Returns:
        ``false_positives``: share of normal films called a disease; ``false_negatives``: share of diseased films called
        normal, both with exact intervals; ``bias``: the first minus the second, above 0 for a model that rather flags,
        with its bootstrap interval.
    """
    healthy, flagged = labels == normal, predicted != normal
    over = group_share(flagged[healthy], groups[healthy], "normal films")
    under = group_share(~flagged[~healthy], groups[~healthy], "diseased films")
    found = {"false_positives": over, "false_negatives": under}
    if not (is_available(over) and is_available(under)):
        return {**found, "bias": unavailable("normal or diseased films are missing")}
    cells = np.stack([healthy, healthy & flagged, ~healthy, ~healthy & ~flagged], axis=1).astype(np.float64)
    drawn = np.concatenate([weights @ cells for weights in resample_weights(groups, seed, resamples)])
    whole = drawn[(drawn[:, 0] > 0) & (drawn[:, 2] > 0)]
    interval = percentile_interval(whole[:, 1] / whole[:, 0] - whole[:, 3] / whole[:, 2]) if len(whole) else None
    low, high = (interval["low"], interval["high"]) if interval else (None, None)
    return {**found, "bias": available(over["value"] - under["value"], low, high)}


def class_failures(labels: Labels, predicted: Labels, groups: Groups, names: Sequence[str]) -> dict[str, Any]:
    """Of each class against the rest: ``false_negatives`` (share of its films that are missed) and ``false_positives``
    (share of other films that are called it), with counts and exact intervals."""
    result = {}
    for place, name in enumerate(names):
        own, called = labels == place, predicted == place
        result[name] = {
            "false_negatives": group_share(~called[own], groups[own], f"films of {name}"),
            "false_positives": group_share(called[~own], groups[~own], "films of other classes"),
        }
    return result


def confusion_pairs(labels: Labels, predicted: Labels, groups: Groups, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each ordered pair of classes, most errors first: ``true``, ``predicted``, ``count``, ``of_true`` (share of the
    true class's films) and ``of_errors`` (share of all errors), with exact intervals."""
    wrong = labels != predicted
    pairs: list[dict[str, Any]] = []
    for row, true in enumerate(names):
        for column, said in enumerate(names):
            if row == column:
                continue
            own, pair = labels == row, (labels == row) & (predicted == column)
            pairs.append(
                {
                    "true": true,
                    "predicted": said,
                    "count": int(pair.sum()),
                    "of_true": group_share(pair[own], groups[own], f"films of {true}"),
                    "of_errors": group_share(pair[wrong], groups[wrong], "errors"),
                }
            )
    return sorted(pairs, key=lambda entry: -entry["count"])


def lead_of_diseases(
    labels: Labels, predicted: Labels, groups: Groups, names: Sequence[str], normal: str, seed: int, resamples: int
) -> dict[str, Any]:
    """Whether two diseases are what is confused most often, either way (report 6.2).

    Returns:
        ``value``: share of the resamples in which an unordered pair of two diseases has more errors than every other;
        ``counts``: errors of each unordered pair, largest first; a ``reason`` where it cannot be said.
    """
    k = len(names)
    each = [(a, b) for a in range(k) for b in range(a + 1, k)]
    cells = np.stack(
        [((labels == a) & (predicted == b)) | ((labels == b) & (predicted == a)) for a, b in each], axis=1
    ).astype(np.float64)
    totals = cells.sum(axis=0)
    counts = [
        {"classes": [names[a], names[b]], "count": int(total)} for (a, b), total in zip(each, totals, strict=True)
    ]
    counts.sort(key=lambda entry: -int(str(entry["count"])))
    ill = np.array([normal in names and normal not in (names[a], names[b]) for a, b in each])
    if not ill.any() or ill.all() or not totals.any():
        return unavailable("there are no two diseases beside a normal class, or no errors", counts=counts)
    if len(set(groups.tolist())) < 2:
        return unavailable("all films are of one patient group", counts=counts)
    drawn = np.concatenate([weights @ cells for weights in resample_weights(groups, seed, resamples)])
    lead = drawn[:, ill].max(axis=1) > drawn[:, ~ill].max(axis=1)
    return available(float(lead.mean()), counts=counts)
