"""Confidence intervals of shares and means, by closed formulas on plain numbers."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["LEVEL", "mean_interval", "share_interval"]

LEVEL = 0.95  # of the intervals, as everywhere in this project
_FEWEST = 30  # values from which on the mean of a skewed quantity is near enough to normal; fewer get no interval


def share_interval(part: int, whole: int, level: float = LEVEL) -> tuple[float, float] | None:
    """Interval of a share, right also near 0 and 1 (Wilson, JASA 22, 1927).

    Args:
        part, whole: how many of how many.
        level: coverage, 0-1.

    Returns:
        Low and high, 0-1; None where there is nothing.
    """
    if not whole:
        return None
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    share = part / whole
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    half = math.sqrt(z2) / (1 + z2 / whole) * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(values: npt.NDArray[np.floating], level: float = LEVEL) -> tuple[float, float] | None:
    """Interval of a mean: the standard error divides the spread by the root of the number (TRAPS 18).

    Args:
        values: (n,) independent values.
        level: coverage, 0-1.

    Returns:
        Low and high, in the unit of the values; None for fewer than 30 of them.
    """
    if len(values) < _FEWEST:
        return None
    half = NormalDist().inv_cdf((1 + level) / 2) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half
