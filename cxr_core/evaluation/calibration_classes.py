"""Calibration of every class's probability, not of the largest one alone: class-wise expected calibration error.

Kull et al., Beyond temperature scaling, NeurIPS 2019, section 2: the error of each class's probability against whether
a film is of that class, and the mean over the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.bootstrap import RESAMPLES, percentile_interval, resample_weights
from cxr_core.evaluation.calibration import BINS, bin_members, null_said
from cxr_core.evaluation.reliability import reliability_rows

__all__ = ["classwise_report"]

Floats = npt.NDArray[np.float64]

_NULL_STREAM = 2  # the null draws from a stream of its own beside the bootstrap's and that of the top class
_BLOCK = 1 << 21  # numbers held at once: 2 million float64 are 16 MiB


def classwise_report(
    labels: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.floating],
    groups: Sequence[str] | npt.NDArray[Any],
    names: Sequence[str],
    seed: int,
    resamples: int = RESAMPLES,
    bins: int = BINS,
) -> dict[str, Any]:
    """Class-wise expected calibration error, in bins of equal mass of each class's own probability.

    Args:
        labels: (n,) class indices, n >= 1.
        probabilities: (n, k), rows summing to 1.
        groups: n group names.
        names: k class names.
        seed, resamples: of the bootstrap, and of the null: labels drawn from the probabilities.
        bins: at most.

    Returns:
        ``value`` with ``low``, ``high``: the mean over the classes; ``null``; ``per_class``, by name: the same of its
        own error, its number of ``films`` and ``reliability`` rows. A class without films counts: its probabilities
        should be small.
    """
    values = probabilities.astype(np.float64)
    n, classes = values.shape
    members = [bin_members(values[:, k], bins) for k in range(classes)]
    is_class = np.eye(classes)[labels]
    gaps = [(is_class[:, k] - values[:, k])[:, None] * members[k] for k in range(classes)]

    def errors(weights: Floats) -> Floats:
        return np.stack([np.abs(weights @ gap).sum(axis=1) for gap in gaps], axis=1) / weights.sum(axis=1)[:, None]

    (found,) = errors(np.ones((1, n)))
    several = len(np.unique(np.asarray(groups, dtype=str))) > 1
    drawn = np.concatenate([errors(w) for w in resample_weights(groups, seed, resamples)]) if several else None
    null = _null(values, members, seed, resamples)

    def said(value: float, spread: Floats | None, by_chance: Floats) -> dict[str, Any]:
        interval = percentile_interval(spread) if spread is not None else None
        return {
            "value": value,
            **(interval or {"low": None, "high": None}),
            "null": null_said(by_chance, value),
        }

    return {
        **said(float(found.mean()), None if drawn is None else drawn.mean(axis=1), null.mean(axis=1)),
        "per_class": {
            name: {
                **said(float(found[k]), None if drawn is None else drawn[:, k], null[:, k]),
                "films": int((labels == k).sum()),
                "reliability": reliability_rows(values[:, k], is_class[:, k], members[k]),
            }
            for k, name in enumerate(names)
        },
    }


def _null(probabilities: Floats, members: Sequence[Floats], seed: int, simulations: int) -> Floats:
    """Errors (simulations, k) if each label were drawn from the film's own probabilities."""
    n, classes = probabilities.shape
    bounds = probabilities.cumsum(axis=1)
    bounds[:, -1] = 1.0  # the rows add up to 1 but for rounding
    rng = np.random.default_rng([seed, _NULL_STREAM])
    step = max(1, _BLOCK // n)
    blocks: list[Floats] = []
    for start in range(0, simulations, step):
        label = (rng.random((min(step, simulations - start), n, 1)) >= bounds).sum(axis=2)
        parts = [np.abs(((label == k) - probabilities[:, k]) @ members[k]).sum(axis=1) / n for k in range(classes)]
        blocks.append(np.stack(parts, axis=1))
    return np.concatenate(blocks)
