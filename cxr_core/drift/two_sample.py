"""Two-sample tests that hold their level: by permutation, so neither ties nor small or rare counts break them.

If both samples come from one distribution, every way to divide the pooled values among them is equally likely. The
p-value is the share of random divisions, the real one among them, that differ at least as much (Phipson and Smyth,
Stat. Appl. Genet. Mol. Biol. 9(1), 2010). Several p-values of one look are corrected together (TRAPS 18).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.trust import subgroup_multiplicity as multiplicity

__all__ = ["PERMUTATIONS", "Tested", "compare_counts", "compare_values", "holm", "standardised_difference"]

PERMUTATIONS = 1999  # smallest p .0005, and .003 after the correction of six: below any level in use

_BLOCK = 1 << 17  # pooled values permuted at once: 1 MB, and a few milliseconds that keep other threads waiting
_TOLERANCE = 1e-9  # relative, so that a division as extreme as the real one counts whatever the rounding


@dataclass(frozen=True)
class Tested:
    """One test: ``statistic``, 0-1, and its p-value."""

    statistic: float
    p: float


def compare_values(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], seed: int, permutations: int = PERMUTATIONS
) -> Tested:
    """Whether two samples of numbers come from one distribution.

    Args:
        first, second: (n,), (m,) finite values, n and m > 0; order does not matter.
        seed: of the permutations.
        permutations: how many.

    Returns:
        The largest distance between the two empirical distribution functions (Kolmogorov and Smirnov), and its p-value.
    """
    n, m = len(first), len(second)
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, kind="stable")
    ordered = pooled[order]
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))  # last of each run of equal values
    mine = (order < n).astype(np.int8)
    found = int(_distance(mine[None], ends, n)[0])
    generator = np.random.default_rng(seed)
    extreme = 0
    left = permutations
    while left:
        rows = min(left, max(1, _BLOCK // (n + m)))
        shuffled = generator.permuted(np.broadcast_to(mine, (rows, n + m)), axis=1)
        extreme += int((_distance(shuffled, ends, n) >= found).sum())
        left -= rows
    return Tested(found / (n * m), (1 + extreme) / (1 + permutations))


def _distance(mine: npt.NDArray[np.int8], ends: npt.NDArray[np.intp], n: int) -> npt.NDArray[np.int64]:
    """n m times the Kolmogorov-Smirnov distance of each row: whole numbers, so equal distances compare equal."""
    total = mine.shape[1]
    below = np.cumsum(mine, axis=1, dtype=np.int32)[:, ends].astype(np.int64)
    largest: npt.NDArray[np.int64] = np.abs(below * total - n * (ends + 1)).max(axis=1)
    return largest  # n m |below / n - (k - below) / m| = |below (n + m) - n k| with k values seen


def compare_counts(
    first: Mapping[str, int], second: Mapping[str, int], seed: int, permutations: int = PERMUTATIONS
) -> Tested:
    """Whether two samples of categories come from one distribution; any number of them may be rare.

    Args:
        first, second: counts by category; a category that one lacks counts 0 there; neither sample is empty.
        seed: of the permutations.
        permutations: how many.

    Returns:
        The total variation distance, half the summed difference of the shares, and the p-value of Pearson's statistic
        under fixed margins (Hope, JRSS B 30, 1968).
    """
    names = sorted({*first, *second})
    a = np.array([first.get(name, 0) for name in names], dtype=np.int64)
    b = np.array([second.get(name, 0) for name in names], dtype=np.int64)
    n, m = int(a.sum()), int(b.sum())
    both = a + b
    expected = both * (n / (n + m))
    kept = both > 0

    def spread(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        # Pearson's statistic up to a factor that the margins fix
        squares: npt.NDArray[np.float64] = ((counts - expected)[..., kept] ** 2 / both[kept]).sum(axis=-1)
        return squares

    divided = np.random.default_rng(seed).multivariate_hypergeometric(both, n, size=permutations)
    extreme = int((spread(divided) >= spread(a) * (1 - _TOLERANCE)).sum())
    distance = float(np.abs(a / n - b / m).sum() / 2)
    return Tested(distance, (1 + extreme) / (1 + permutations))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values of several tests of one look, corrected (Holm, Scand. J. Statist. 6, 1979).

    Calling those at most ``level`` a shift calls one wrongly, in a look where nothing has shifted, with a probability
    of at most ``level``, however the tests depend on each other.
    """
    corrected = multiplicity.holm(np.array(list(p_values.values()), np.float64))
    return dict(zip(p_values, corrected.tolist(), strict=True))


def standardised_difference(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float | None:
    """Difference of the means in units of the pooled standard deviation of single values (Cohen's d, 1988).

    Returns:
        Positive where ``first`` is larger; None where the values do not vary.
    """
    n, m = len(first), len(second)
    if n < 2 or m < 2:
        return None
    pooled = np.sqrt(((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / (n + m - 2))
    rounding = _TOLERANCE * max(abs(first.mean()), abs(second.mean()))
    return float((first.mean() - second.mean()) / pooled) if pooled > rounding else None
