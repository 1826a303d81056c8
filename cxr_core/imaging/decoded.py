"""A decoded film, and what every decoder does with sizes, colours and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from cxr_core.errors import ImageRejected
from cxr_core.settings_sections import QualitySettings

__all__ = [
    "DecodedImage",
    "Grey",
    "Header",
    "check_size",
    "colour_to_grey",
    "count_values",
    "look_up",
    "mean_and_deviation",
    "refuse_damage",
]

Grey = npt.NDArray[np.uint8]

_ROWS = 256  # looked up at once: numpy makes 64-bit indices of them, 8 MB at 4096 pixels a row
_TINT_SIDE = 64  # the tint is a property of large areas: measured on a reduced copy


@dataclass(frozen=True)
class Header:
    """What the file says of itself before decoding.

    Attributes:
        format: ``JPEG``, ``PNG`` or ``DICOM``, by content.
        mode: Pillow mode, for example ``L``, ``RGB``, ``I;16``; the photometric interpretation of DICOM.
        width, height: pixels as stored, before any rotation.
        orientation: EXIF orientation, 1-8; 1 when absent.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int


@dataclass(frozen=True)
class DecodedImage:
    """A film in 8-bit grey.

    Attributes:
        grey: (height, width) uint8, upright, 0 black - 255 white.
        header: the file's header.
        tint: mean spread between the largest and smallest colour channel, 0-255; 0 for grey files.
        bit_depth: bits a pixel that the grey came from (8-16).
        notes: codes of advice that the file itself gives, see :mod:`cxr_core.imaging.advice`.
    """

    grey: Grey
    header: Header
    tint: float
    bit_depth: int
    notes: tuple[str, ...] = ()


def check_size(header: Header, limits: QualitySettings) -> None:
    """Refuse sizes that no film has, before a pixel is decoded.

    Raises:
        ImageRejected: ``too_large`` or ``too_small``.
    """
    short, long = sorted((header.width, header.height))
    if long > limits.max_side or header.width * header.height > limits.max_pixels:
        raise ImageRejected(
            "too_large",
            f"The header says {header.width} x {header.height} pixels, more than any film has: check the file.",
        )
    if short < limits.min_side:
        raise ImageRejected(
            "too_small",
            f"{header.width} x {header.height} pixels: the shortest side must be {limits.min_side} or more.",
        )


def colour_to_grey(image: Image.Image) -> tuple[Grey, float]:
    """ITU-R BT.601 luma (height, width) uint8 of an RGB image, and its tint."""
    small = cv2.resize(np.asarray(image), (_TINT_SIDE, _TINT_SIDE), interpolation=cv2.INTER_AREA)
    tint = float((small.max(axis=2).astype(np.int16) - small.min(axis=2)).mean())
    return np.asarray(image.convert("L")), tint


def look_up(table: Grey, values: npt.NDArray[np.uint16]) -> Grey:
    """Grey of each value by a table, some rows at a time.

    Args:
        table: (65536,) or (256,) uint8.
        values: (height, width) uint16, each a place in the table.
    """
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):
        grey[start : start + _ROWS] = table[values[start : start + _ROWS]]
    return grey


def count_values(values: npt.NDArray[np.uint16], size: int) -> npt.NDArray[np.int64]:
    """How often each value below ``size`` occurs, some rows at a time."""
    counts = np.zeros(size, np.int64)
    for start in range(0, len(values), _ROWS):
        counts += np.bincount(values[start : start + _ROWS].reshape(-1), minlength=size)
    return counts


def mean_and_deviation(grey: Grey) -> tuple[float, float]:
    """Mean and standard deviation of the grey, 0-255; OpenCV makes no floating-point copy of the film."""
    mean, deviation = cv2.meanStdDev(grey)
    return float(mean[0, 0]), float(deviation[0, 0])


@contextmanager
def refuse_damage(code: str, reason: str) -> Iterator[None]:
    """Turn whatever a library raises over a file's bytes into a refusal.

    Pillow's plug-ins raise what they come across: OSError, SyntaxError, ValueError, struct.error, KeyError, TypeError,
    ZeroDivisionError, RecursionError and more have been seen. Only a call into a library belongs in the block.

    Raises:
        ImageRejected: with ``code`` and ``reason``; ``too_large`` where the memory did not suffice.
    """
    try:
        yield
    except ImageRejected:
        raise
    except MemoryError as error:
        raise ImageRejected("too_large", "The film needs more memory than there is: check the file.") from error
    except Exception as error:
        raise ImageRejected(code, reason) from error
