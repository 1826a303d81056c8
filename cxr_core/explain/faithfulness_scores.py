"""Means over films with intervals over patient groups, overall and of each class: where each measure of a map ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import exact_interval, resample_weights
from cxr_core.evaluation.intervals import MIN_GROUPS, entry

__all__ = ["Grouping", "mean_entry", "resampled_means"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grouping:
    """How films are averaged.

    Attributes:
        labels: (n,) true class of each film.
        groups: n patient groups.
        names: k class names.
        seed: of the resamples; equal seeds give equal resamples, so that measures can be compared.
        resamples: number of them.
    """

    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.object_]
    names: tuple[str, ...]
    seed: int
    resamples: int

    def take(self, rows: npt.NDArray[np.intp]) -> Grouping:
        """The grouping of some of the films."""
        return Grouping(self.labels[rows], self.groups[rows], self.names, self.seed, self.resamples)

    def scores(self, values: npt.ArrayLike, why_not: str, share: bool = False) -> dict[str, Any]:
        """Mean of a measure over all films and over those of each class, each with its interval.

        Args:
            values: (n,) one number a film, NaN where the film has none.
            why_not: reason given where no film has a number.
            share: whether each number is a yes (1) or a no (0); means that are 0 or 1 then have an exact interval.

        Returns:
            ``overall`` and, under ``per_class``, the class names to ``value``, ``low``, ``high``, ``films``; a
            ``reason`` where there is none.
        """
        found = np.asarray(values, np.float64)
        return {
            "overall": mean_entry(found, self, why_not, share),
            "per_class": {
                name: mean_entry(np.where(self.labels == place, found, np.nan), self, why_not, share)
                for place, name in enumerate(self.names)
            },
        }


def resampled_means(
    values: Floats, groups: Sequence[str] | npt.NDArray[np.object_], seed: int, resamples: int
) -> Floats:
    """Mean of a measure in each resample of whole groups, NaN left out, (resamples,); NaN where none is known.

    Args:
        values: (n,).
        groups: n group names.
        seed: of the draws.
        resamples: number of resamples.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    parts = []
    for weights in resample_weights(groups, seed, resamples):
        total = weights @ known
        parts.append(np.divide(weights @ filled, total, out=np.full(len(weights), np.nan), where=total > 0))
    return np.concatenate(parts)


def mean_entry(values: Floats, by: Grouping, why_not: str, share: bool = False) -> dict[str, Any]:
    """Mean of the known values with its percentile interval over groups; arguments as :meth:`Grouping.scores`."""
    known = ~np.isnan(values)
    films = int(known.sum())
    if not films:
        return unavailable(why_not, films=0)
    value = float(values[known].mean())
    behind = len(np.unique(by.groups[known].astype(str)))
    if share and behind > 1 and (exact := exact_interval(value, behind)) is not None:
        return available(value, **exact, exact=True, films=films)
    few = f"{behind} patient group{'' if behind == 1 else 's'}, at least {MIN_GROUPS} are needed"
    spread = resampled_means(values, by.groups, by.seed, by.resamples)
    return {**entry(value, spread, few if behind < MIN_GROUPS else None), "films": films}
