"""Reliability diagrams: what was claimed against what came true, bin by bin, with the room that chance needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["reliability_rows"]

Floats = npt.NDArray[np.float64]

_TAIL = 0.025  # on either side of a 95 % interval


def reliability_rows(claimed: Floats, came_true: Floats, members: Floats) -> list[dict[str, Any]]:
    """One row a bin (DeGroot and Fienberg, The Statistician 1983), each with two ranges of 95 %.

    ``low`` to ``high`` is the exact binomial interval of the share that came true (Clopper and Pearson, Biometrika
    1934). ``band_low`` to ``band_high`` is where that share lies if the claim holds (consistency band: Bröcker and
    Smith, Weather and Forecasting 2007), from the binomial distribution at the mean claim, which is no narrower than
    that of the single claims. Both take films as independent.

    Args:
        claimed: (n,) probabilities.
        came_true: (n,) 1 where it was so, 0 elsewhere.
        members: (n, bins) 1 where a film is in a bin; every bin holds a film.

    Returns:
        For each bin ``films``, ``confidence`` (mean claim), ``accuracy`` (share that came true), and those ranges.
    """
    from scipy.special import betaincinv
    from scipy.stats import binom

    films = members.sum(axis=0)
    right = came_true @ members
    wrong = films - right
    confidence = claimed @ members / films
    with np.errstate(invalid="ignore"):
        low = np.where(right > 0, betaincinv(np.maximum(right, 1), wrong + 1, _TAIL), 0.0)
        high = np.where(wrong > 0, betaincinv(right + 1, np.maximum(wrong, 1), 1 - _TAIL), 1.0)
    inside = np.clip(confidence, 0, 1)
    band = [binom.ppf(share, films, inside) / films for share in (_TAIL, 1 - _TAIL)]
    columns = (confidence, right / films, low, high, *band)
    names = ("confidence", "accuracy", "low", "high", "band_low", "band_high")
    return [
        {"films": int(n), **{name: float(value) for name, value in zip(names, values, strict=True)}}
        for n, *values in zip(films, *columns, strict=True)
    ]
