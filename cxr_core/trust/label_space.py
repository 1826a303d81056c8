"""Features turned into the space in which heads judge labels: standardised, blocks of equal weight, few dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError

__all__ = ["RegionFeatures", "audit_space"]

Floats = npt.NDArray[np.float64]

_EXACT = 3000  # films up to which the space is exact: an eigendecomposition of that size takes seconds
_PROJECTED = 2048  # dimensions beyond: inner products kept within 2 % (Johnson and Lindenstrauss 1984)


@dataclass(frozen=True)
class RegionFeatures:
    """Features of n films.

    Attributes:
        values: (n, d) float32.
        widths: columns of each block, adding up to d; blocks weigh the same whatever their width.
    """

    values: npt.NDArray[np.float32]
    widths: tuple[int, ...]


def audit_space(
    values: npt.NDArray[np.floating],
    widths: Sequence[int],
    seed: int,
    sources: npt.NDArray[np.object_] | None = None,
) -> Floats:
    """Coordinates of films in which a linear head with an L2 penalty is the same as on the standardised features.

    Args:
        values: (n, d) features that saw no label.
        widths: columns of each block, adding up to d; every block weighs the same.
        seed: of the projection of many films.
        sources: n names; given, each feature is centred and scaled inside each source, so that the site does not speak.

    Returns:
        (n, r) float64 with mean squared length 1, r at most n or 2,048.

    Raises:
        CxrError: widths that do not add up, or values that are not finite.
    """
    n, d = values.shape
    if sum(widths) != d:
        raise CxrError(f"Blocks of {sum(widths)} columns do not make up {d} features: extract the features again.")
    if not np.isfinite(values).all():
        raise CxrError("The features of the label audit hold values that are no numbers: extract them again.")
    if n == 0:
        return np.zeros((0, 0))
    parts = [np.arange(n)] if sources is None else [np.flatnonzero(sources == name) for name in np.unique(sources)]
    random = np.random.default_rng(seed)
    gram = np.zeros((n, n)) if n <= _EXACT else None
    shadow = np.zeros((n, _PROJECTED)) if gram is None else None
    start = 0
    for width in widths:
        block = np.array(values[:, start : start + width], np.float64)
        start += width
        for part in parts:
            block[part] = _standardised(block[part])
        block /= np.sqrt(max(1, width))
        if gram is not None:
            gram += block @ block.T
        else:
            assert shadow is not None
            shadow += block @ random.standard_normal((width, _PROJECTED)) / np.sqrt(_PROJECTED)
    space = _root(gram) if gram is not None else shadow
    assert space is not None
    length = np.sqrt(np.square(space).sum(axis=1).mean())
    return space / length if length > 0 else space


def _standardised(block: Floats) -> Floats:
    """Mean 0, standard deviation 1 in each column; a column without spread becomes 0."""
    centred = block - block.mean(axis=0)
    spread = centred.std(axis=0)
    floor = 1e-9 * (1 + np.abs(block).max(axis=0, initial=0.0))  # rounding of a constant column is no spread
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > floor)


def _root(gram: Floats) -> Floats:
    """Coordinates whose inner products are ``gram``, (n, r), largest first; signs made the same on every machine."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > values.max() * 1e-10 if len(values) and values.max() > 0 else np.zeros(len(values), bool)
    vectors = vectors[:, kept][:, ::-1]
    if vectors.shape[1] == 0:
        return np.zeros((len(gram), 1))
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    coordinates: Floats = vectors * np.sqrt(values[kept][::-1])
    return coordinates
