"""Many tests at once: p-values adjusted so that a family with nothing in it seldom raises an alarm (TRAPS 18)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["benjamini_hochberg", "holm"]

Floats = npt.NDArray[np.float64]


def holm(p: Floats) -> Floats:
    """Adjusted p-values of Holm (Scandinavian Journal of Statistics 1979): no false alarm in the family but alpha.

    Args:
        p: (m,) p-values, 0-1; NaN is not tested, does not count, and stays NaN.

    Returns:
        (m,) values to compare with alpha; valid however the tests depend on each other.
    """
    return _step(p, lambda ordered, m: np.maximum.accumulate(ordered * (m - np.arange(m))))


def benjamini_hochberg(p: Floats) -> Floats:
    """q-values of Benjamini and Hochberg (JRSS B 1995): expected share of false alarms among the alarms.

    Args:
        p: (m,) p-values, 0-1; NaN as in :func:`holm`.

    Returns:
        (m,) q-values; valid for tests that are independent or positively dependent.
    """
    return _step(p, lambda ordered, m: np.minimum.accumulate((ordered * m / np.arange(1, m + 1))[::-1])[::-1])


def _step(p: Floats, adjust: Callable[[Floats, int], Floats]) -> Floats:
    values = np.asarray(p, np.float64)
    result = np.full(values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    if len(order):
        result[order] = np.minimum(1.0, adjust(values[order], len(order)))
    return result
