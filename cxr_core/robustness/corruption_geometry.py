"""Corruptions of place: a patient who lies askew or off centre; what enters the film is black, as unexposed air is."""

from __future__ import annotations

from math import cos, pi, sin

import cv2
import numpy as np

from cxr_core.robustness.corruption_entry import Corruption, Film, Registry, sign

__all__ = ["GEOMETRY", "shift_of"]


def _rotation(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Turn about the film's centre by ``amount`` degrees, either way, with linear interpolation."""
    height, width = film.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), amount * sign(rng), 1.0)
    return cv2.warpAffine(film, turn, (width, height), flags=cv2.INTER_LINEAR, borderValue=0)


def shift_of(shape: tuple[int, int], amount: float, rng: np.random.Generator) -> tuple[int, int]:
    """Rows and columns by which a film moves: whole pixels, so that nothing but place changes.

    Args:
        shape: rows and columns of the film.
        amount: length of the shift, share of the film's height (downwards) and of its width (sideways).
        rng: draws the direction.
    """
    direction = rng.uniform(0, 2 * pi)
    return round(amount * shape[0] * sin(direction)), round(amount * shape[1] * cos(direction))


def _shift(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Move by ``amount`` of the film's sides in a direction drawn for the image."""
    height, width = film.shape
    down, right = shift_of((height, width), amount, rng)
    moved = np.zeros_like(film)
    kept = film[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = kept
    return moved


GEOMETRY: Registry = {
    "rotation": Corruption(
        act=_rotation,
        nothing=0.0,
        valid=lambda a: 0 <= a <= 180,
        demand="an angle from 0 to 180 degrees",
        title="Rotation",
        unit="± degrees",
        severities=(2, 5, 10, 15, 20),
        source="Report 2.4 (the largest in augmentation) at 3, its double at 5.",
    ),
    "shift": Corruption(
        act=_shift,
        nothing=0.0,
        valid=lambda a: 0 <= a < 1,
        demand="a share from 0 to below 1",
        title="Shift",
        unit="share of the film's sides",
        severities=(0.02, 0.05, 0.1, 0.15, 0.2),
        source="Report 2.4 (the largest in augmentation) at 3, its double at 5.",
    ),
}
