"""Clean and corrupted versions of the same films as matrices of products and distances, made once for every null.

Exchanging the versions of film i flips the sign of its row and column in the contrast
``k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i, x_j)``: MMD, energy distance and cosine excess after any exchange are
quadratic forms in signs, and thousands of permutations are one product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.robustness.shift_distances import cosine_distances, euclidean_distances

__all__ = ["QUADRATIC", "Cloud", "Pair"]

Floats = npt.NDArray[np.float64]

QUADRATIC = ("cosine_excess", "mmd", "energy")


@dataclass(frozen=True)
class Cloud:
    """Embeddings of the films in one version.

    Attributes:
        rows: (n, d) float64, less a common centre.
        norms: (n,) of the embeddings as they are.
        euclid: (n, n) distances.
        cosine: (n, n) 1 - cosine of the embeddings as they are; None where one of them is zero.
        raw: (n, d) the embeddings as they are.
    """

    rows: Floats
    norms: Floats
    euclid: Floats
    cosine: Floats | None
    raw: Floats

    @classmethod
    def of(cls, raw: Floats, centre: Floats) -> Cloud:
        """Measure embeddings (n, d), finite; ``centre`` (d,) is the mean of the clean ones."""
        norms = np.linalg.norm(raw, axis=1)
        cosine = cosine_distances(raw, raw) if norms.all() else None
        return cls(raw - centre, norms, euclidean_distances(raw, raw), cosine, raw)


@dataclass(frozen=True)
class Pair:
    """Two versions of the same n films, in one order.

    Attributes:
        clean, other: the versions.
        euclid: (n, n) distances from clean to other.
        cosine: (n, n) as in :class:`Cloud`.
        width: of the Gaussian kernel.
    """

    clean: Cloud
    other: Cloud
    euclid: Floats
    cosine: Floats | None
    width: float

    @classmethod
    def of(cls, clean: Cloud, other: Cloud, width: float) -> Pair:
        """Measure what lies between them."""
        if other is clean:
            return cls(clean, clean, clean.euclid, clean.cosine, width)
        cosine = None if clean.cosine is None or other.cosine is None else cosine_distances(clean.raw, other.raw)
        return cls(clean, other, euclidean_distances(clean.raw, other.raw), cosine, width)

    def blocks(self, name: str) -> tuple[Floats, Floats, Floats] | None:
        """Distances (n, n) inside clean, inside other, and between; for ``mmd`` 1 - kernel. None: not defined."""
        if name.startswith("cosine"):
            if self.clean.cosine is None or self.other.cosine is None or self.cosine is None:
                return None
            return self.clean.cosine, self.other.cosine, self.cosine
        found = (self.clean.euclid, self.other.euclid, self.euclid)
        if name == "energy":
            return found
        xx, yy, xy = (-np.expm1(-((block / self.width) ** 2) / 2) for block in found)
        return xx, yy, xy

    def contrast(self, name: str) -> Floats | None:
        """(n, n) whose sum is the statistic of a name in :data:`QUADRATIC`, and s' C s that after exchanging with s.

        The statistic of ``energy`` is the square of the distance. None where it is not defined.
        """
        blocks = self.blocks(name)
        if blocks is None:
            return None
        xx, yy, xy = blocks
        n = len(xx)
        between = xy + xy.T - xx - yy
        if name == "energy":
            return between / n**2
        np.fill_diagonal(between, 0.0)
        return between / (n * (n - 1) * (2 if name == "cosine_excess" else 1))

    def products(self) -> Floats:
        """Products (2 n, 2 n) of all centred rows, clean ones first."""
        both = np.concatenate([self.clean.rows, self.other.rows])
        return np.asarray(both @ both.T, np.float64)
