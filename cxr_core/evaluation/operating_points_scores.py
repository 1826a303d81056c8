"""What flagging films at a threshold gives: sensitivity, specificity, predictive values, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import RESAMPLES, exact_interval, percentile_interval, resample_weights

__all__ = ["flag_scores", "share_with_interval"]

Groups = Sequence[str] | npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def flag_scores(
    flagged: Mask, positive: Mask, groups: Groups, seed: int, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Sensitivity, specificity, positive and negative predictive value.

    The predictive values hold at the share of the class among these films, which no clinic has to share.

    Args:
        flagged: (n,) which films are flagged.
        positive: (n,) which films are of the class.
        groups: n group names.
        seed, resamples: of the bootstrap.

    Returns:
        ``sensitivity``, ``specificity``, ``ppv``, ``npv``: see :func:`share_with_interval`.
    """
    names = np.asarray(groups, dtype=str)
    weights = list(resample_weights(names, seed, resamples)) if len(np.unique(names)) > 1 else []
    of = {
        "sensitivity": (flagged, positive, "no film is of the class"),
        "specificity": (~flagged, ~positive, "every film is of the class"),
        "ppv": (positive, flagged, "no film is flagged"),
        "npv": (~positive, ~flagged, "every film is flagged"),
    }
    return {
        name: share_with_interval(part, among, names, weights) if among.any() else unavailable(reason)
        for name, (part, among, reason) in of.items()
    }


def share_with_interval(
    part: Mask, among: Mask, groups: npt.NDArray[np.str_], weights: Sequence[npt.NDArray[np.float64]]
) -> dict[str, Any]:
    """Share of the films ``among`` that are ``part``, with a bootstrap interval over groups.

    Where all of them agree, so do all resamples, which says nothing of other films: the interval is exact then, with a
    group as one trial. Groups that may disagree inside themselves make it wide rather than narrow.

    Args:
        part, among: (n,) masks; ``among`` holds at least one film.
        groups: (n,) group names.
        weights: blocks (b, n) of resamples; none gives no bootstrap.

    Returns:
        ``value``, ``low``, ``high``, and how many films it is a share of, ``films``.
    """
    both = part & among
    value = float(both.sum() / among.sum())
    said = {"films": int(among.sum())}
    if value in (0.0, 1.0):
        return available(value, **(exact_interval(value, len(np.unique(groups[among]))) or {}), **said)
    if not weights:
        return available(value, **said)
    drawn = [_ratio(block @ both, block @ among) for block in weights]
    interval = percentile_interval(np.concatenate(drawn))
    return available(value, **(interval or {}), **said)


def _ratio(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
