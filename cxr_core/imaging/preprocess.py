"""The one preprocessing, shared by training, evaluation, robustness and serving (TRAPS 8).

``frame`` turns a grey film into the canonical square frame; ``tensor`` turns frames into network input. Both are
covered by one digest, which travels with the model: a service whose preprocessing differs refuses to load it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.digests import digest_json
from cxr_core.errors import CxrError
from cxr_core.settings_sections import PreprocessingSettings

__all__ = ["Box", "Preprocessing", "content_box", "reference_film"]

_ALGORITHM = 1  # raise it whenever the same parameters would give other pixels
_REFERENCE_TOLERANCE = 2  # grey levels: vector units of other processors round differently by one


@dataclass(frozen=True)
class Box:
    """Where the film lies inside its frame, pixels: rows ``top:bottom``, columns ``left:right``."""

    top: int
    bottom: int
    left: int
    right: int


def content_box(width: int, height: int, size: int) -> Box:
    """Place of a ``width`` x ``height`` film in a ``size`` frame: longest side fitted, centred."""
    scale = size / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    top, left = (size - h) // 2, (size - w) // 2
    return Box(top, top + h, left, left + w)


@dataclass(frozen=True)
class Preprocessing:
    """Parameters of the preprocessing; report 2.4.

    Attributes:
        size: side of the frame, pixels.
        clahe: whether films are equalised before resizing.
        clahe_clip_limit, clahe_tiles: OpenCV's CLAHE parameters.
        mean, std: normalisation of each channel, on the 0-1 scale; those the backbone was trained with.
    """

    size: int
    clahe: bool
    clahe_clip_limit: float
    clahe_tiles: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_settings(
        cls, settings: PreprocessingSettings, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> Preprocessing:
        """Join the settings with a backbone's normalisation."""
        return cls(settings.size, settings.clahe, settings.clahe_clip_limit, settings.clahe_tiles, mean, std)

    @cached_property
    def frame_digest(self) -> str:
        """Digest of what decides a frame's pixels: the key of the pixel cache."""
        return digest_json([_ALGORITHM, self.size, self.clahe, self.clahe_clip_limit, self.clahe_tiles])

    @cached_property
    def digest(self) -> str:
        """Digest of the whole preprocessing: the key that a model package carries."""
        return digest_json({"algorithm": _ALGORITHM, **asdict(self)})

    def frame(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Canonical frame of one film.

        Args:
            grey: (height, width) uint8, 0-255.

        Returns:
            (size, size) uint8: the film with its longest side at ``size``, centred on black. Reduced by area
            averaging, enlarged linearly.
        """
        if self.clahe:
            tiles = (self.clahe_tiles, self.clahe_tiles)
            grey = cv2.createCLAHE(clipLimit=self.clahe_clip_limit, tileGridSize=tiles).apply(grey)
        height, width = grey.shape
        box = content_box(width, height, self.size)
        shape = (box.right - box.left, box.bottom - box.top)
        shrinks = max(height, width) > self.size
        resized = cv2.resize(grey, shape, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        frame = np.zeros((self.size, self.size), np.uint8)
        frame[box.top : box.bottom, box.left : box.right] = resized
        return frame

    def tensor(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Network input of a batch of frames.

        Args:
            frames: (n, side, side) uint8; ``side`` is ``size``, or smaller where a proxy trains on reduced frames.

        Returns:
            (n, 3, side, side) float32: grey / 255 repeated over three channels, then (x - mean) / std.
        """
        scaled = frames.astype(np.float32)[:, None] / np.float32(255)
        mean = np.asarray(self.mean, np.float32)[None, :, None, None]
        std = np.asarray(self.std, np.float32)[None, :, None, None]
        return np.ascontiguousarray((scaled - mean) / std)

    def check_reference(self, expected: npt.NDArray[np.uint8]) -> None:
        """Refuse when this machine turns :func:`reference_film` into other pixels than ``expected``.

        Raises:
            CxrError: a pixel differs by more than 2 grey levels.
        """
        frame = self.frame(reference_film())
        if frame.shape != expected.shape or np.abs(frame.astype(int) - expected).max() > _REFERENCE_TOLERANCE:
            raise CxrError(
                "Preprocessing gives other pixels here than where the model was trained: install requirements.lock."
            )


def reference_film() -> npt.NDArray[np.uint8]:
    """A fixed (300, 411) uint8 test pattern with ramps, edges and fine texture."""
    y, x = np.mgrid[0:300, 0:411]
    return ((x * 255 // 410 + (y // 37 % 2) * 60 + (x * y) % 23) % 256).astype(np.uint8)
