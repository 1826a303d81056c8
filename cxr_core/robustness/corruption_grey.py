"""Corruptions of the grey scale: calibration of the detector and of the display."""

from __future__ import annotations

import cv2
import numpy as np

from cxr_core.robustness.corruption_entry import RANGE, Corruption, Film, Registry, sign

__all__ = ["GREY"]

_MIDDLE = 127.5  # grey that contrast turns about: the middle of the range, so that film and padding do not matter
_MAX_GAMMA = 10.0  # beyond it a film is black or white to 8 bits


def _brightness(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Shift all grey by a share of the full range, uniform in ± ``amount``."""
    return film + np.float32(rng.uniform(-amount, amount) * RANGE)


def _contrast(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Stretch grey about the middle of the range by 1 + uniform in ± ``amount``."""
    return (film - np.float32(_MIDDLE)) * np.float32(1 + rng.uniform(-amount, amount)) + np.float32(_MIDDLE)


def _gamma(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Raise grey, as a share of the range, to the power of ``amount`` (darker) or of 1 / ``amount`` (lighter)."""
    power = amount ** sign(rng)
    return cv2.pow(np.maximum(film, np.float32(0)) / np.float32(RANGE), power) * np.float32(RANGE)


def _inversion(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Turn grey g into 255 - g in the upper ``amount`` of the range: a solarised film, at 1 a negative."""
    return np.where(film >= np.float32(RANGE * (1 - amount)), np.float32(RANGE) - film, film)


GREY: Registry = {
    "brightness": Corruption(
        act=_brightness,
        nothing=0.0,
        valid=lambda a: 0 <= a <= 1,
        demand="a share from 0 to 1",
        title="Brightness",
        unit="± share of the grey range",
        severities=(0.05, 0.1, 0.2, 0.3, 0.4),
        source="Report 5.1 (clinical) at 3, its double (severe) at 5, report 2.4 (augmentation) at 2.",
    ),
    "contrast": Corruption(
        act=_contrast,
        nothing=0.0,
        valid=lambda a: 0 <= a < 1,
        demand="a share from 0 to below 1",
        title="Contrast",
        unit="± share of the gain",
        severities=(0.05, 0.1, 0.2, 0.3, 0.4),
        source="Report 5.1 (clinical) at 3, its double (severe) at 5, report 2.4 (augmentation) at 2.",
    ),
    "gamma": Corruption(
        act=_gamma,
        nothing=1.0,
        valid=lambda a: 1 <= a <= _MAX_GAMMA,
        demand=f"an exponent from 1 to {_MAX_GAMMA:g}",
        title="Gamma",
        unit="exponent or its inverse",
        severities=(1.1, 1.22, 1.5, 1.8, 2.2),
        source="Display curves: 1.8 shown as 2.2 at 2 (their ratio); 1.8 at 4 and 2.2 at 5, left out or applied twice.",
    ),
    "inversion": Corruption(
        act=_inversion,
        nothing=0.0,
        valid=lambda a: 0 <= a <= 1,
        demand="a share from 0 to 1",
        title="Inversion",
        unit="upper share of the grey range",
        severities=(0.2, 0.4, 0.6, 0.8, 1.0),
        source="Equal steps of solarisation up to DICOM's MONOCHROME1 read as MONOCHROME2 at 5.",
    ),
}
