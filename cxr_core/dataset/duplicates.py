"""Near-duplicates: re-encoded, resized or slightly brightened copies of one film (TRAPS 3).

Two films are copies when their 64 x 64 high-pass thumbnails correlate above .98. All pairs are first compared at
16 x 16, block by block, so that only candidates pay for the full comparison.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr_core.dataset.frames import Frames
from cxr_core.progress import Log, progress
from cxr_core.settings_sections import DuplicateSettings

__all__ = ["connected_groups", "find_near_duplicates", "high_pass"]

_SIGMA = 4.0  # of the blur that is subtracted, pixels at 64: removes what all chests share
_COARSE = 16  # side of the candidate test


def high_pass(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Unit-length high-pass descriptors.

    Args:
        thumbnails: (n, 64, 64) uint8.

    Returns:
        (n, 64, 64) float32 with mean 0 and norm 1 each, so that a product sum is a correlation; all zeros for a
        thumbnail without any detail.
    """
    out = np.empty(thumbnails.shape, np.float32)
    for row, thumbnail in enumerate(thumbnails):
        grey = thumbnail.astype(np.float32)
        out[row] = grey - cv2.GaussianBlur(grey, (0, 0), _SIGMA)
    return _unit(out)


def find_near_duplicates(thumbnails: Frames, settings: DuplicateSettings, log: Log | None = None) -> pd.DataFrame:
    """All pairs of films that are copies of one another.

    Args:
        thumbnails: n thumbnails of 64 x 64.
        settings: thresholds and block size.
        log: where progress lines go.

    Returns:
        Columns a, b (row numbers, a < b) and correlation; sorted by a, b.
    """
    count = len(thumbnails)
    coarse = np.empty((count, _COARSE * _COARSE), np.float32)
    for start in range(0, count, settings.block):
        rows = np.arange(start, min(start + settings.block, count))
        coarse[rows] = _coarsen(high_pass(thumbnails.take(rows)))
    found: list[tuple[int, int, float]] = []
    starts = range(0, count, settings.block)
    with progress(count, "comparing films", "films", log) as advance:
        for start in starts:
            block = coarse[start : start + settings.block]
            for other in range(start, count, settings.block):
                close = block @ coarse[other : other + settings.block].T > settings.candidate_correlation
                a, b = np.nonzero(close)
                a, b = a + start, b + other
                keep = a < b
                found.extend(_confirm(thumbnails, a[keep], b[keep], settings))
            advance(len(block))
    return pd.DataFrame(found, columns=["a", "b", "correlation"]).sort_values(["a", "b"], ignore_index=True)


def _confirm(
    thumbnails: Frames, a: npt.NDArray[np.intp], b: npt.NDArray[np.intp], settings: DuplicateSettings
) -> list[tuple[int, int, float]]:
    found = []
    for start in range(0, len(a), settings.block):
        left, right = a[start : start + settings.block], b[start : start + settings.block]
        films, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        detail = high_pass(thumbnails.take(films)).reshape(len(films), -1)
        correlation = np.einsum("nd,nd->n", detail[places[: len(left)]], detail[places[len(left) :]])
        hit = correlation > settings.correlation
        found += [(int(i), int(j), float(r)) for i, j, r in zip(left[hit], right[hit], correlation[hit], strict=True)]
    return found


def connected_groups(count: int, pairs: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Connected component of each of ``count`` items, numbered, given (m, 2) pairs of items that belong together."""
    if count == 0:
        return np.zeros(0, np.intp)
    pairs = pairs.reshape(-1, 2)
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.intp)


def _coarsen(detail: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    step = detail.shape[1] // _COARSE
    small = detail.reshape(len(detail), _COARSE, step, _COARSE, step).mean(axis=(2, 4))
    return _unit(small).reshape(len(detail), -1)


def _unit(detail: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = detail - detail.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((centred.astype(np.float64) ** 2).sum(axis=(1, 2), keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(norm > 1e-3, centred / norm, 0.0)  # below it: a blank thumbnail, nothing to compare
    return scaled.astype(np.float32)
