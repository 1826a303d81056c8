"""Pictures of the review queue: the film that is kept, and the heat map laid over it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.imaging.preprocess import content_box

__all__ = ["decode_grey", "encode_png", "film_part", "heat_colours", "preview"]

_LEVEL = 1  # of zlib: 10% larger than the default of 6 in a fifth of the time, measured on three chest films


def preview(grey: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """The film with its longest side at ``side`` pixels or fewer; never enlarged.

    Args:
        grey: (height, width) uint8.
        side: pixels.
    """
    height, width = grey.shape
    if max(height, width) <= side:
        return grey
    box = content_box(width, height, side)
    shape = (box.right - box.left, box.bottom - box.top)
    return np.asarray(cv2.resize(grey, shape, interpolation=cv2.INTER_AREA), np.uint8)


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """PNG of (height, width) grey, or of (height, width, 4) red, green, blue, opacity; uint8."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA) if pixels.ndim == 3 else pixels
    _, encoded = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL])
    return encoded.tobytes()


def decode_grey(png: bytes) -> npt.NDArray[np.uint8]:
    """(height, width) uint8 of a PNG that :func:`encode_png` made."""
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def film_part(heat: npt.NDArray[np.float32], film: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The part of a frame's heat map that lies on the film, without the frame's black border.

    Args:
        heat: (size, size) float32.
        film: (height, width) uint8; only its shape is used.

    Returns:
        (rows, columns) float32 with the film's proportions: stretched over the film it lies where it belongs.
    """
    height, width = film.shape
    box = content_box(width, height, heat.shape[0])
    return heat[box.top : box.bottom, box.left : box.right]


def heat_colours(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colours of a heat map to be laid over a film.

    Args:
        heat: (rows, columns) float32, 0-1.

    Returns:
        (rows, columns, 4) uint8 red, green, blue, opacity: from yellow to red, and the less opaque the smaller.
    """
    strength = np.clip(np.rint(heat * 255), 0, 255).astype(np.uint8)
    full = np.full_like(strength, 255)
    return np.dstack([full, 255 - strength, np.zeros_like(strength), strength])
