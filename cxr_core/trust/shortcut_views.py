"""What a classifier may look at without seeing lungs: file metadata, grey levels, the border, the film with its lungs
blanked (TRAPS 1, 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.frames import Frames
from cxr_core.imaging.preprocess import Box, content_box

__all__ = [
    "BLANK",
    "GRID",
    "INTENSITY",
    "VIEWS",
    "LungRegion",
    "View",
    "blank_lungs",
    "border_cells",
    "film_boxes",
    "in_batches",
    "intensity_features",
    "lung_ellipses",
    "metadata_features",
    "reduced",
]

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]
LungRegion = Callable[[Pixels, Sequence[Box]], Masks]

INTENSITY: tuple[str, ...] = ("mean", "std", "p01", "p50", "p99", "dark_share", "bright_share")
GRID = 28  # cells a side that frames are reduced to: 8 pixels of 224 each, finer than a film marker
BLANK = 0  # grey level of what is blanked: that of the frame's own padding
_RING, _CORNER = 2, 4  # cells: 7 % of the side; 14 %, where markers, text and collimation lie
_BATCH = 256  # frames in memory at once: 13 MB at 224 px

# Two upright ovals in shares of the film's height and width: centre x, centre y, half width, half height. They hold
# 99.9 % of the lung pixels of 540 phantom films and 99.8 % of their lesion pixels; |x|^p + |y|^p <= 1 with p above 2
# fills the costophrenic angles, which a plain ellipse leaves out.
_OVALS = ((0.30, 0.50, 0.24, 0.46), (0.71, 0.50, 0.25, 0.46))
_POWER = 3.0


@dataclass(frozen=True)
class View:
    """One way of looking at a film.

    Attributes:
        name: stable machine name.
        title: what the classifier sees, as a figure says it.
        lung_free: whether nothing of it comes from the lungs, so that it counts for the verdict.
    """

    name: str
    title: str
    lung_free: bool


VIEWS: tuple[View, ...] = (
    View("metadata", "width, height, bytes, aspect, format", True),
    View("intensity", "global grey levels", False),  # lungs and lesions are part of every mean
    View("marks", "white boxes, markers, tint, black borders", True),
    View("border", "ring and corners of the frame", True),
    View("blanked", "the film with its lungs blanked", True),
    View("blanked_pretrained", "pretrained features of blanked films", True),
    View("pretrained", "pretrained features of whole films", False),
)


def metadata_features(index: pd.DataFrame) -> Floats:
    """What a file tells before a pixel is read, (n, 4 + formats): width, height, bytes, aspect, one column a format.

    Args:
        index: columns width, height, bytes, format; pixels and bytes > 0.
    """
    width, height, size = (index[name].to_numpy(np.float64) for name in ("width", "height", "bytes"))
    formats = index["format"].fillna("").astype(str).to_numpy()
    flags = [(formats == name).astype(np.float64) for name in sorted(set(formats))]
    return np.column_stack([width, height, size, width / height, *flags])


def intensity_features(index: pd.DataFrame) -> Floats:
    """The columns :data:`INTENSITY` of the image index, (n, 7): grey levels 0-255 and shares 0-1 of the native film."""
    return index[list(INTENSITY)].to_numpy(np.float64)


def film_boxes(index: pd.DataFrame, side: int) -> list[Box]:
    """Where each film lies in its frame of ``side`` pixels; columns width, height."""
    sizes = zip(index["width"].astype(int), index["height"].astype(int), strict=True)
    return [content_box(width, height, side) for width, height in sizes]


def lung_ellipses(frames: Pixels, boxes: Sequence[Box]) -> Masks:
    """A generous fixed region of the lungs: the same two ovals on every film, so that its shape tells nothing.

    Args:
        frames: (n, side, side) uint8; only their shape counts.
        boxes: n places of the films in their frames.

    Returns:
        (n, side, side) bool, true where lungs may lie.
    """
    masks = np.zeros(frames.shape, np.bool_)
    known: dict[Box, Masks] = {}
    for mask, box in zip(masks, boxes, strict=True):
        if box not in known:
            known[box] = _ovals(box.bottom - box.top, box.right - box.left)
        mask[box.top : box.bottom, box.left : box.right] = known[box]
    return masks


def blank_lungs(frames: Pixels, boxes: Sequence[Box], region: LungRegion = lung_ellipses) -> Pixels:
    """Frames with the lungs painted over.

    Args:
        frames: (n, side, side) uint8.
        boxes: n places of the films in their frames.
        region: tells from frames and boxes where lungs may lie, (n, side, side) bool; a region that follows the film's
            own pixels may tell of disease by its outline.

    Returns:
        A copy, (n, side, side) uint8, with :data:`BLANK` inside the region.
    """
    return np.where(region(frames, boxes), np.uint8(BLANK), frames)


def reduced(frames: Pixels, grid: int = GRID) -> Floats:
    """Mean grey of each cell, (n, grid * grid), 0-255."""
    cells = [cv2.resize(frame, (grid, grid), interpolation=cv2.INTER_AREA) for frame in frames.astype(np.float32)]
    return np.asarray(cells, np.float64).reshape(len(frames), grid * grid)


def border_cells(grid: int = GRID) -> Masks:
    """Cells of the border view, (grid * grid,) bool: a ring and four corners, less what the lung region touches."""
    kept = np.zeros((grid, grid), np.bool_)
    kept[:_RING], kept[-_RING:], kept[:, :_RING], kept[:, -_RING:] = True, True, True, True
    for rows in (slice(_CORNER), slice(-_CORNER, None)):
        for columns in (slice(_CORNER), slice(-_CORNER, None)):
            kept[rows, columns] = True
    side = grid * 8
    lungs = lung_ellipses(np.zeros((1, side, side), np.uint8), [Box(0, side, 0, side)])
    return (kept.ravel() & (reduced(lungs.astype(np.uint8) * 255, grid)[0] == 0)).astype(np.bool_)


def in_batches(frames: Frames, boxes: Sequence[Box]) -> Iterator[tuple[Pixels, Sequence[Box]]]:
    """The frames with their boxes, some hundred at a time."""
    for start in range(0, len(frames), _BATCH):
        stop = min(start + _BATCH, len(frames))
        yield frames.take(np.arange(start, stop)), boxes[start:stop]


def _ovals(height: int, width: int) -> Masks:
    y = ((np.arange(height) + 0.5) / height)[:, None]
    x = ((np.arange(width) + 0.5) / width)[None, :]
    found = np.zeros((height, width), np.bool_)
    for cx, cy, rx, ry in _OVALS:
        found |= np.abs((x - cx) / rx) ** _POWER + np.abs((y - cy) / ry) ** _POWER <= 1
    return found
