"""Corruptions of detail: focus, movement, coarse detectors, lossy files."""

from __future__ import annotations

from math import ceil, cos, pi, sin

import cv2
import numpy as np

from cxr_core.errors import CxrError
from cxr_core.robustness.corruption_entry import RANGE, Corruption, Film, Registry

__all__ = ["BLUR", "line_kernel"]

_SAMPLES = 8  # points a pixel of a line: n points fall short of an even line's variance by 1 / n²
_LONGEST = 100  # pixels: half of a frame of 224
_LOSSLESS = 100  # JPEG quality that stands for no compression


def _gaussian_blur(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Gaussian blur with OpenCV's kernel of ``amount`` pixels: binomial (1 2 1) / 4 for 3, (1 4 6 4 1) / 16 for 5."""
    side = int(amount)
    return cv2.GaussianBlur(film, (side, side), 0)


def line_kernel(length: float, direction: float) -> Film:
    """What a point becomes that moves evenly along a line during the exposure.

    Args:
        length: of the line, pixels, >= 0.
        direction: of the line, radians from the rows' direction.

    Returns:
        (side, side) float32 of odd side, sum 1, symmetric about the centre; along the line its variance is that of a
        uniform line, length² / 12, and points between pixels are shared linearly among their four neighbours.
    """
    count = max(1, ceil(length * _SAMPLES))
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    radius = ceil(length / 2)
    side = 2 * radius + 1
    x, y = along * cos(direction) + radius, along * sin(direction) + radius
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    kernel = np.zeros((side + 1, side + 1))  # the row and the column beyond take shares of nothing
    for down, right in np.ndindex(2, 2):
        share = np.abs(1 - right - (x - left)) * np.abs(1 - down - (y - top))
        np.add.at(kernel, (top + down, left + right), share / count)
    return kernel[:side, :side].astype(np.float32)


def _motion_blur(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Even movement over ``amount`` pixels in a direction drawn for the image."""
    return cv2.filter2D(film, -1, line_kernel(amount, rng.uniform(0, pi)))


def _downscale(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Reduce both sides to ``amount`` of themselves by area averaging and enlarge again linearly."""
    height, width = film.shape
    small = (max(1, round(width * amount)), max(1, round(height * amount)))
    reduced = cv2.resize(film, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)


def _jpeg(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Write the film as a baseline JPEG of quality ``amount`` and read it again."""
    pixels = np.clip(np.rint(film), 0, RANGE).astype(np.uint8)
    written, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(amount)])
    if not written:
        raise CxrError(f"OpenCV could not write a film of shape {film.shape} as JPEG: check its size.")
    read = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    if read is None:
        raise CxrError(f"OpenCV could not read its own JPEG of quality {amount:g}: check the installation of OpenCV.")
    return read.astype(np.float32)


BLUR: Registry = {
    "gaussian_blur": Corruption(
        act=_gaussian_blur,
        nothing=1.0,
        valid=lambda a: a >= 1 and a % 2 == 1,
        demand="an odd number of pixels",
        title="Gaussian blur",
        unit="kernel, pixels",
        severities=(3, 5, 11, 17, 25),
        source="Report 5.1 (clinical) at 1, as no kernel is smaller; severe at 2; from there on sigma 2, 2.9 and 4.1, "
        "where ImageNet-C's severities 2 to 4 have 2, 3 and 4.",
    ),
    "motion_blur": Corruption(
        act=_motion_blur,
        nothing=0.0,
        valid=lambda a: 0 <= a <= _LONGEST,
        demand=f"a length from 0 to {_LONGEST} pixels",
        title="Motion blur",
        unit="length, pixels",
        severities=(2, 4, 7, 10, 15),
        source="On a film 430 mm long and 224 pixels high 4, 8, 13, 19 (a quiet breath at the diaphragm is 15 to 20), "
        "29 mm; 15 pixels is ImageNet-C's radius at 2 to 4.",
    ),
    "downscale": Corruption(
        act=_downscale,
        nothing=1.0,
        valid=lambda a: 0 < a <= 1,
        demand="a factor above 0 up to 1",
        title="Downscale",
        unit="factor",
        severities=(0.9, 0.75, 0.6, 0.4, 0.25),
        source="Report 5.1 (clinical) at 2; ImageNet-C's pixelate 1, 3 and 5 at 3 to 5.",
    ),
    "jpeg": Corruption(
        act=_jpeg,
        nothing=float(_LOSSLESS),
        valid=lambda a: 1 <= a <= _LOSSLESS and a == int(a),
        demand=f"a whole quality from 1 to {_LOSSLESS} (none)",
        title="JPEG",
        unit="quality",
        severities=(25, 18, 15, 10, 7),
        source="ImageNet-C's five qualities.",
    ),
}
