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
from cxr_core.trust.label_cells import Cell
from cxr_core.trust.label_confident import calibrated_joint, confident_joint, thresholds_of
from cxr_core.trust.label_mixture import resampled_shares

__all__ = ["Noise", "estimate_noise", "interval_entry"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Noise:
    """Estimates of wrong labels.

    Attributes:
        joint: (k, k) films by filed label (rows) and true class.
        spread: (b, k, k) the same in each resample.
        cells: (source, label, other) to the shares of a mixture in each resample, (b,).
        sources: (source, label) to the estimated share of wrong labels: value, low, high.
    """

    joint: Floats
    spread: Floats
    cells: dict[tuple[str, int, int], Floats]
    sources: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def share_of(self, label: int) -> dict[str, Any]:
        """Share of a class's labels that are wrong."""
        return interval_entry(_wrong(self.joint[None], label)[0], _wrong(self.spread, label))

    def overall(self) -> dict[str, Any]:
        """Share of all labels that are wrong."""
        return interval_entry(_all_wrong(self.joint[None])[0], _all_wrong(self.spread))

    def perfect_recall(self, label: int) -> dict[str, Any]:
        """Recall of a class that a classifier without error would show on these labels."""
        return interval_entry(1 - _wrong(self.joint[None], label)[0], 1 - _wrong(self.spread, label))


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
    sources_ = {
        key: interval_entry(
            _cell_share(joint_of, key, rows, now, ones, thresholds), np.array(by_source[key]), films=len(rows)
        )
        for key, rows in places.items()
    }
    joint = _with_cells(joint_of(ones, None, thresholds), now, places, ones)
    return Noise(joint, np.array(spread), {key: np.concatenate(parts) for key, parts in by_cell.items()}, sources_)


def interval_entry(value: float, spread: Floats, **more: Any) -> dict[str, Any]:
    """A share with its percentile interval; resamples that do not differ give an interval of no width."""
    if not np.isfinite(value):
        return unavailable("no film of it", **more)
    interval = percentile_interval(spread, keep_flat=True)
    if interval is None:
        return available(float(value), **more)
    return available(float(value), interval["low"], interval["high"], **more)


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
