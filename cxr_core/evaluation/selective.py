"""Selective prediction: which films a model should leave to a human, and how well an uncertainty puts them in order.

Risk-coverage curves and the area under them: Geifman and El-Yaniv, Selective classification for deep neural networks,
NeurIPS 2017. Films of equal uncertainty are taken in random order; every number is what that gives on average, so that
no order of the table decides and a model that is equally unsure of every film scores as a random order does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.dropout import entropy

__all__ = ["MEASURES", "Ordering", "Weighed", "perfect_area", "uncertainty_measures"]

Floats = npt.NDArray[np.float64]

MEASURES: Mapping[str, str] = {
    "confidence": "confidence",
    "entropy": "entropy",
    "margin": "margin",
    "mutual_information": "mutual information (dropout)",
    "set_size": "size of the prediction set",
}  # name to title; larger values of :func:`uncertainty_measures` are less certain


class Ordering:
    """Films from the most to the least certain.

    Args:
        uncertainty: (n,), finite; larger for less certain.

    Raises:
        CxrError: a value is not finite.
    """

    def __init__(self, uncertainty: npt.NDArray[np.floating]) -> None:
        values = np.asarray(uncertainty, np.float64)
        if not np.isfinite(values).all():
            raise CxrError("Some uncertainties are no numbers: materialise predictions and embeddings again.")
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        fresh = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(values) else np.zeros(0, bool)
        self.starts = np.flatnonzero(fresh)
        self.step = np.cumsum(fresh) - 1  # which step of equal uncertainty each ordered film belongs to

    def weigh(self, weights: Floats, wrong: npt.NDArray[np.bool_]) -> Weighed:
        """The ordering for many weightings of the films at once.

        Args:
            weights: (b, n) how often each film counts, whole numbers >= 0.
            wrong: (n,) whether the prediction is.
        """
        return Weighed(self, weights, wrong)


class Weighed:
    """An ordering of films that count several times or not at all; see :meth:`Ordering.weigh`."""

    def __init__(self, ordering: Ordering, weights: Floats, wrong: npt.NDArray[np.bool_]) -> None:
        self._ordering = ordering
        self._weights = np.take(weights, ordering.order, axis=1)
        self._films = self._steps(self._weights)
        self._errors = self._steps(self._weights * np.asarray(wrong, np.float64)[ordering.order])
        self._upto = np.cumsum(self._films, axis=1)

    def area(self) -> Floats:
        """Area under the risk-coverage curve: mean over i = 1..n of the error rate among the i most certain films.

        Returns:
            (b,); NaN where no film counts.
        """
        films, errors, upto = self._films, self._errors, self._upto
        before, earlier = upto - films, np.cumsum(errors, axis=1) - errors
        # Within a step of m films and e errors behind N films and E errors the sum over i of (E + i e/m) / (N + i) is
        # (E - N e/m) (H(N + m) - H(N)) + e, H the harmonic numbers.
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(upto.max(initial=0)) + 1))])
        rise = harmonic[upto.astype(np.intp)] - harmonic[before.astype(np.intp)]
        rate = _ratio(errors, films, 0.0)
        return _ratio(((earlier - before * rate) * rise + errors).sum(axis=1), upto[:, -1])

    def risks(self, coverages: Floats) -> Floats:
        """Error rate among the most certain films.

        Args:
            coverages: (c,) shares of the films that are kept, > 0 to 1.

        Returns:
            (b, c); NaN where no film counts.
        """
        none = np.zeros((len(self._upto), 1))
        films = np.concatenate([none, self._upto], axis=1)
        errors = np.concatenate([none, np.cumsum(self._errors, axis=1)], axis=1)
        found = np.full((len(films), len(coverages)), np.nan)
        for row in np.flatnonzero(films[:, -1] > 0):
            wanted = coverages * films[row, -1]
            found[row] = np.interp(wanted, films[row], errors[row]) / wanted
        return found

    def kept(self, columns: Floats, coverage: float | Floats) -> Floats:
        """Sums over the most certain films; a step that the line runs through enters in part.

        Args:
            columns: (n, m) what is summed, in the order of the films.
            coverage: share of the films that is kept, 0-1; one for all weightings, or (b,).

        Returns:
            (b, m).
        """
        wanted = np.nan_to_num(np.asarray(coverage) * self._upto[:, -1])
        last = np.minimum((self._upto < wanted[:, None]).sum(axis=1), self._upto.shape[1] - 1)
        part = (np.arange(self._upto.shape[1]) < last[:, None]).astype(np.float64)
        rows = np.arange(len(part))
        inside = self._films[rows, last]
        part[rows, last] = np.clip(_ratio(wanted - self._upto[rows, last] + inside, inside, 0.0), 0, 1)
        if part.shape[1] < self._weights.shape[1]:
            part = part[:, self._ordering.step]
        if self._weights.shape[1]:
            part = part * self._weights
        return np.asarray(part[:, : len(columns)] @ columns[self._ordering.order])

    def _steps(self, values: Floats) -> Floats:
        """Sum at each distinct uncertainty, upwards, (b, steps)."""
        starts = self._ordering.starts
        if not len(starts):
            return np.zeros((len(values), 1))
        return np.asarray(np.add.reduceat(values, starts, axis=1)) if len(starts) < values.shape[1] else values


def perfect_area(weights: Floats, wrong: npt.NDArray[np.bool_]) -> Floats:
    """Area under the risk-coverage curve of an ordering that puts every error last; arguments as for a weighing."""
    return Ordering(np.asarray(wrong, np.float64)).weigh(weights, wrong).area()


def uncertainty_measures(
    calibrated: Floats, mutual_information: Floats, sets: npt.NDArray[np.bool_]
) -> dict[str, Floats]:
    """Uncertainty of each film by each of :data:`MEASURES`; larger for less certain.

    Args:
        calibrated: (n, k) calibrated probabilities, two classes or more.
        mutual_information: (n,) of the passes of Monte Carlo dropout, nats.
        sets: (n, k) prediction sets. An empty one says that no class is plausible and counts as the least certain.
    """
    ranked = np.sort(calibrated, axis=1)
    sizes = sets.sum(axis=1)
    return {
        "confidence": 1 - ranked[:, -1],
        "entropy": entropy(calibrated),
        "margin": 1 - (ranked[:, -1] - ranked[:, -2]),
        "mutual_information": np.asarray(mutual_information, np.float64),
        "set_size": np.where(sizes == 0, sets.shape[1] + 1, sizes).astype(np.float64),
    }


def _ratio(above: Floats, below: Floats, otherwise: float = np.nan) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), otherwise), where=below > 0)
