"""The patient frame: the canvas on which the anatomy is drawn before it is projected onto a film.

Coordinates are patient coordinates in units of the film height: `x` runs from image left (the patient's right) to
image right with 0 on the midline, `y` runs downwards with 0 at the top and 1 at the bottom of a film taken at scale 1.
The canvas reaches beyond the film on every side so that shifted and rotated films have no empty corners.
"""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

PIXELS_PER_UNIT = 400  # ribs of .02 units are 8 pixels wide; finer grids cost time and vanish under film noise
X_LIMIT = 0.63  # half of the widest film at its smallest magnification plus the largest shift and rotation
Y_START, Y_STOP = -0.09, 1.08
WIDTH = round(2 * X_LIMIT * PIXELS_PER_UNIT)
HEIGHT = round((Y_STOP - Y_START) * PIXELS_PER_UNIT)
XS: Image = ((np.arange(WIDTH, dtype=np.float32) + 0.5) / PIXELS_PER_UNIT - X_LIMIT).astype(np.float32)
YS: Image = ((np.arange(HEIGHT, dtype=np.float32) + 0.5) / PIXELS_PER_UNIT + Y_START).astype(np.float32)
_SHIFT = 4  # fractional bits of OpenCV's fixed-point drawing coordinates


def columns() -> Image:
    """`x` of every column, shape (1, WIDTH), float32, patient units."""
    return XS[None, :]


def rows() -> Image:
    """`y` of every row, shape (HEIGHT, 1), float32, patient units."""
    return YS[:, None]


def to_pixels(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Patient coordinates (..., 2) as canvas pixel coordinates of the same shape, pixel centres at whole numbers."""
    return (points - np.array([-X_LIMIT, Y_START])) * PIXELS_PER_UNIT - 0.5


def blur(image: NDArray[np.float32], sigma: float) -> Image:
    """Gaussian blur of an image (h, w) with `sigma` in patient units."""
    return cast(Image, cv2.GaussianBlur(image, (0, 0), sigma * PIXELS_PER_UNIT))


def soft(mask: NDArray[np.bool_], sigma: float) -> Image:
    """A boolean mask (h, w) as float32 in 0..1 with edges softened by `sigma` patient units."""
    return blur(mask.astype(np.float32), sigma)


def strokes(
    layer: NDArray[np.uint8],
    curves: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    width: float,
    value: float,
) -> None:
    """Draw open curves of one width onto a uint8 layer, in place.

    Args:
        layer: (HEIGHT, WIDTH) uint8 canvas.
        curves: Each (n, 2), patient coordinates; an array (curves, n, 2) is drawn faster than a list.
        width: Patient units; at least one pixel is drawn.
        value: 0..1 of full scale.
    """
    if isinstance(curves, np.ndarray):
        fixed = list(np.round(to_pixels(curves) * (1 << _SHIFT)).astype(np.int32))
    else:
        fixed = [np.round(to_pixels(curve) * (1 << _SHIFT)).astype(np.int32) for curve in curves]
    thickness = max(1, round(width * PIXELS_PER_UNIT))
    cv2.polylines(layer, fixed, False, round(255 * value), thickness, cv2.LINE_AA, _SHIFT)


def polygon(layer: NDArray[np.uint8], outline: NDArray[np.floating], value: float) -> None:
    """Fill one closed outline (n, 2) in patient coordinates on a uint8 layer, in place; `value` 0..1."""
    fixed = np.round(to_pixels(outline) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(layer, [fixed], round(255 * value), cv2.LINE_AA, _SHIFT)


def blank_layer() -> NDArray[np.uint8]:
    """An empty drawing layer, (HEIGHT, WIDTH) uint8."""
    return np.zeros((HEIGHT, WIDTH), np.uint8)


def unit(layer: NDArray[np.uint8], sigma: float = 0.0) -> Image:
    """A drawing layer as float32 in 0..1, optionally blurred by `sigma` patient units."""
    image = layer.astype(np.float32) * np.float32(1 / 255)
    return blur(image, sigma) if sigma > 0 else image


def smooth_noise(rng: np.random.Generator, cell: float, octaves: int = 1) -> Image:
    """Band-limited noise over the canvas, zero mean and unit standard deviation.

    Args:
        rng: Source of randomness.
        cell: Correlation length of the coarsest octave, patient units.
        octaves: Each further octave halves the length and the amplitude.
    """
    total = np.zeros((HEIGHT, WIDTH), np.float32)
    for octave in range(octaves):
        shape = (int((Y_STOP - Y_START) / cell * 2**octave) + 3, int(2 * X_LIMIT / cell * 2**octave) + 3)
        coarse = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.5**octave)
        total += cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    total -= total.mean()
    return total / np.float32(total.std() + 1e-6)


def curve_through(points: Sequence[tuple[float, float]], samples: int = 24) -> NDArray[np.float64]:
    """A smooth open curve through control points, (samples, 2) float64 (Catmull-Rom spline)."""
    knots = np.asarray(points, dtype=np.float64)
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    position = np.linspace(0, len(knots) - 1, samples)
    start = np.minimum(position.astype(int), len(knots) - 2)
    t = (position - start)[:, None]
    p0, p1, p2, p3 = (padded[start + offset] for offset in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
