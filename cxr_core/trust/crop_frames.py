"""Frames whose film lies off centre, or whose outer part is cut off: framing as another radiographer might choose it.

They act on the canonical frame, so that nothing is decoded again and severity does not depend on the size of the file
(TRAPS 12). What a shift uncovers is black, as padding is; a crop keeps the film's own place and shape in the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.robustness.corruptions import film_box
from cxr_core.settings_trust import SubgroupSettings

__all__ = ["DIRECTIONS", "FramedFrames", "Framing", "direction_of", "framings"]

Pixels = npt.NDArray[np.uint8]

# Right and down, as signs of the two axes: one of the four for each film, drawn by its key.
DIRECTIONS: dict[str, tuple[int, int]] = {
    "right and down": (1, 1),
    "right and up": (1, -1),
    "left and down": (-1, 1),
    "left and up": (-1, -1),
}


@dataclass(frozen=True)
class Framing:
    """One way to frame the films.

    Attributes:
        name: for a person.
        shift: share of the frame's side by which the film moves along both axes, in its direction.
        keep: share of each side of the film that a crop keeps.
        off_centre: whether the crop lies in the corner of the film's direction and not in its middle.

    Raises:
        CxrError: a share that makes no sense.
    """

    name: str
    shift: float = 0.0
    keep: float = 1.0
    off_centre: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.shift < 1 and 0 < self.keep <= 1):
            raise CxrError(
                f"Framing {self.name!r} leaves no film: give a shift from 0 to below 1 and keep above 0 to 1."
            )


def framings(settings: SubgroupSettings) -> tuple[Framing, ...]:
    """The framings of the settings: each shift, each crop in the middle, each crop off centre."""
    moved = [Framing(f"shifted by {shift:.0%}", shift=shift) for shift in settings.shifts]
    middle = [Framing(f"middle {keep:.0%}", keep=keep) for keep in settings.crops]
    corner = [Framing(f"off-centre {keep:.0%}", keep=keep, off_centre=True) for keep in settings.crops]
    return (*moved, *middle, *corner)


def direction_of(key: str, seed: int) -> str:
    """Name in :data:`DIRECTIONS` in which a film moves: the same for every framing, batch and model."""
    names = list(DIRECTIONS)
    return names[sha256(f"{seed}/direction/{key}".encode()).digest()[0] % len(names)]


@dataclass(frozen=True)
class FramedFrames:
    """Other frames, framed as they are taken; see :class:`cxr_core.dataset.frames.Frames`.

    Attributes:
        base: n canonical frames.
        keys: n image keys.
        framing: how.
        seed: of the directions.
    """

    base: Frames
    keys: Sequence[str]
    framing: Framing
    seed: int

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""
        return self.base.side

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: npt.NDArray[np.intp]) -> Pixels:
        """Framed copies of the given rows."""
        frames = self.base.take(rows)
        for place, row in enumerate(rows):
            signs = DIRECTIONS[direction_of(self.keys[int(row)], self.seed)]
            frames[place] = _framed(frames[place], self.framing, signs)
        return frames


def _framed(frame: Pixels, framing: Framing, signs: tuple[int, int]) -> Pixels:
    if framing.keep < 1:
        frame = _cropped(frame, framing.keep, signs if framing.off_centre else (0, 0))
    steps = [round(framing.shift * frame.shape[0]) * sign for sign in signs]
    return _shifted(frame, *steps) if any(steps) else frame


def _cropped(frame: Pixels, keep: float, signs: tuple[int, int]) -> Pixels:
    """The part of the film that ``keep`` leaves, towards ``signs``, enlarged to the film's own place."""
    box = film_box(frame)
    film = frame[box]
    height, width = film.shape
    tall, wide = max(1, round(height * keep)), max(1, round(width * keep))
    left, top = (
        (size - kept) * (1 + sign) // 2 for size, kept, sign in zip((width, height), (wide, tall), signs, strict=True)
    )
    part = np.ascontiguousarray(film[top : top + tall, left : left + wide])
    result = frame.copy()
    result[box] = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
    return result


def _shifted(frame: Pixels, right: int, down: int) -> Pixels:
    """The whole frame moved by pixels; what leaves it is lost, what is uncovered is black."""
    side = frame.shape[0]
    result = np.zeros_like(frame)
    to_y, to_x = (slice(max(0, step), side + min(0, step)) for step in (down, right))
    from_y, from_x = (slice(max(0, -step), side + min(0, -step)) for step in (down, right))
    result[to_y, to_x] = frame[from_y, from_x]
    return result
