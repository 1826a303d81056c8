"""What the distances are where corruption changed nothing: the two versions of films exchanged.

If corruption changed nothing, the two versions of a patient's films might as well be exchanged. The p-value is the
share of random exchanges, the real order among them, with a distance at least as large (Phipson and Smyth, SAGMB 2010):
exact, however films of one patient hang together, since all of them are exchanged at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.robustness.shift_classifier import head_operator, standardised_gram, swapped_auc
from cxr_core.robustness.shift_halves import draw_halves
from cxr_core.robustness.shift_pair import QUADRATIC, Pair

__all__ = ["MIN_GROUPS", "Plan", "Swapped", "swap_tests"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# An exchange of all films changes no distance: g groups have 2^(g - 1) that differ, and five of them no p below .0625.
MIN_GROUPS = 6
_ROUNDING = 1e-9  # of a distance's scale: exchanges that give the same value but for rounding count as extreme
_FEW = 10  # exceedances below which the share of them is too coarse (Knijnenburg et al., Bioinformatics 2009)
_BLOCK = 1 << 22  # numbers held at once: 32 MiB


@dataclass(frozen=True)
class Plan:
    """The exchanges, halves and folds of one set of films, the same for every condition.

    Attributes:
        codes: (n,) group of each film, 0 ... g - 1.
        signs: (b, g) of 1 and -1: which groups exchange their versions.
        slow: how many of the exchanges, the first ones, the Fréchet distance is computed after.
        halves: (r, n) which films are in the first half.
        folds: (n,) fold of each film, groups whole.
    """

    codes: Ints
    signs: npt.NDArray[np.float32]
    slow: int
    halves: Bools
    folds: Ints

    @classmethod
    def of(cls, groups: Sequence[str], seed: int, permutations: int, slow: int, halves: int, folds: int) -> Plan:
        """Draw them.

        Args:
            groups: n group names, at least :data:`MIN_GROUPS` of them different.
            seed: of the draws.
            permutations, slow, halves: how many of each; ``slow`` at most ``permutations``.
            folds: of the two-sample classifier.
        """
        codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)
        count = int(codes.max()) + 1
        rng = np.random.default_rng(seed)
        signs = rng.integers(0, 2, (permutations, count), dtype=np.int8).astype(np.float32) * 2 - 1
        split = draw_halves(codes, rng, halves)
        place = rng.permutation(count) % min(folds, count)
        return cls(codes, signs, min(slow, permutations), split, place[codes].astype(np.int64))


@dataclass(frozen=True)
class Swapped:
    """A distance with its null by exchange.

    Attributes:
        value: of the versions as they are.
        null: (b,) after the exchanges.
        p: how likely an exchange reaches the value.
        exact: whether p is the share of exchanges; otherwise the tail of a fitted gamma.
    """

    value: float
    null: Floats
    p: float
    exact: bool = True


def swap_tests(pair: Pair, plan: Plan) -> dict[str, Swapped]:
    """Every distance that an exchange changes, with its null.

    Args:
        pair: the versions of n films.
        plan: of the same films.

    Returns:
        Name in :data:`~cxr_core.robustness.shift_distances.DISTANCES` to its test; cosine excess is left out where an
        embedding is zero.
    """
    found: dict[str, Swapped] = {}
    for name in QUADRATIC:
        contrast = pair.contrast(name)
        if contrast is None:
            continue
        blocks = pair.blocks(name)
        scale = float(blocks[0].mean()) if blocks is not None else 0.0
        null = _quadratic(_by_group(contrast, plan.codes), plan.signs)
        tested = _exact(float(contrast.sum()), null, _ROUNDING * scale)
        found[name] = tested if name != "energy" else _rooted(tested)
    moved = np.bincount(plan.codes, weights=pair.other.norms - pair.clean.norms) / len(plan.codes)
    shifts = np.asarray(plan.signs @ moved, np.float64)
    tested = _exact(abs(float(moved.sum())), np.abs(shifts), _ROUNDING * float(pair.clean.norms.mean()))
    found["norm_shift"] = Swapped(float(moved.sum()), shifts, tested.p)
    found["frechet"] = _frechet(pair, plan)
    both = np.concatenate([pair.clean.rows, pair.other.rows])
    operator = head_operator(standardised_gram(both), np.tile(plan.folds, 2))
    signs = plan.signs[:, plan.codes].astype(np.float64)
    value = float(swapped_auc(operator, np.ones((1, len(plan.codes))), plan.folds)[0])
    found["c2st"] = _exact(value, swapped_auc(operator, signs, plan.folds), _ROUNDING)
    return found


def _exact(value: float, null: Floats, slack: float) -> Swapped:
    return Swapped(value, null, float((1 + (null >= value - slack).sum()) / (1 + len(null))))


def _rooted(squared: Swapped) -> Swapped:
    return Swapped(
        float(np.sqrt(max(0.0, squared.value))), np.sqrt(np.maximum(squared.null, 0.0)), squared.p, squared.exact
    )


def _by_group(contrast: Floats, codes: Ints) -> Floats:
    member = np.eye(int(codes.max()) + 1)[codes]
    return np.asarray(member.T @ contrast @ member, np.float64)


def _quadratic(form: Floats, signs: npt.NDArray[np.float32]) -> Floats:
    step = max(1, _BLOCK // max(1, len(form)))
    blocks = [
        np.einsum("bg,bg->b", signs[start : start + step].astype(np.float64) @ form, signs[start : start + step])
        for start in range(0, len(signs), step)
    ]
    return np.concatenate(blocks)


def _frechet(pair: Pair, plan: Plan) -> Swapped:
    """The Fréchet distance after the first exchanges; below ten exceedances p is the tail of a gamma fitted to them.

    A gamma with the mean, variance and skewness of the null (Winkler et al., NeuroImage 2016), not below the smallest p
    that the other distances can have: each exchange costs a singular value decomposition.
    """
    n = len(plan.codes)
    gram = pair.products()
    value = float(_frechet_of(gram, np.ones((1, n)))[0])
    signs = plan.signs[: plan.slow, plan.codes].astype(np.float64)
    step = max(1, _BLOCK // n**2)
    null = np.concatenate([_frechet_of(gram, signs[k : k + step]) for k in range(0, len(signs), step)])
    tested = _exact(value, null, _ROUNDING * float(np.trace(gram)) / n)
    if tested.p * (1 + len(null)) - 1 >= _FEW:
        return tested
    tail = max(_gamma_tail(value, null), 1 / (1 + len(plan.signs)))
    return Swapped(value, null, min(tested.p, tail), exact=tested.p <= tail)


def _frechet_of(gram: Floats, signs: Floats) -> Floats:
    n = signs.shape[1]
    first = np.where(signs > 0, np.arange(n), np.arange(n) + n)
    second = np.where(signs > 0, np.arange(n) + n, np.arange(n))
    weights = np.concatenate([signs, -signs], axis=1) / n
    means = np.einsum("bi,bi->b", weights @ gram, weights)
    lengths = np.diag(gram)
    spread = np.zeros(len(signs))
    for rows in (first, second):
        member = np.zeros((len(signs), 2 * n))
        np.put_along_axis(member, rows, 1.0, axis=1)
        spread += lengths[rows].sum(axis=1) - np.einsum("bi,bi->b", member @ gram, member) / n
    cross = gram[first[:, :, None], second[:, None, :]]
    cross -= cross.mean(axis=1, keepdims=True)
    cross -= cross.mean(axis=2, keepdims=True)
    nuclear = np.linalg.svd(cross, compute_uv=False).sum(axis=1)
    return np.maximum(0.0, means + (spread - 2 * nuclear) / (n - 1))


def _gamma_tail(value: float, null: Floats) -> float:
    from scipy.stats import pearson3, skew

    spread = float(null.std(ddof=1))
    if spread <= _ROUNDING * float(np.abs(null).max(initial=0.0)):
        return 1.0
    return float(pearson3.sf(value, max(0.0, float(skew(null))), float(null.mean()), spread))
