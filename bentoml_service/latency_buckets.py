"""A histogram of seconds whose percentiles have a bounded relative error and which adds up exactly over processes.

Bucket i holds the times in (GAMMA^(i-1), GAMMA^i]; any time in it differs from the bucket's value
2 GAMMA^i / (GAMMA + 1) by at most (GAMMA - 1) / (GAMMA + 1) of itself (DDSketch: Masson, Rim and Lee, PVLDB 12(12),
2019, section 2). Histograms of several workers merge by adding counts, so the merged percentiles have the same bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

__all__ = ["BOUNDS", "HIGHEST", "LOWEST", "RELATIVE_ERROR", "bucket_of", "cumulative", "quantile"]

# 32 buckets to a doubling: 1.1 %. It is schema 5 of Prometheus's native histograms, and every power of two seconds is
# the edge of a bucket, so that the coarse histogram for Prometheus is exact, also at the half second of report 7.4.
_PER_DOUBLING = 32
GAMMA = 2.0 ** (1 / _PER_DOUBLING)
RELATIVE_ERROR = (GAMMA - 1) / (GAMMA + 1)

LOWEST = 2.0**-14  # seconds, 61 microseconds: no answer is faster; what is, counts as this
HIGHEST = 2.0**7  # seconds: the service ends a request after 90; what is slower counts as this
_FIRST = -14 * _PER_DOUBLING
_LAST = 7 * _PER_DOUBLING

BOUNDS = tuple(2.0**power for power in range(-10, 7))  # seconds, 1 ms to 64 s: upper edges for Prometheus


def bucket_of(seconds: float) -> int:
    """Bucket of a duration; anything outside ``LOWEST`` to ``HIGHEST``, NaN too, goes to the nearer end."""
    if not seconds > LOWEST:
        return _FIRST
    if seconds >= HIGHEST:
        return _LAST
    return math.ceil(math.log2(seconds) * _PER_DOUBLING)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Smallest duration that at least ``share`` of the counted ones do not exceed (nearest rank).

    Args:
        counts: durations counted by bucket.
        share: 0-1.

    Returns:
        Seconds, within ``RELATIVE_ERROR`` of the true one where that lies between ``LOWEST`` and ``HIGHEST``; None
        where nothing was counted.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank = max(1, math.ceil(share * total))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return 2 * GAMMA**bucket / (GAMMA + 1)
    raise AssertionError("the counts add up to less than their sum")


def cumulative(counts: Mapping[int, int], bounds: Iterable[float] = BOUNDS) -> list[int]:
    """How many durations do not exceed each bound; exact where the bound is a power of two."""
    edges = [bucket_of(bound) for bound in bounds]
    return [sum(count for bucket, count in counts.items() if bucket <= edge) for edge in edges]
