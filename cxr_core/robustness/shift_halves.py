"""Distances between halves of the films: what a monitor sees, which has no clean version of the films that arrive.

Two sets of different films of one kind are never at distance 0: a Fréchet distance between two halves of the same 2,556
embeddings was about 50 in 512 dimensions (TRAPS 13).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cxr_core.robustness.shift_classifier import out_of_fold_auc, standardised_gram
from cxr_core.robustness.shift_distances import DISTANCES
from cxr_core.robustness.shift_pair import QUADRATIC, Pair

__all__ = ["draw_halves", "half_distances"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def draw_halves(codes: Ints, rng: np.random.Generator, count: int) -> Bools:
    """Halves of films that part no group.

    Args:
        codes: (n,) group of each film, 0 ... g - 1, g >= 2.
        rng: of the draws.
        count: how many halves.

    Returns:
        (count, n) which films are in the first half: groups in random order until half of the films are reached as
        nearly as whole groups allow.
    """
    sizes = np.bincount(codes)
    found = np.empty((count, len(codes)), np.bool_)
    for place in range(count):
        order = rng.permutation(len(sizes))
        reached = np.cumsum(sizes[order])
        taken = 1 + int(np.argmin(np.abs(reached[:-1] - len(codes) / 2)))
        found[place] = np.isin(codes, order[:taken])
    return found


def half_distances(pair: Pair, halves: Bools, codes: Ints, folds: int) -> dict[str, Floats]:
    """Distances between the first half of the films, clean, and the second half in the other version.

    Args:
        pair: the versions of n films; twice the clean one gives the null.
        halves: (r, n) which films are in the first half, each with 2 films or more on both sides.
        codes: (n,) group of each film.
        folds: of the two-sample classifier.

    Returns:
        Name in :data:`~cxr_core.robustness.shift_distances.DISTANCES` to (r,) values; those of the cosine are left out
        where an embedding is zero. ``cosine`` is the mean over all pairs of a film of each half.
    """
    a, b = halves.astype(np.float64), (~halves).astype(np.float64)
    n, m = a.sum(axis=1), b.sum(axis=1)
    found: dict[str, Floats] = {}
    for name in QUADRATIC:
        blocks = pair.blocks(name)
        if blocks is None:
            continue
        sides = zip((a, b, a), blocks, (a, b, b), strict=True)
        xx, yy, xy = (np.einsum("ri,ri->r", left @ block, right) for left, block, right in sides)
        if name == "energy":
            found[name] = np.sqrt(np.maximum(0.0, 2 * xy / (n * m) - xx / n**2 - yy / m**2))
            continue
        inside = xx / (n * (n - 1)) + yy / (m * (m - 1))  # a version is at 0 from itself
        if name == "mmd":
            found[name] = 2 * xy / (n * m) - inside
        else:
            found[name], found["cosine"] = xy / (n * m) - inside / 2, xy / (n * m)
    found["norm_shift"] = b @ pair.other.norms / m - a @ pair.clean.norms / n
    gram = pair.products()
    found["frechet"] = np.array([_frechet(gram, half) for half in halves])
    found["c2st"] = np.array([_auc(pair, half, codes, folds) for half in halves])
    return {name: found[name] for name in DISTANCES if name in found}


def _frechet(gram: Floats, half: Bools) -> float:
    first, second = np.flatnonzero(half), len(half) + np.flatnonzero(~half)
    inside = [gram[np.ix_(rows, rows)] for rows in (first, second)]
    cross = gram[np.ix_(first, second)]
    means = inside[0].mean() + inside[1].mean() - 2 * cross.mean()
    spread = sum((np.trace(block) - len(block) * block.mean()) / (len(block) - 1) for block in inside)
    centred = cross - cross.mean(axis=0) - cross.mean(axis=1, keepdims=True) + cross.mean()
    scale = np.sqrt((len(first) - 1) * (len(second) - 1))
    return float(max(0.0, means + spread - 2 * np.linalg.svd(centred, compute_uv=False).sum() / scale))


def _auc(pair: Pair, half: Bools, codes: Ints, folds: int) -> float:
    place = np.zeros(int(codes.max()) + 1, np.int64)
    for side in (half, ~half):
        groups = np.unique(codes[side])
        place[groups] = np.arange(len(groups)) % folds
    rows = np.concatenate([pair.clean.rows[half], pair.other.rows[~half]])
    corrupted = np.repeat([False, True], [int(half.sum()), int((~half).sum())])
    own = place[np.concatenate([codes[half], codes[~half]])]
    return out_of_fold_auc(standardised_gram(rows), corrupted, own)
