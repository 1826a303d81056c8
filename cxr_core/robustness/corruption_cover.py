"""Corruptions that hide a part of the film: something opaque on it, or a field of exposure that is too small."""

from __future__ import annotations

from math import sqrt

import numpy as np

from cxr_core.robustness.corruption_entry import RANGE, Corruption, Film, Registry

__all__ = ["COVER", "window"]

_MOST = 0.9  # share of each side that collimation may take


def window(length: int, share: float, place: float) -> slice:
    """A part of a side; with the same ``place`` a larger part holds every smaller one.

    Args:
        length: of the side, pixels.
        share: of the side, 0 to 1.
        place: 0 at the beginning, 1 at the end.

    Returns:
        From first to last pixel, rounded at both ends and so within a pixel of ``share`` of the side.
    """
    part = length * share
    first = place * (length - part)
    return slice(round(first), round(first + part))


def _marker(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Cover ``amount`` of the film's area with a white box of the film's proportions, anywhere on it."""
    down, right = rng.random(2)
    side = sqrt(amount)
    covered = film.copy()
    covered[window(film.shape[0], side, down), window(film.shape[1], side, right)] = RANGE
    return covered


def _collimation(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Blacken ``amount`` of the height and of the width, split between opposite edges as drawn for the image."""
    down, right = rng.random(2)
    field = window(film.shape[0], 1 - amount, down), window(film.shape[1], 1 - amount, right)
    exposed = np.zeros_like(film)
    exposed[field] = film[field]
    return exposed


COVER: Registry = {
    "marker": Corruption(
        act=_marker,
        nothing=0.0,
        valid=lambda a: 0 <= a <= 1,
        demand="a share from 0 to 1",
        title="Marker",
        unit="share of the film's area",
        severities=(0.0025, 0.01, 0.02, 0.05, 0.1),
        source="On a film of 35 x 43 cm: a lead letter (18 x 22 mm), a name plate (35 x 43 mm), a redaction box "
        "(50 x 61 mm), a device (78 x 96 mm), a plate (111 x 136 mm).",
    ),
    "collimation": Corruption(
        act=_collimation,
        nothing=0.0,
        valid=lambda a: 0 <= a <= _MOST,
        demand=f"a share from 0 to {_MOST:g}",
        title="Collimation",
        unit="share of height and width",
        severities=(0.05, 0.1, 0.2, 0.3, 0.4),
        source="A twentieth, where a shutter may stand unseen, doubled twice, then even steps to two "
        "fifths, where a third of the area is left.",
    ),
}
