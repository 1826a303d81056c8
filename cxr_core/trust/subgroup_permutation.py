"""Permutation of outcomes over groups of films: what a gap or an association would be if there were none.

Outcomes move between groups that hold equally many films of the same classes, and stay together inside a group: under
the null hypothesis such groups are exchangeable, so that the test is exact however films of one patient hang together
(Winkler et al., NeuroImage 2015, whole-block exchange). Moving outcomes between groups is the same as moving their
membership of a stratum. Since no class changes its number of films, every statistic here is linear in the outcomes,
and all strata are tested by one matrix product.

Where that moves nothing, since the stratum follows the size of the group or every group is unlike any other, the signs
of the groups' contributions to the statistic are flipped instead (Hemerik, Goeman and Finos, JRSS B 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["FLIPPED", "PERMUTED", "GroupPermutations", "group_test", "permutation_p"]

Floats = npt.NDArray[np.float64]

PERMUTED, FLIPPED = "permutation of groups", "sign flips of groups"

_BLOCK = 1 << 22  # outcomes held at once: 4 million float64 are 32 MiB
_LEAST_MOVING = 0.5  # of a statistic's weight, below which what stays put would hide most of what can be found
_ROUNDING = 1e-9  # of a statistic's largest possible value: sums in another order differ by less


class GroupPermutations:
    """Which groups may exchange their outcomes.

    Args:
        groups: n group names.
        labels: (n,) class indices that must be kept; the same number for all where classes do not matter.
    """

    def __init__(self, groups: Sequence[str] | npt.NDArray[np.object_], labels: npt.NDArray[np.integer]) -> None:
        codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
        kept = np.asarray(labels, np.int64)
        order = np.lexsort((kept, codes))
        starts = np.flatnonzero(np.diff(codes[order])) + 1
        alike: dict[tuple[int, ...], list[npt.NDArray[np.intp]]] = {}
        for rows in np.split(order, starts) if len(order) else []:
            alike.setdefault(tuple(kept[rows].tolist()), []).append(rows)
        self._cells = [np.stack(alike[key]) for key in sorted(alike) if len(alike[key]) > 1]
        self.codes = codes

    def moving(self, coefficients: Floats) -> Floats:
        """Share of each statistic's weight that lies on films whose exchange changes it: (n, s) to (s,), 0-1."""
        weight = np.abs(coefficients)
        total, moved = weight.sum(axis=0), np.zeros(coefficients.shape[1])
        for cell in self._cells:
            differs = (np.ptp(coefficients[cell], axis=0) > 0).any(axis=0)
            moved += differs * weight[cell].sum(axis=(0, 1))
        return np.divide(moved, total, out=np.zeros_like(total), where=total > 0)

    def shuffled(self, outcomes: Floats, seed: int, permutations: int) -> Iterator[Floats]:
        """Outcomes after each permutation.

        Args:
            outcomes: (n,) values.
            seed: of the permutations.
            permutations: how many.

        Yields:
            (b, n) blocks, ``permutations`` rows in all.
        """
        rng = np.random.default_rng(seed)
        step = max(1, _BLOCK // max(1, len(outcomes)))
        for start in range(0, permutations, step):
            rows = min(step, permutations - start)
            block = np.repeat(outcomes[None], rows, axis=0)
            for cell in self._cells:
                places = rng.permuted(np.broadcast_to(np.arange(len(cell)), (rows, len(cell))), axis=1)
                block[:, cell] = outcomes[cell][places]
            yield block


def permutation_p(
    outcomes: Floats, coefficients: Floats, plan: GroupPermutations, seed: int, permutations: int
) -> Floats:
    """Two-sided p-values of linear statistics: twice the smaller tail.

    The smaller tail and not the distance from zero, since groups of one size may differ from others and the null is
    then not centred at zero. The observed order counts as one permutation (Phipson and Smyth, SAGMB 2010), so that no
    p-value is zero.

    Args:
        outcomes: (n,) values of the films.
        coefficients: (n, s): statistic s is ``outcomes @ coefficients[:, s]``.
        plan: which groups exchange.
        seed: of the permutations.
        permutations: how many; the smallest p-value is 2 / (permutations + 1).

    Returns:
        (s,) p-values, 0-1.
    """
    observed = outcomes @ coefficients
    slack = _ROUNDING * (np.abs(outcomes) @ np.abs(coefficients))
    above, below = np.zeros(coefficients.shape[1]), np.zeros(coefficients.shape[1])
    for block in plan.shuffled(outcomes, seed, permutations):
        values = block @ coefficients
        above += (values >= observed - slack).sum(axis=0)
        below += (values <= observed + slack).sum(axis=0)
    return np.minimum(1.0, 2 * (1 + np.minimum(above, below)) / (1 + permutations))


def group_test(
    outcomes: Floats,
    coefficients: Floats,
    groups: Sequence[str] | npt.NDArray[np.object_],
    labels: npt.NDArray[np.integer],
    seed: int,
    permutations: int,
) -> tuple[Floats, list[str]]:
    """Two-sided p-values of linear statistics, by permutation of groups or, where that moves too little, by sign flips.

    Args:
        outcomes, coefficients, seed, permutations: as :func:`permutation_p`; the coefficients of each statistic add up
            to 0 over the films of each label, so that only differences inside a label count.
        groups: n group names.
        labels: (n,) as :class:`GroupPermutations`.

    Returns:
        (s,) p-values, NaN for a statistic whose coefficients are all 0; and how each was had, :data:`PERMUTED` or
        :data:`FLIPPED`.
    """
    plan = GroupPermutations(groups, labels)
    flip = plan.moving(coefficients) < _LEAST_MOVING
    p = np.full(coefficients.shape[1], np.nan)
    if not flip.all():
        p[~flip] = permutation_p(outcomes, coefficients[:, ~flip], plan, seed, permutations)
    if (flip & coefficients.any(axis=0)).any():
        p[flip] = _flip_p(outcomes, coefficients[:, flip], plan.codes, labels, seed, permutations)
    p[~coefficients.any(axis=0)] = np.nan
    return p, [FLIPPED if flipped else PERMUTED for flipped in flip]


def _flip_p(
    outcomes: Floats,
    coefficients: Floats,
    codes: npt.NDArray[np.intp],
    labels: npt.NDArray[np.integer],
    seed: int,
    permutations: int,
) -> Floats:
    places = np.unique(labels, return_inverse=True)[1]
    residuals = outcomes - (np.bincount(places, weights=outcomes) / np.bincount(places))[places]
    scores = np.zeros((int(codes.max()) + 1, coefficients.shape[1]))
    np.add.at(scores, codes, residuals[:, None] * coefficients)
    observed = np.abs(scores.sum(axis=0))
    slack = _ROUNDING * np.abs(scores).sum(axis=0)
    rng = np.random.default_rng(seed)
    extreme = np.zeros(coefficients.shape[1])
    step = max(1, _BLOCK // len(scores))
    for start in range(0, permutations, step):
        signs = rng.choice([-1.0, 1.0], (min(step, permutations - start), len(scores)))
        extreme += (np.abs(signs @ scores) >= observed - slack).sum(axis=0)
    result: Floats = (1 + extreme) / (1 + permutations)
    return result
