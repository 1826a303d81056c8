"""Abstention by confidence under corruption: how many films are still answered, and how many answers are wrong.

Two policies: the report's flag (6.4) leaves films below a confidence to a human; and the most certain films are
answered as far as the error among them stays no greater than that of all clean films. The second takes the labels of
the corrupted films to find its share: it says what an ordering by confidence could do at best, not what a service does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import resample_weights
from cxr_core.evaluation.intervals import Counts, entry
from cxr_core.evaluation.paired import difference_entry
from cxr_core.evaluation.referral import COVERAGES
from cxr_core.evaluation.selective import Ordering

__all__ = ["abstention_report"]

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-12
_NONE_ANSWERED = "no film is answered"


def abstention_report(
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    names: Sequence[str],
    probabilities: Mapping[str, Floats],
    threshold: float,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """What abstention by confidence buys and costs under each condition.

    Args:
        labels: (n,) class indices, n >= 1.
        groups: n group names; films of one group are drawn together.
        names: k class names.
        probabilities: condition to the model's calibrated probabilities (n, k); the first is the clean one.
        threshold: confidence below it is left to a human.
        seed, resamples: of the bootstrap.

    Returns:
        JSON-ready: ``threshold``; ``conditions``: name to ``below_threshold`` (``coverage``: share of films answered,
        ``error`` among them, ``gained``: accuracy among them less that of all films, with a p-value) and
        ``keeps_clean_error`` (``coverage`` in steps of :data:`~cxr_core.evaluation.referral.COVERAGES`, ``error``);
        ``mean``: ``gained`` and ``coverage`` of the threshold over the conditions but the first, counted alike.
    """
    clean, *corrupted = probabilities
    statistics = {name: _Statistics(labels, said, threshold) for name, said in probabilities.items()}

    def found(weights: Floats) -> dict[str, dict[str, Floats]]:
        limit = statistics[clean].error(weights)
        return {name: one.of(weights, limit) for name, one in statistics.items()}

    values = {name: one.items() for name, one in found(np.ones((1, len(labels)))).items()}
    blocks = [found(block) for block in resample_weights(groups, seed, resamples)]
    spreads = {
        name: {key: np.concatenate([block[name][key] for block in blocks]) for key, _ in values[name]}
        for name in statistics
    }
    whole = {name: {key: float(value[0]) for key, value in pairs} for name, pairs in values.items()}
    predicted = probabilities[clean].argmax(axis=1)
    few = Counts.of(labels, predicted, groups, names).too_few("accuracy", None)

    def number(name: str, key: str) -> dict[str, Any]:
        value, spread = whole[name][key], spreads[name][key]
        if np.isnan(value):
            return unavailable(_NONE_ANSWERED)
        return difference_entry(value, spread, few) if key == "gained" else entry(value, spread, few)

    def mean(key: str) -> dict[str, Any]:
        if not corrupted:
            return unavailable("there is no corrupted condition")
        value = float(np.mean([whole[name][key] for name in corrupted]))
        spread = np.mean([spreads[name][key] for name in corrupted], axis=0)
        if np.isnan(value):
            return unavailable(f"{_NONE_ANSWERED} under one of the conditions")
        return difference_entry(value, spread, few) if key == "gained" else entry(value, spread, few)

    return {
        "threshold": threshold,
        "conditions": {
            name: {
                "below_threshold": {key: number(name, key) for key in ("coverage", "error", "gained")},
                "keeps_clean_error": {key: number(name, f"kept_{key}") for key in ("coverage", "error")},
            }
            for name in probabilities
        },
        "mean": {key: mean(key) for key in ("gained", "coverage")},
    }


class _Statistics:
    """Films under one condition, prepared once for many weightings."""

    def __init__(self, labels: npt.NDArray[np.integer], probabilities: Floats, threshold: float) -> None:
        confidence = probabilities.max(axis=1)
        self._wrong = np.asarray(probabilities.argmax(axis=1) != labels)
        self._answered = (confidence >= threshold).astype(np.float64)
        self._ordering = Ordering(1 - confidence)

    def error(self, weights: Floats) -> Floats:
        """Error rate of all films, (b,)."""
        return _ratio(weights @ self._wrong.astype(np.float64), weights.sum(axis=1))

    def of(self, weights: Floats, limit: Floats) -> dict[str, Floats]:
        """Statistics of each weighting (b, n), (b,) each; ``limit`` (b,) is the clean error rate."""
        answered = weights @ self._answered
        error = _ratio(weights @ (self._answered * self._wrong), answered)
        risks = self._ordering.weigh(weights, self._wrong).risks(np.array(COVERAGES))
        fine = risks <= limit[:, None] + _ROUNDING
        last = len(COVERAGES) - 1 - fine[:, ::-1].argmax(axis=1)  # of the largest share that keeps the error
        some = fine.any(axis=1)
        return {
            "coverage": _ratio(answered, weights.sum(axis=1)),
            "error": error,
            "gained": self.error(weights) - error,
            "kept_coverage": np.where(some, np.array(COVERAGES)[last], 0.0),
            "kept_error": np.where(some, risks[np.arange(len(risks)), last], np.nan),
        }


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
