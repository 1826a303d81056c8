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

__all__ = ["MEASURES", "Ordering", "perfect_area", "uncertainty_measures"]

Floats = npt.NDArray[np.float64]

MEASURES: Mapping[str, str] = {
    "confidence": "confidence",
    "entropy": "entropy",
    "margin": "margin",
    "mutual_information": "mutual information (dropout)",
    "set_size": "size of the prediction set",
}  # name to title; larger values of :func:`uncertainty_measures` are less certain


class Ordering:
    """Films from the most to the least certain, for many weightings of them at once.

    Args:
        uncertainty: (n,), finite; larger for less certain.

    Raises:
        CxrError: a value is not finite.
    """

    def __init__(self, uncertainty: npt.NDArray[np.floating]) -> None:
        values = np.asarray(uncertainty, np.float64)
        if not np.isfinite(values).all():
            raise CxrError("Some uncertainties are no numbers: materialise predictions and embeddings again.")
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        fresh = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(values) else np.zeros(0, bool)
        self._starts = np.flatnonzero(fresh)
        self._step = np.cumsum(fresh) - 1  # which step of equal uncertainty each ordered film belongs to

    def area(self, weights: Floats, wrong: npt.NDArray[np.bool_]) -> Floats:
        """Area under the risk-coverage curve: mean over i = 1..n of the error rate among the i most certain films.

        Args:
            weights: (b, n) how often each film counts, whole numbers >= 0.
            wrong: (n,) whether the prediction is.

        Returns:
            (b,); NaN where no film counts.
        """
        films, errors = self._steps(weights), self._steps(weights * wrong)
        total = films.sum(axis=1)
        upto = np.cumsum(films, axis=1)
        before = upto - films
        earlier = np.cumsum(errors, axis=1) - errors
        # Within a step of m films and e errors behind N films and E errors the sum over i of (E + i e/m) / (N + i) is
        # (E - N e/m) (H(N + m) - H(N)) + e, H the harmonic numbers.
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(total.max(initial=0)) + 1))])
        rise = harmonic[upto.astype(np.intp)] - harmonic[before.astype(np.intp)]
        rate = _ratio(errors, films, 0.0)
        return _ratio(((earlier - before * rate) * rise + errors).sum(axis=1), total)

    def risks(self, weights: Floats, wrong: npt.NDArray[np.bool_], coverages: Floats) -> Floats:
        """Error rate among the most certain films.

        Args:
            weights, wrong: as :meth:`area`.
            coverages: (c,) shares of the films that are kept, > 0 to 1.

        Returns:
            (b, c); NaN where no film counts.
        """
        films = np.cumsum(self._steps(weights), axis=1)
        errors = np.cumsum(self._steps(weights * wrong), axis=1)
        found = np.full((len(weights), len(coverages)), np.nan)
        for row in np.flatnonzero(films[:, -1] > 0):
            wanted = coverages * films[row, -1]
            found[row] = np.interp(wanted, [0.0, *films[row]], [0.0, *errors[row]]) / wanted
        return found

    def kept(self, weights: Floats, coverage: float | Floats) -> Floats:
        """Weight of each film among the most certain ones; a part of it where the line runs through a step.

        Args:
            weights: (b, n) how often each film counts.
            coverage: share of the films that is kept, 0-1; one for all weightings, or (b,).

        Returns:
            (b, n), in the order of the films.
        """
        films = self._steps(weights)
        before = np.cumsum(films, axis=1) - films
        wanted = np.broadcast_to(np.asarray(coverage, np.float64), len(weights)) * films.sum(axis=1)
        part = np.clip(_ratio(wanted[:, None] - before, films, 0.0), 0, 1)
        found = np.empty(weights.shape)
        found[:, self._order] = part[:, self._step]
        return found * weights

    def _steps(self, weights: Floats) -> Floats:
        """Weight of the films at each distinct uncertainty, upwards, (b, steps)."""
        if not len(self._starts):
            return np.zeros((len(weights), 1))
        return np.asarray(np.add.reduceat(np.take(weights, self._order, axis=1), self._starts, axis=1))


def perfect_area(weights: Floats, wrong: npt.NDArray[np.bool_]) -> Floats:
    """Area under the risk-coverage curve of an ordering that puts every error last; arguments as for an ordering's."""
    return Ordering(np.asarray(wrong, np.float64)).area(weights, np.asarray(wrong, bool))


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
