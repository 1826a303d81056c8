"""Test-time measures: what is done to a frame before the trained model sees it (report 2.4, 5.5).

The shipped preprocessing stays as it is (TRAPS 8): these act on canonical frames, in the experiment alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.robustness.corruptions import film_box
from cxr_core.settings_stress import MitigationSettings

__all__ = ["Copy", "averaged", "copies_of", "copy_frames", "equalised"]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Copy:
    """One augmented copy of a frame: mirrored, then turned about its centre and moved.

    Attributes:
        flip: whether left and right change places.
        degrees: counter-clockwise.
        right, down: share of the side.
    """

    flip: bool = False
    degrees: float = 0.0
    right: float = 0.0
    down: float = 0.0

    @property
    def name(self) -> str:
        """What it is, in words."""
        said = ["mirrored"] if self.flip else []
        said += [f"turned by {self.degrees:+g} degrees"] if self.degrees else []
        said += [f"moved by {self.right:+.1%} and {self.down:+.1%} of the side"] if self.right or self.down else []
        return ", ".join(said) or "as it is"


def copies_of(settings: MitigationSettings) -> tuple[Copy, ...]:
    """The copies whose probabilities are averaged; the first is the frame as it is, and none comes twice."""
    found = [Copy(), Copy(flip=settings.flip)]
    found += [
        Copy(degrees=sign * settings.rotation_degrees, right=sign * settings.shift, down=sign * settings.shift)
        for sign in (1, -1)
    ]
    return tuple(dict.fromkeys(found))


def copy_frames(frames: Pixels, copy: Copy) -> Pixels:
    """Augmented copies of frames: linear interpolation, black beyond the edge, as in training.

    Args:
        frames: (n, side, side) uint8.
        copy: what is done.

    Returns:
        (n, side, side) uint8.
    """
    result = np.ascontiguousarray(frames[:, :, ::-1]) if copy.flip else frames.copy()
    if not (copy.degrees or copy.right or copy.down):
        return result
    side = frames.shape[1]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), copy.degrees, 1.0)
    matrix[:, 2] += (copy.right * side, copy.down * side)
    for row, frame in enumerate(result):
        result[row] = cv2.warpAffine(frame, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=0)
    return result


def averaged(
    frames: Pixels, copies: Sequence[Copy], predict: Callable[[Pixels], Floats], plain: Floats | None = None
) -> Floats:
    """Mean of the probabilities of all copies.

    Args:
        frames: (n, side, side) uint8.
        copies: one or more.
        predict: frames to calibrated probabilities (n, k).
        plain: what ``predict`` says of the frames as they are, where that is known already.

    Raises:
        CxrError: no copies.
    """
    if not copies:
        raise CxrError("No copies to average: give test-time augmentation one or more.")
    total: Floats | None = None
    for copy in copies:
        said = plain if copy == Copy() and plain is not None else predict(copy_frames(frames, copy))
        total = said if total is None else total + said
    assert total is not None  # there is a copy
    return total / len(copies)


def equalised(frames: Pixels, clip_limit: float, tiles: int) -> Pixels:
    """Frames whose films are equalised with limited contrast (CLAHE: Zuiderveld, Graphics Gems IV, 1994).

    The film alone is equalised, as in the preprocessing that report 2.4 calls optional; padding stays black.

    Args:
        frames: (n, side, side) uint8.
        clip_limit, tiles: OpenCV's parameters; report 2.4.
    """
    result = frames.copy()
    clahe = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    for frame in result:
        box = film_box(frame)
        frame[box] = clahe.apply(np.ascontiguousarray(frame[box]))
    return result
