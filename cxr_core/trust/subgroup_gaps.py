"""How much worse a stratum does than the rest of the films, as it is and at the same mix of classes.

A stratum may score lower only because it holds more films of a class that is hard, and here the source is the class
(TRAPS 1). The class-standardised gap compares class by class and weighs the classes as they occur over both sides
(direct standardisation: Rothman, Greenland and Lash, Modern Epidemiology, 3rd edition, chapter 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.subgroup_multiplicity import benjamini_hochberg, holm
from cxr_core.trust.subgroup_permutation import group_test
from cxr_core.trust.subgroup_strata import Stratum

__all__ = ["stratum_gaps", "too_small"]

Floats = npt.NDArray[np.float64]
Groups = Sequence[str] | npt.NDArray[np.object_]


def too_small(member: npt.NDArray[np.bool_], groups: npt.NDArray[Any], settings: SubgroupSettings, what: str) -> str:
    """Why so few films are not scored; empty where they are enough."""
    films, clusters = int(member.sum()), len(np.unique(groups[member]))
    if films >= settings.min_films and clusters >= settings.min_groups:
        return ""
    return (
        f"{what} has {films} films of {clusters} patient groups, fewer than the {settings.min_films} and "
        f"{settings.min_groups} that are needed"
    )


def stratum_gaps(
    values: Floats,
    labels: npt.NDArray[np.integer],
    groups: Groups,
    names: Sequence[str],
    strata: Sequence[Stratum],
    settings: SubgroupSettings,
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """Gap of each stratum: mean of its values minus the mean of the rest of its dimension's films.

    Args:
        values: (n,) what is averaged; 1 for a film that is right and 0 for one that is wrong gives accuracy.
        labels: (n,) class indices.
        groups: n group names; films of one group are resampled and permuted together.
        names: class names.
        strata: the strata.
        settings: smallest sizes, number of permutations.
        seed: of resamples and permutations.
        resamples: of the intervals.

    Returns:
        For each stratum ``gap`` and ``standardised_gap``: ``value``, ``low``, ``high`` (bootstrap over groups), ``p``
        (two-sided, over groups; inside classes for the standardised gap), ``holm``, ``q``, ``test`` (how p was had); or
        a ``reason``.
        Gaps that are the same but for their sign (the two halves of one dimension) count once in the adjustment; plain
        and standardised gaps are two families. ``per_class``: gap of each class; ``classes``: those that the
        standardised gap weighs, with their weights; ``class_mix_distance``: share of the films that would have to
        change class for both sides to have the same mix.
    """
    clusters = np.asarray(groups, dtype=str)
    each = np.eye(len(names))[labels]
    sides = [_Sides(values, each, stratum, settings, clusters) for stratum in strata]
    spreads = _resampled(sides, values, each, clusters, seed, resamples)
    kinds = ((np.zeros(len(labels), np.int64), "plain"), (labels, "standard"))
    tests = [_tests(values, sides, kept, kind, clusters, seed, settings) for kept, kind in kinds] if sides else []
    rows: list[dict[str, Any]] = []
    for place, (side, (counts, sums)) in enumerate(zip(sides, spreads, strict=True)):
        means = _ratio(sums, counts)
        gaps = means[:, 0] - means[:, 1]
        pooled = _ratio(sums.sum(axis=2), counts.sum(axis=2))
        reason = side.small or ("" if side.common else side.no_class)
        standard = gaps[:, side.common] @ side.weights[side.common]
        rows.append(
            {
                "gap": _entry(float(side.plain @ values), pooled[:, 0] - pooled[:, 1], side.small, tests[0][place]),
                "standardised_gap": _entry(float(side.standard @ values), standard, reason, tests[1][place]),
                "per_class": {
                    name: _entry(
                        float(side.gaps[c]), gaps[:, c], side.small or ("" if c in side.common else side.no_class)
                    )
                    for c, name in enumerate(names)
                },
                "classes": {names[c]: float(side.weights[c]) for c in side.common},
                "class_mix_distance": side.distance,
            }
        )
    return rows


class _Sides:
    """A stratum (row 0) against its rest (row 1), by class, and what makes its gaps linear in the values."""

    def __init__(
        self,
        values: Floats,
        each: Floats,
        stratum: Stratum,
        settings: SubgroupSettings,
        clusters: npt.NDArray[Any],
    ) -> None:
        self.masks = np.stack([stratum.member, stratum.known & ~stratum.member]).astype(np.float64)
        said = ("the stratum", "the rest")
        small = [too_small(mask > 0, clusters, settings, what) for mask, what in zip(self.masks, said, strict=True)]
        self.small = next(filter(None, small), "")
        self.no_class = f"fewer than {settings.min_class_films} films of a class in the stratum or in the rest"
        counts = self.masks @ each
        sizes = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        self.distance = float(np.abs(counts[0] / sizes[0] - counts[1] / sizes[1]).sum() / 2)
        self.common = np.flatnonzero((counts >= settings.min_class_films).all(axis=0)).tolist()
        self.gaps: Floats = np.diff(_ratio((self.masks * values) @ each, counts)[::-1], axis=0)[0]
        mix = np.where(np.isin(np.arange(len(counts[0])), self.common), counts.sum(axis=0), 0.0)
        self.weights: Floats = mix / max(1.0, mix.sum())
        signed = self.masks * np.array([[1.0], [-1.0]])
        tested = 0.0 if self.small else 1.0
        self.plain: Floats = tested * (signed / sizes).sum(axis=0)
        self.standard: Floats = tested * (signed * ((self.weights / np.maximum(counts, 1)) @ each.T)).sum(axis=0)
        self.key = min(self.masks.tobytes(), self.masks[::-1].tobytes())


def _resampled(
    sides: Sequence[_Sides], values: Floats, each: Floats, clusters: npt.NDArray[Any], seed: int, resamples: int
) -> list[tuple[Floats, Floats]]:
    """Films and sums of values in each resample, (resamples, 2 sides, k classes), for each stratum."""
    parts: list[list[tuple[Floats, Floats]]] = [[] for _ in sides]
    for weights in resample_weights(clusters, seed, resamples):
        for place, side in enumerate(sides):
            cells = (side.masks[:, :, None] * each).transpose(1, 0, 2).reshape(len(each), -1)
            shape = (len(weights), 2, each.shape[1])
            counts, sums = weights @ cells, weights @ (cells * values[:, None])
            parts[place].append((counts.reshape(shape), sums.reshape(shape)))
    return [(np.concatenate([c for c, _ in part]), np.concatenate([s for _, s in part])) for part in parts]


def _tests(
    values: Floats,
    sides: Sequence[_Sides],
    kept: npt.NDArray[np.integer],
    kind: str,
    clusters: npt.NDArray[Any],
    seed: int,
    settings: SubgroupSettings,
) -> list[dict[str, Any]]:
    """``p``, ``holm``, ``q`` and ``test`` of each stratum; a division that occurs twice is one test."""
    first: dict[bytes, int] = {}
    places = [first.setdefault(side.key, len(first)) for side in sides]
    once = [sides[places.index(place)] for place in range(len(first))]
    coefficients = np.stack([getattr(side, kind) for side in once], axis=1)
    p, how = group_test(values, coefficients, clusters, kept, seed, settings.permutations)
    found = [
        {"p": None, "holm": None, "q": None, "test": None}
        if np.isnan(p[place])
        else {"p": float(p[place]), "holm": float(h), "q": float(q), "test": how[place]}
        for place, (h, q) in enumerate(zip(holm(p), benjamini_hochberg(p), strict=True))
    ]
    return [found[place] for place in places]


def _entry(value: float, spread: Floats, reason: str, test: dict[str, Any] | None = None) -> dict[str, Any]:
    if reason:
        return unavailable(reason, **({} if test is None else dict.fromkeys(test)))
    interval = percentile_interval(spread)
    low, high = (interval["low"], interval["high"]) if interval else (None, None)
    return available(float(value), low, high, **(test or {}))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
