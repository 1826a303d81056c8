"""Marks that are no part of a patient: white boxes, letters and markers, colour tint, black borders (TRAPS 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.imaging.preprocess import Box

__all__ = ["MARKS", "Mark", "film_marks", "mark_features", "marked"]

Pixels = npt.NDArray[np.uint8]

_WHITE = 250  # grey level from which a pixel may belong to a redaction box; JPEG leaves flat white above it
_BOX_SIDE = 0.03  # of the frame: the shortest side of a box that could hide a line of text
_BOX_FILL = 0.90  # of its bounding rectangle, less the corners that reduction rounds off
_INK = 130  # grey level from which a pixel may belong to a letter; thin strokes lose brightness when a film is reduced
_INK_CONTRAST = 40  # grey levels above the surroundings, by the white top-hat
_GLYPH = (0.02, 0.12)  # height or width of a letter in shares of the frame: lead markers are 2-5 cm on 43 cm
_GLYPH_FILL = 0.90  # of its bounding rectangle at most: a filled box is no letter
_GAP = 0.012  # of the frame: how far from a letter its surroundings are looked at
_ALONE = 30  # grey levels between a letter and the brightest of its surroundings
_SURROUNDINGS = 0.10  # of the frame: side of the top-hat's square, larger than any letter's stroke
_MARGIN = 0.22  # of the film, from each edge: where letters are looked for, as ribs and devices lie further in
_DARK = 10  # grey levels; as the image index's dark_share
_LINE = 0.98  # of a line's pixels that are dark in a black border; a marker may stand on it
_BORDER = 0.02  # of the film's side: a black border narrower than that is an edge of reduction


@dataclass(frozen=True)
class Mark:
    """One kind of mark.

    Attributes:
        name: column of the table of marks.
        title: as a figure says it.
    """

    name: str
    title: str


MARKS: tuple[Mark, ...] = (
    Mark("white_box", "white box"),
    Mark("letters", "letters, markers"),
    Mark("black_border", "black border"),
    Mark("tint", "colour tint"),
)


def film_marks(frame: Pixels, box: Box) -> dict[str, float]:
    """What is found on one film.

    Args:
        frame: (side, side) uint8 canonical frame, 0-255.
        box: where the film lies in it.

    Returns:
        ``white_boxes`` count and ``white_area`` share of the film; ``letters`` count of letter-like shapes near the
        edges; ``black_top``, ``black_bottom``, ``black_left``, ``black_right`` widths of black borders in shares of the
        film's height or width.
    """
    film = np.ascontiguousarray(frame[box.top : box.bottom, box.left : box.right])
    side = frame.shape[0]
    boxes, area = _white_boxes(film, side)
    top, bottom, left, right = _black_borders(film)
    return {
        "white_boxes": float(boxes),
        "white_area": area / film.size,
        "letters": float(_letters(film, side)),
        "black_top": top,
        "black_bottom": bottom,
        "black_left": left,
        "black_right": right,
    }


def marked(found: pd.DataFrame, tint: npt.NDArray[np.float64], tint_levels: float) -> pd.DataFrame:
    """Which films carry which mark, one bool column for each of :data:`MARKS`.

    Args:
        found: one row of :func:`film_marks` a film.
        tint: (n,) mean channel spread of the image index, grey levels.
        tint_levels: above it a film counts as tinted: the quality rule's own limit.
    """
    edges = found[["black_top", "black_bottom", "black_left", "black_right"]].to_numpy()
    return pd.DataFrame(
        {
            "white_box": found["white_boxes"].to_numpy() > 0,
            "letters": found["letters"].to_numpy() > 0,
            "black_border": (edges >= _BORDER).any(axis=1),
            "tint": np.asarray(tint, np.float64) > tint_levels,
        }
    )


def mark_features(found: pd.DataFrame, tint: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Everything about the marks as numbers, (n, 8): what a classifier of marks sees."""
    return np.column_stack([found.to_numpy(np.float64), np.asarray(tint, np.float64)])


def _white_boxes(film: Pixels, side: int) -> tuple[int, float]:
    least = max(3, round(_BOX_SIDE * side))
    count, area = 0, 0.0
    for _, _, width, height, pixels in _parts(film >= _WHITE):
        whole = width >= 0.9 * film.shape[1] and height >= 0.9 * film.shape[0]
        if min(width, height) >= least and pixels >= _BOX_FILL * width * height and not whole:
            count, area = count + 1, area + pixels
    return count, area


def _letters(film: Pixels, side: int) -> int:
    around = max(3, round(_SURROUNDINGS * side)) | 1
    top_hat = cv2.morphologyEx(film, cv2.MORPH_TOPHAT, np.ones((around, around), np.uint8))
    height, width = film.shape
    least, most, gap = max(3.0, _GLYPH[0] * side), _GLYPH[1] * side, max(1, round(_GAP * side))
    found = 0
    for left, top, wide, high, pixels in _parts((film >= _INK) & (top_hat >= _INK_CONTRAST)):
        x, y = (left + wide / 2) / width, (top + high / 2) / height
        near = min(x, 1 - x, y, 1 - y) <= _MARGIN
        sized = least <= max(wide, high) <= most and min(wide, high) >= 2 and pixels <= _GLYPH_FILL * wide * high
        found += near and sized and _stands_alone(film, left, top, wide, high, gap)
    return found


def _stands_alone(film: Pixels, left: int, top: int, wide: int, high: int, gap: int) -> bool:
    """Whether a frame of a few pixels around a shape is darker than it all the way: ribs and edges go on beyond it."""
    y0, x0 = max(0, top - gap), max(0, left - gap)
    near = film[y0 : top + high + gap, x0 : left + wide + gap].astype(np.float64)
    ring = np.ones(near.shape, np.bool_)
    ring[top - y0 : top - y0 + high, left - x0 : left - x0 + wide] = False
    inside = float(np.percentile(near[~ring], 90))
    return bool(ring.any() and inside - float(np.percentile(near[ring], 95)) >= _ALONE)


def _parts(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int, int]]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [tuple(int(value) for value in stats[part]) for part in range(1, count)]  # type: ignore[misc]


def _black_borders(film: Pixels) -> Sequence[float]:
    dark = film < _DARK
    rows, columns = dark.mean(axis=1) >= _LINE, dark.mean(axis=0) >= _LINE
    return [_run(rows), _run(rows[::-1]), _run(columns), _run(columns[::-1])]


def _run(lines: npt.NDArray[np.bool_]) -> float:
    """Share of the lines before the first that is not black."""
    return float(lines.argmin() if not lines.all() else len(lines)) / len(lines)
