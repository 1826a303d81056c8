"""What a canonical frame looks like without a network: grey values, detail, edges, symmetry, and a small picture of it.

Chest films share a composition: dark lungs left and right of a bright middle, shoulders above, diaphragm below, soft
detail. Turning or inverting a film breaks it where an embedding may not notice.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["STATISTICS", "THUMBNAIL", "frame_statistics", "thumbnails"]

Frame = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

THUMBNAIL = 16  # side of the small picture, pixels
_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_BANDS = 5  # octaves of detail, from 128 pixels a side downwards
_WORK, _COARSE = 128, 32  # sides at which detail and composition are measured, pixels
_EDGE = 1.0  # gradient, in standard deviations of the grey, from which a pixel lies on an edge
_FLAT = 8.0  # grey levels added to a thumbnail's deviation, so that a blank picture stays blank

STATISTICS: tuple[str, ...] = (
    "log_aspect",
    "mean",
    "std",
    *(f"quantile_{round(100 * level)}" for level in _QUANTILES),
    "entropy",
    "peakedness",
    *(name for octave in range(_BANDS) for name in (f"detail_{octave}", f"sparseness_{octave}")),
    "edge_direction",
    "edge_density",
    "symmetry_sides",
    "symmetry_ends",
    "symmetry_diagonal",
    "top_to_bottom",
    "left_to_right",
    "middle_columns",
    "middle_rows",
    "border",
    "border_left",
    "border_right",
    "border_top",
    "border_bottom",
)


def frame_statistics(frames: Frame) -> Floats:
    """Statistics of each frame, taken inside its padding.

    Args:
        frames: (n, size, size) uint8 canonical frames.

    Returns:
        (n, len(STATISTICS)) float64: grey values as shares of 255, the rest in units of their own, all near 1.
    """
    return np.array([_statistics(frame) for frame in frames], np.float64).reshape(len(frames), len(STATISTICS))


def thumbnails(frames: Frame) -> Floats:
    """Small standardised pictures of the films inside their padding.

    Padding is left out: it says how a film was cropped, and a strip of it looks more turned than a film upside down.

    Args:
        frames: (n, size, size) uint8 canonical frames.

    Returns:
        (n, THUMBNAIL squared) float64.
    """
    small = np.zeros((len(frames), THUMBNAIL * THUMBNAIL))
    for row, frame in enumerate(frames):
        film = _inside_padding(frame)
        small[row] = cv2.resize(film, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).reshape(-1)
    small -= small.mean(axis=1, keepdims=True)
    return np.asarray(small / (small.std(axis=1, keepdims=True) + _FLAT))


def _statistics(frame: Frame) -> list[float]:
    film = _inside_padding(frame)
    height, width = film.shape
    counts = cv2.calcHist([film], [0], None, [256], [0, 256]).reshape(-1).astype(np.float64) / film.size
    levels = np.arange(256)
    mean = float(counts @ levels)
    quantiles = np.searchsorted(counts.cumsum(), _QUANTILES).clip(max=255) / 255
    present = counts[counts > 0]
    small = cv2.resize(film, (_WORK, _WORK), interpolation=cv2.INTER_AREA).astype(np.float32)
    standard = (small - small.mean()) / (small.std() + 1)
    return [
        math.log(width / height),
        mean / 255,
        math.sqrt(float(counts @ (levels - mean) ** 2)) / 255,
        *quantiles.tolist(),
        float(-(present * np.log(present)).sum()),
        float(np.sqrt((counts**2).sum())),
        *_detail(standard),
        *_edges(standard),
        *_composition(small),
    ]


def _inside_padding(frame: Frame) -> Frame:
    """The film without the black rows and columns around it; a black frame as it is."""
    rows, columns = np.flatnonzero(frame.max(axis=1)), np.flatnonzero(frame.max(axis=0))
    if not len(rows):
        return frame
    return np.ascontiguousarray(frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _detail(standard: npt.NDArray[np.float32]) -> list[float]:
    """Log strength of each octave (Burt and Adelson, IEEE Trans. Communications 1983), and how evenly it is spread."""
    found: list[float] = []
    current = standard
    for _ in range(_BANDS):
        coarser = cv2.pyrDown(current)
        band = current - cv2.pyrUp(coarser, dstsize=(current.shape[1], current.shape[0]))
        strength = float(band.std())
        found += [
            float(np.log(strength + 1e-3)),
            float(np.log((float(np.abs(band).mean()) + 1e-4) / (strength + 1e-3))),
        ]
        current = coarser
    return found


def _edges(standard: npt.NDArray[np.float32]) -> list[float]:
    across, down = cv2.Sobel(standard, cv2.CV_32F, 1, 0), cv2.Sobel(standard, cv2.CV_32F, 0, 1)
    strengths = [float(np.abs(gradient).mean()) + 1e-3 for gradient in (across, down)]
    return [math.log(strengths[0] / strengths[1]), float((cv2.magnitude(across, down) > _EDGE).mean())]


def _composition(small: npt.NDArray[np.float32]) -> list[float]:
    coarse = cv2.resize(small, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    coarse = coarse - coarse.mean()
    power = float((coarse * coarse).sum()) + coarse.size  # one grey level of deviation more: a blank film has none
    mirrored = [float((coarse * other).sum()) / power for other in (coarse[:, ::-1], coarse[::-1], coarse.T)]
    scaled = coarse / np.sqrt(power / coarse.size)
    third, middle, edge = _COARSE // 3, slice(_COARSE // 2 - 3, _COARSE // 2 + 3), 2
    ring = np.concatenate([scaled[0], scaled[-1], scaled[:, 0], scaled[:, -1]])
    return [
        *mirrored,
        float(scaled[:third].mean()) - float(scaled[-third:].mean()),
        float(scaled[:, :third].mean()) - float(scaled[:, -third:].mean()),
        float(scaled[:, middle].mean()),
        float(scaled[middle].mean()),
        float(ring.mean()),
        float(scaled[:, :edge].mean()),
        float(scaled[:, -edge:].mean()),
        float(scaled[:edge].mean()),
        float(scaled[-edge:].mean()),
    ]
