"""Deletion and insertion: does the answer fall when what the map marks is taken away, and come when it is given?

Petsiuk, Das and Saenko, RISE, BMVC 2018, section 3.3: pixels are replaced in the order of the map, and the area under
the curve of the explained class's probability tells how well the map orders them. A good map has a small area under
deletion and a large one under insertion. Petsiuk's films are photographs, blurred by 5 pixels for insertion, which
leaves a consolidation as it was; here the blur is wide enough to take opacities away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.robustness.corruptions import film_box

__all__ = ["MODES", "Scorer", "Veils", "area_under", "replacement_curves", "score_ends", "veils"]

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Scorer = Callable[[Pixels, npt.NDArray[np.int64]], Floats]  # frames (n, s, s), classes (n,) -> score of that class (n,)

MODES = ("deletion", "insertion")
_BATCH = 64  # frames scored at once


@dataclass(frozen=True)
class Veils:
    """What pixels are replaced by.

    Attributes:
        grey: (n, side, side) uint8: the film's mean grey, its padding kept; deletion ends there.
        blurred: (n, side, side) uint8: the film out of focus; insertion begins there.
    """

    grey: Pixels
    blurred: Pixels

    def ends(self, mode: str, frames: Pixels) -> tuple[Pixels, Pixels]:
        """First and last frames of a mode of :data:`MODES`."""
        if mode not in MODES:
            raise CxrError(f"There is no mode {mode!r}: choose deletion or insertion.")
        return (frames, self.grey) if mode == "deletion" else (self.blurred, frames)


def veils(frames: Pixels, blur: float) -> Veils:
    """Grey and blurred versions of frames; the black padding stays as it is in both.

    Args:
        frames: (n, side, side) uint8.
        blur: standard deviation of the blur, share of the side.
    """
    grey, blurred = frames.copy(), frames.copy()
    for row, frame in enumerate(frames):
        box = film_box(frame)
        film = frame[box]
        if film.size:
            grey[row][box] = np.rint(film.mean())
            blurred[row][box] = cv2.GaussianBlur(film, (0, 0), blur * len(frame))
    return Veils(grey, blurred)


def replacement_curves(
    score: Scorer,
    start: Pixels,
    end: Pixels,
    maps: Maps,
    ties: Maps,
    classes: npt.NDArray[np.int64],
    steps: int,
    ends: Floats | None = None,
    batch_size: int = _BATCH,
) -> Floats:
    """Scores while the start frames turn into the end frames in the order of the maps.

    Args:
        score: tells the explained class's score of frames, in batches.
        start, end: (n, side, side) uint8.
        maps: (n, side, side) float32.
        ties: (n, side, side) float32, decides among pixels of equal value, so that a map which is zero over half of
            the film does not take it away from top to bottom.
        classes: (n,) explained classes.
        steps: replacements, >= 1; as many shares of pixels, equally far apart.
        ends: (n, 2) scores of the start and end frames, where they are known already.
        batch_size: frames scored at once.

    Returns:
        (n, steps + 1) float64: nothing replaced first, all replaced last.
    """
    if steps < 1:
        raise CxrError(f"{steps} steps replace nothing: set faithfulness.steps to 1 or more.")
    classes = np.asarray(classes, np.int64)
    curves = np.empty((len(start), steps + 1), np.float64)
    curves[:, [0, -1]] = score_ends(score, start, end, classes, batch_size) if ends is None else ends
    between = steps - 1
    repeated = np.repeat(classes, between)
    flat = np.empty(len(repeated), np.float64)
    held: list[Pixels] = []
    done = 0
    for frame in _painted(start, end, maps, ties, steps):
        held.append(frame)
        if len(held) == batch_size or done + len(held) == len(flat):
            rows = slice(done, done + len(held))
            flat[rows] = score(np.stack(held), repeated[rows])
            done += len(held)
            held = []
    curves[:, 1:-1] = flat.reshape(len(start), between)
    return curves


def score_ends(
    score: Scorer, start: Pixels, end: Pixels, classes: npt.NDArray[np.int64], batch_size: int = _BATCH
) -> Floats:
    """Scores of the start and end frames, (n, 2) float64: the same for every map, so that they are needed once."""
    found = np.empty((len(start), 2), np.float64)
    for column, frames in enumerate((start, end)):
        for first in range(0, len(frames), batch_size):
            rows = slice(first, first + batch_size)
            found[rows, column] = score(frames[rows], classes[rows])
    return found


def area_under(curves: Floats) -> Floats:
    """Area under curves over the share of pixels replaced, by the trapezoid rule; (n, points) to (n,)."""
    return np.asarray((curves[:, 1:] + curves[:, :-1]).sum(axis=1) / 2 / (curves.shape[1] - 1), np.float64)


def _painted(start: Pixels, end: Pixels, maps: Maps, ties: Maps, steps: int) -> Iterator[Pixels]:
    for first, last, values, tie in zip(start, end, maps, ties, strict=True):
        order = np.lexsort((-tie.ravel(), -values.ravel()))
        for step in range(1, steps):
            yield _replaced(first, last, order, step / steps)


def _replaced(start: Pixels, end: Pixels, order: npt.NDArray[np.intp], share: float) -> Pixels:
    painted = start.copy().ravel()
    chosen = order[: round(share * len(order))]
    painted[chosen] = end.ravel()[chosen]
    return painted.reshape(start.shape)
