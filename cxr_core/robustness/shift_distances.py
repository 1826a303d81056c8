"""Distances between what the linear head sees of clean and of corrupted films, each by its definition (report 5.3).

Pairs of versions of one film are told from pairs of different films throughout: the mean over the former says how far
a film moved, the means over the latter how far the cloud of films did. No distance is one of centroids (TRAPS 14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "DISTANCES",
    "Distance",
    "cosine_distances",
    "cosine_excess",
    "energy_distance",
    "euclidean_distances",
    "frechet_distance",
    "mean_pairwise_cosine",
    "median_width",
    "norm_shift",
    "unbiased_mmd",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distance:
    """One way to say how far embeddings moved.

    Attributes:
        title: as figures and tables name it.
        meaning: what its value is, one sentence.
        two_sided: a value below its null counts as much as one above.
        swaps: exchanging the two versions of a film changes it, so that it has a null by permutation.
    """

    title: str
    meaning: str
    two_sided: bool = False
    swaps: bool = True


DISTANCES: Mapping[str, Distance] = {
    "cosine": Distance(
        "cosine distance",
        "Mean over the films of 1 - cosine between the clean and the corrupted version of the same film, 0-2.",
        swaps=False,
    ),
    "cosine_excess": Distance(
        "cosine excess",
        "Mean cosine distance over all pairs of a clean and a corrupted version of different films, less the mean over "
        "pairs of different films inside each version.",
    ),
    "frechet": Distance(
        "Fréchet distance",
        "Squared Fréchet (2-Wasserstein) distance of Gaussians with the means and covariances of the two versions, as "
        "FID; it is above 0 for two samples of one kind and grows as they get smaller (TRAPS 13).",
    ),
    "norm_shift": Distance(
        "norm shift", "Mean Euclidean norm of the corrupted versions less that of the clean ones.", two_sided=True
    ),
    "mmd": Distance(
        "MMD",
        "Squared maximum mean discrepancy, unbiased, Gaussian kernel with the median distance of clean films as width.",
    ),
    "energy": Distance(
        "energy distance", "Energy distance of the two versions, in units of the embedding's distances."
    ),
    "c2st": Distance(
        "two-sample AUC",
        "Area under the ROC curve of a linear classifier that tells corrupted from clean versions, out of fold: .5 "
        "where it cannot.",
    ),
}


def cosine_distances(x: Floats, y: Floats) -> Floats:
    """1 - cosine of every row of ``x`` (n, d) with every row of ``y`` (m, d): (n, m), 0-2; no row may be zero."""
    unit_x, unit_y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    return 1.0 - unit_x @ unit_y.T


def euclidean_distances(x: Floats, y: Floats) -> Floats:
    """Distances of rows, (n, m), from differences and not from products: equal rows are at exactly 0."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(x, y), np.float64)


def mean_pairwise_cosine(x: Floats, y: Floats) -> float:
    """Mean of 1 - cosine over the pairs (x_i, y_i), 0-2."""
    product = np.einsum("ij,ij->i", x, y) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return float(1.0 - product.mean())


def cosine_excess(x: Floats, y: Floats) -> float:
    """Mean cosine distance between versions, less the mean inside them; pairs of different films (i, j), i != j, only.

    Args:
        x, y: (n, d) versions of the same films, n >= 2, no zero row.
    """
    between = _mean_off(cosine_distances(x, y))
    return between - (_mean_off(cosine_distances(x, x)) + _mean_off(cosine_distances(y, y))) / 2


def norm_shift(x: Floats, y: Floats) -> float:
    """Mean norm of ``y`` less that of ``x``."""
    return float(np.linalg.norm(y, axis=1).mean() - np.linalg.norm(x, axis=1).mean())


def frechet_distance(x: Floats, y: Floats) -> float:
    """Squared Fréchet distance of the Gaussians with the samples' means and covariances (n - 1).

    |m_x - m_y|^2 + tr C_x + tr C_y - 2 tr (C_x C_y)^(1/2) (Dowson and Landau, Journal of Multivariate Analysis 1982;
    Heusel et al., NIPS 2017). The last trace is the sum of the singular values of X Y' / ((n - 1)(m - 1))^(1/2), X and
    Y the centred samples: no d x d matrix, no root of a singular one, nothing lost where d exceeds n.

    Args:
        x, y: (n, d), (m, d), n and m >= 2.
    """
    n, m = len(x), len(y)
    centred = [rows - rows.mean(axis=0) for rows in (x, y)]
    spread = [float((rows**2).sum()) / (len(rows) - 1) for rows in centred]
    if x.shape[1] < min(n, m):
        centred = [np.linalg.qr(rows, mode="r") for rows in centred]
    nuclear = float(np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum())
    means = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    return max(0.0, means + sum(spread) - 2 * nuclear / float(np.sqrt((n - 1) * (m - 1))))


def median_width(x: Floats) -> float:
    """Median Euclidean distance between different rows (Gretton et al., JMLR 2012, section 8); 0 where most agree."""
    distances = euclidean_distances(x, x)
    return float(np.median(distances[np.triu_indices(len(x), 1)]))


def unbiased_mmd(x: Floats, y: Floats, width: float) -> float:
    """Squared MMD with kernel exp(-|a - b|^2 / 2 width^2): the U-statistic of pairs (Gretton et al. 2012, lemma 6).

    Pairs of versions of one film are left out, so that it is 0 on average where the versions are exchangeable.

    Args:
        x, y: (n, d) versions of the same films, n >= 2.
        width: > 0.
    """
    xx, yy, xy = (np.exp(-(euclidean_distances(a, b) ** 2) / (2 * width**2)) for a, b in ((x, x), (y, y), (x, y)))
    return _mean_off(xx) + _mean_off(yy) - 2 * _mean_off(xy)


def energy_distance(x: Floats, y: Floats) -> float:
    """Root of 2 E|X - Y| - E|X - X'| - E|Y - Y'| over all pairs (Szekely and Rizzo, J. Stat. Plan. Inference 2013)."""
    xx, yy, xy = (float(euclidean_distances(a, b).mean()) for a, b in ((x, x), (y, y), (x, y)))
    return float(np.sqrt(max(0.0, 2 * xy - xx - yy)))


def _mean_off(values: Floats) -> float:
    """Mean over the cells off the diagonal of a square matrix."""
    n = len(values)
    return float((values.sum() - np.trace(values)) / (n * (n - 1)))
