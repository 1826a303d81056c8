"""Maps that know nothing of the network: what a heat map has to be better than."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.digests import digest_json

__all__ = ["BLANK", "blank_maps", "centre_map", "random_maps", "scaled"]

Maps = npt.NDArray[np.float32]

BLANK = "every map is blank"  # reason where no film has a map that can be judged
_GRID = 7  # cells a side: the grain of a map from a network that reduces 224 pixels to 7


def random_maps(keys: Sequence[str], side: int, seed: int, grid: int = _GRID) -> Maps:
    """Smooth random maps, one a key, the same for the same key and seed.

    Uniform noise on a coarse grid, enlarged as Grad-CAM's own map is. Noise of single pixels would be no fair rival: it
    takes a film to pieces everywhere at once, which no map of that grain does.

    Args:
        keys: n names, for example of films.
        side: pixels.
        seed: of the draws.
        grid: cells a side of the noise.

    Returns:
        (n, side, side) float32, each scaled to 0-1.
    """
    maps = np.empty((len(keys), side, side), np.float32)
    for row, key in enumerate(keys):
        rng = np.random.default_rng(int(digest_json([seed, key])[:16], 16))
        maps[row] = scaled(cv2.resize(rng.random((grid, grid), np.float32), (side, side)))
    return maps


def centre_map(side: int, width: float) -> Maps:
    """A Gaussian at the centre of the frame, (side, side) float32, 1 at its peak.

    Args:
        side: pixels.
        width: standard deviation, share of the side.
    """
    place = (np.arange(side) + 0.5) / side - 0.5
    one = np.exp(-0.5 * (place / width) ** 2)
    return scaled(np.outer(one, one).astype(np.float32))


def scaled(values: Maps) -> Maps:
    """A map scaled to 0-1 by its own range; all zero where it is flat."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) / (high - low) if high > low else np.zeros_like(values)).astype(np.float32)


def blank_maps(maps: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which maps say nothing: all zero, or with values that are no numbers; (n,) bool."""
    flat = maps.reshape(len(maps), -1)
    return np.asarray(~np.isfinite(flat).all(axis=1) | (flat <= 0).all(axis=1), np.bool_)
