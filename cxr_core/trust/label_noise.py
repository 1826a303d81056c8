"""How many labels are wrong, by class and source, with intervals; and what a perfect classifier would score on them.

A classifier without any error, scored against wrong labels, has a recall of 1 minus the share of them: of a class of
which 27 % are another's, .73 (TRAPS 2). The model's recall says nothing before it is read beside that number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.intervals import exact_interval
from cxr_core.trust.label_cells import Cell
from cxr_core.trust.label_confident import calibrated_joint, confident_joint, thresholds_of
from cxr_core.trust.label_mixture import resampled_shares

__all__ = ["Noise", "estimate_noise", "interval_entry"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


_LEAST_FILMS = 10  # of a source and class, below which its share is not said


@dataclass(frozen=True)
class Noise:
    """Estimates of wrong labels.

    Attributes:
        joint: (k, k) films by filed label (rows) and true class.
        spread: (b, k, k) the same in each resample.
        cells: (source, label, other) to the shares of a mixture in each resample, (b,).
        groups: patient groups of each class, and of all under -1.
        sources: (source, label) to the estimated share of wrong labels: value, low, high.
    """

    joint: Floats
    spread: Floats
    cells: dict[tuple[str, int, int], Floats]
    groups: dict[int, int]
    sources: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def share_of(self, label: int) -> dict[str, Any]:
        """Share of a class's labels that are wrong."""
        return interval_entry(_wrong(self.joint[None], label)[0], _wrong(self.spread, label), self.groups[label])

    def overall(self) -> dict[str, Any]:
        """Share of all labels that are wrong."""
        return interval_entry(_all_wrong(self.joint[None])[0], _all_wrong(self.spread), self.groups[-1])

    def perfect_recall(self, label: int) -> dict[str, Any]:
        """Recall of a class that a classifier without error would show on these labels."""
        value, spread = _wrong(self.joint[None], label)[0], _wrong(self.spread, label)
        return interval_entry(1 - value, 1 - spread, self.groups[label])


def estimate_noise(
    labels: Integers,
    probabilities: Floats,
    sources: npt.NDArray[np.object_],
    groups: npt.NDArray[np.object_],
    cells: Sequence[Cell],
    systematic: Sequence[Cell],
    trusted: Flags,
    counted: Flags,
    seed: int,
    resamples: int,
) -> Noise:
    """Add up what confident learning and the mixtures say.

    Args:
        labels: (n,) as filed.
        probabilities: (n, k) out of fold.
        sources, groups: (n,) names.
        cells: all cells that were examined.
        systematic: those that are mixtures: their share counts in full, and their suspects not again.
        trusted: (n,) films that set the thresholds.
        counted: (n,) films on which confident learning counts: all but the suspects of ``systematic``.
        seed, resamples: of the bootstrap, the classifiers taken as given.
    """
    k = probabilities.shape[1]
    fitted = [cell for cell in cells if cell.judge]
    chosen = {cell.key for cell in systematic}
    places = {key: np.flatnonzero((sources == key[0]) & (labels == key[1])) for key in _keys(sources, labels)}

    def joint_of(weights: Floats, only: npt.NDArray[np.intp] | None, thresholds: Floats) -> Floats:
        used = np.where(counted, weights, 0.0)
        if only is not None:
            mask = np.zeros(len(labels))
            mask[only] = 1.0
            used = used * mask
        films = np.bincount(labels, used, minlength=k).astype(np.float64)
        return calibrated_joint(confident_joint(labels, probabilities, thresholds, used), films)

    spread: list[Floats] = []
    by_source: dict[tuple[str, int], list[float]] = {key: [] for key in places}
    by_cell: dict[tuple[str, int, int], list[Floats]] = {cell.key: [] for cell in fitted}
    for weights in resample_weights(groups.tolist(), seed, resamples):
        shares = {cell.key: _shares(cell, weights) for cell in fitted}
        for key, values in shares.items():
            by_cell[key].append(values)
        for row, weight in enumerate(weights):
            now = {key: float(values[row]) for key, values in shares.items() if key in chosen}
            thresholds = thresholds_of(labels, probabilities, weight * trusted)
            spread.append(_with_cells(joint_of(weight, None, thresholds), now, places, weight))
            for place, rows in places.items():
                by_source[place].append(_cell_share(joint_of, place, rows, now, weight, thresholds))
    ones = np.ones(len(labels))
    thresholds = thresholds_of(labels, probabilities, trusted.astype(np.float64))
    now = {cell.key: cell.share for cell in systematic}
    estimated = {key: _cell_share(joint_of, key, rows, now, ones, thresholds) for key, rows in places.items()}
    count = {label: len(np.unique(groups[labels == label])) for label in range(k)} | {-1: len(np.unique(groups))}
    joint = _with_cells(joint_of(ones, None, thresholds), now, places, ones)
    entries = {
        key: interval_entry(estimated[key], np.array(by_source[key]), len(np.unique(groups[rows])), films=len(rows))
        if len(rows) >= _LEAST_FILMS
        else unavailable(f"{len(rows)} films, {_LEAST_FILMS} are needed", films=len(rows))
        for key, rows in places.items()
    }
    cells_ = {key: np.concatenate(parts) for key, parts in by_cell.items()}
    return Noise(joint, np.array(spread), cells_, count, entries)


def interval_entry(value: float, spread: Floats, groups: int, **more: Any) -> dict[str, Any]:
    """A share with its percentile interval; the exact one where it is 0 or 1 in nearly every resample.

    Args:
        value: the share, NaN where there is no film.
        spread: (b,) the same in each resample.
        groups: patient groups that it was estimated from.
        more: further fields.
    """
    if not np.isfinite(value):
        return unavailable("no film of it", **more)
    value = min(1.0, max(0.0, float(value)))
    interval = percentile_interval(spread)
    if interval is None or interval["low"] == interval["high"]:
        interval = exact_interval(value, groups)
    if interval is None:
        return available(value, **more)
    return available(value, interval["low"], interval["high"], **more)


def _keys(sources: npt.NDArray[np.object_], labels: Integers) -> list[tuple[str, int]]:
    return sorted({(str(source), int(label)) for source, label in zip(sources, labels, strict=True)})


def _shares(cell: Cell, weights: Floats) -> Floats:
    judged = cell.judged
    assert judged.scores is not None and judged.anchors is not None and judged.reference is not None  # noqa: PT018
    taken = weights[:, np.concatenate([cell.rows, cell.anchor_rows])]
    return resampled_shares(judged.scores, judged.anchors, judged.reference, cell.share, taken)


def _with_cells(
    joint: Floats, shares: dict[tuple[str, int, int], float], places: dict[tuple[str, int], Any], weights: Floats
) -> Floats:
    """Put the films that mixtures count to where they belong, the films of each label staying as many as they are."""
    found = joint.copy()
    for (source, label, other), share in shares.items():
        rows = places[source, label]
        found[label, other] += share * weights[rows].sum()
    total = np.zeros(len(joint))
    for (_, label), rows in places.items():
        total[label] += weights[rows].sum()
    wrong = found.sum(axis=1) - found.diagonal()
    found[np.arange(len(found)), np.arange(len(found))] = np.maximum(0.0, total - wrong)
    return found


def _cell_share(
    joint_of: Any, key: tuple[str, int], rows: Any, shares: dict[tuple[str, int, int], float], weights: Floats,
    thresholds: Floats,
) -> float:  # fmt: skip
    films = float(weights[rows].sum())
    if films == 0:
        return float("nan")
    joint = joint_of(weights, rows, thresholds)
    label = key[1]
    wrong = float(joint[label].sum() - joint[label, label])
    wrong += sum(share * films for (source, filed, _), share in shares.items() if (source, filed) == key)
    return min(1.0, wrong / films)


def _wrong(joints: Floats, label: int) -> Floats:
    rows = joints[:, label]
    films = rows.sum(axis=1)
    return np.divide(films - rows[:, label], films, out=np.full(len(joints), np.nan), where=films > 0)


def _all_wrong(joints: Floats) -> Floats:
    films = joints.sum(axis=(1, 2))
    return np.divide(
        films - np.trace(joints, axis1=1, axis2=2), films, out=np.full(len(joints), np.nan), where=films > 0
    )
