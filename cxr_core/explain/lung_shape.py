"""Where a film's lungs lie, coarsely: the pair of drawn lungs that stands out darkest against its own rim."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["LungPlace", "drawn_lungs", "find_place"]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]

# One lung as it is drawn on a frontal film, by eye: x from the midline (0) to the widest point (1), y from apex (0)
# to the costophrenic angle (1); medial apex, dome, lateral wall, diaphragm, border of heart and mediastinum. One on
# both sides, so that a mirrored film has mirrored lungs; the heart's side follows from the grey levels.
_OUTLINE = (
    (0.17, 0.14), (0.25, 0.03), (0.40, 0.00), (0.56, 0.04), (0.72, 0.16), (0.85, 0.36), (0.94, 0.62), (0.99, 0.86),
    (1.00, 1.00), (0.86, 0.90), (0.68, 0.85), (0.50, 0.84), (0.36, 0.86), (0.30, 0.84), (0.30, 0.66), (0.24, 0.48),
    (0.17, 0.36), (0.15, 0.24),
)  # fmt: skip
_SIDE = 32  # pixels of the coarse film: a rib is below one, a lung above eight
_RIM = 2  # coarse pixels around the lungs that they are compared with
# What is tried, in shares of the film's width or height: from a close crop to a film of half the patient.
_MIDLINES = np.linspace(0.38, 0.62, 7)
_HALF_WIDTHS = np.linspace(0.24, 0.48, 8)
_APICES = np.linspace(-0.02, 0.26, 7)
_HEIGHTS = np.linspace(0.42, 0.98, 9)
_BEYOND = 0.06  # how far a lung may reach beyond the film
_ASPECT = 0.97  # height over width of both lungs: 0.83 to 1.29 in phantoms, 0.75 to 1.2 in films measured by eye
_ASPECT_WEIGHT = 0.7  # correlation lost per squared logarithm of the aspect's ratio to that
_SIZE_WEIGHT = 0.2  # correlation gained per logarithm of the area: the darkest part of a lung alone correlates best
_TIE = 0.03  # of correlation: pairs that are so close to the best count e times less than it
_NEIGHBOURHOOD = 0.15  # of the film's side: grey levels are taken relative to it
_SPREAD_FLOOR = 0.05  # squared standard deviations of the film: keeps flat neighbourhoods from being blown up


@dataclass(frozen=True)
class LungPlace:
    """A pair of drawn lungs, in shares of the film's width and height.

    Attributes:
        midline: x between them.
        half_width: from the midline to the widest point.
        apex: y of the apices.
        height: from the apices to the costophrenic angles.
        correlation: of the film with lungs dark, rim bright; -1 to 1.
    """

    midline: float
    half_width: float
    apex: float
    height: float
    correlation: float


@dataclass(frozen=True)
class _Bank:
    """All pairs tried: ``places`` (m, 4) and their lungs and rims, (m, _SIDE * _SIDE) float32 of 0 and 1."""

    places: npt.NDArray[np.float64]
    lungs: Floats
    rims: Floats
    lung_pixels: Floats
    rim_pixels: Floats


def find_place(film: Pixels) -> LungPlace:
    """The best pair of drawn lungs for one film.

    Args:
        film: (height, width) uint8, without padding, height and width >= 1.
    """
    bank = _bank()
    grey = _relative(film).ravel()
    both = np.stack([grey, grey * grey], axis=1)  # one product for a film, so that no batch changes a bit
    lungs, rims = bank.lungs @ both, bank.rims @ both
    pixels = bank.lung_pixels + bank.rim_pixels
    spread = (lungs[:, 1] + rims[:, 1]) / pixels - ((lungs[:, 0] + rims[:, 0]) / pixels) ** 2
    contrast = rims[:, 0] / bank.rim_pixels - lungs[:, 0] / bank.lung_pixels
    # Point-biserial correlation: difference of means in standard deviations, by the shares of both groups.
    weight = np.sqrt(bank.lung_pixels * bank.rim_pixels) / pixels
    correlation = contrast * weight / np.sqrt(np.maximum(spread, 1e-3))
    height, width = film.shape
    aspect = np.log(bank.places[:, 3] * height / (2 * bank.places[:, 1] * width * _ASPECT))
    score = correlation + _SIZE_WEIGHT * np.log(pixels / _SIDE**2) - _ASPECT_WEIGHT * aspect**2
    # The mean of the best ones, not the best alone: of two that are as good the choice would hang on a rounding.
    share = np.exp((score - score.max()) / _TIE)
    midline, half_width, apex, tall = (share @ bank.places / share.sum()).tolist()
    return LungPlace(midline, half_width, apex, tall, float(correlation[score.argmax()]))


def drawn_lungs(midline: float, half_width: float, apex: float, height: float, side: int) -> Masks:
    """A pair of drawn lungs on a film of ``side`` x ``side`` pixels, (side, side) bool."""

    def left_lung(middle: float) -> Masks:
        points = np.stack([middle - half_width * outline[:, 0], apex + height * outline[:, 1]], axis=1)
        drawn = np.zeros((side, side), np.uint8)
        cv2.fillPoly(drawn, [np.rint((points * side - 0.5) * 16).astype(np.int32)], 1, shift=4)
        return drawn > 0

    outline = np.asarray(_OUTLINE)
    # The other lung is a mirrored one: OpenCV does not fill to the same pixel on both sides.
    return left_lung(midline) | left_lung(1 - midline)[:, ::-1]


def _relative(film: Pixels) -> Floats:
    """The coarse film's grey levels relative to their neighbourhood, in its standard deviations."""
    coarse = cv2.resize(film, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    coarse = (coarse - coarse.mean()) / (coarse.std() + np.float32(1e-6))
    sigma = _NEIGHBOURHOOD * _SIDE
    coarse -= cv2.GaussianBlur(coarse, (0, 0), sigma)
    spread = cv2.GaussianBlur(coarse * coarse, (0, 0), sigma)
    return np.asarray(coarse / np.sqrt(spread + np.float32(_SPREAD_FLOOR)), np.float32)


@lru_cache(maxsize=1)
def _bank() -> _Bank:
    places, lungs, rims = [], [], []
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _RIM + 1, 2 * _RIM + 1))
    for midline, half_width, apex, height in product(_MIDLINES, _HALF_WIDTHS, _APICES, _HEIGHTS):
        inside = midline - half_width >= -_BEYOND and midline + half_width <= 1 + _BEYOND
        if not inside or apex + height > 1 + _BEYOND:
            continue
        pair = drawn_lungs(midline, half_width, apex, height, _SIDE)
        grown = cv2.dilate(pair.astype(np.uint8), around) > 0
        places.append((midline, half_width, apex, height))
        lungs.append(pair.ravel())
        rims.append((grown & ~pair).ravel())
    inner, outer = np.asarray(lungs, np.float32), np.asarray(rims, np.float32)
    return _Bank(np.asarray(places), inner, outer, inner.sum(axis=1), outer.sum(axis=1))
