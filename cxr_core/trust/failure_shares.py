"""A share of films with its exact interval, made wider where films of one patient hang together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import LEVEL

__all__ = ["exact_interval", "group_share"]


def exact_interval(hits: float, total: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of Clopper and Pearson (Biometrika 1934) of a share.

    Args:
        hits, total: 0 <= hits <= total, total > 0; effective sizes need not be whole.
        level: that the interval holds at least.
    """
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, total - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, total - hits)) if hits < total else 1.0
    return low, high


def group_share(
    hit: npt.NDArray[np.bool_], groups: Sequence[str] | npt.NDArray[np.object_], what: str = "films"
) -> dict[str, Any]:
    """Share of films that are hit, with its exact interval at the effective number of films.

    That number is the films divided by the design effect of their groups, where it is above 1 (Korn and Graubard,
    Survey Methodology 1998); where all or none are hit the design effect is unknown and each group counts as one film.

    Args:
        hit: (n,) which films.
        groups: n group names.
        what: what there is none of where n is 0, for the reason.

    Returns:
        ``value``, ``low``, ``high``, ``count``, ``films``, ``groups``; see :mod:`cxr_core.evaluation.availability`.
    """
    films = len(hit)
    if not films:
        return unavailable(f"there are no {what}", count=0, films=0, groups=0)
    codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    clusters, count = int(codes.max()) + 1, int(hit.sum())
    share = count / films
    effective = float(clusters)
    if 0 < count < films:
        spread = float((np.bincount(codes, weights=hit - share) ** 2).sum()) / films**2
        effective = films / max(1.0, spread * films / (share * (1 - share)))
    low, high = exact_interval(share * effective, effective)
    return available(share, low, high, count=count, films=films, groups=clusters)
