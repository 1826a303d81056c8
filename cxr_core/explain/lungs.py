"""Lung fields of frontal chest films by classical means: no training, no random draw, the same answer on any machine.

A pair of drawn lungs is laid over the film where it stands out best (:mod:`cxr_core.explain.lung_shape`); its outline
then moves to where grey levels part into lung and no lung by the means of their neighbourhoods (Lankton and Tannenbaum,
Localizing Region-Based Active Contours, IEEE Transactions on Image Processing 2008), held near the drawn lungs, so that
a consolidated lung stays a lung. How good that is, :mod:`cxr_core.explain.lung_quality` measures on phantoms.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.explain.lung_shape import LungPlace, drawn_lungs, find_place
from cxr_core.robustness.corruptions import film_box

__all__ = ["lung_masks"]

Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

_SIDE = 112  # pixels of the film that is worked on: half of the canonical frame
_LEAST_CORRELATION = 0.42  # with the drawn lungs: pictures of random blobs reach 0.41, 99 % of real films 0.46
_LEAST_SPREAD = 4.0  # grey levels, standard deviation of the film: a film without any shows nothing
_STEPS = 12  # of the outline; it moves little after eight
_WINDOW = 5.0  # pixels of 112, standard deviation of the neighbourhoods
_LEAST_CONTRAST = 0.04  # of 0-1 between lung and no lung: what is less counts as that, not as sure
_PRIOR = 0.2  # pull of the drawn lungs, in halves of that contrast
_REACH = (5, 9)  # pixels to the side and up or down that a lung may lie outside the drawn one
_CORE = 9  # pixels inside the drawn lung from which on it is lung whatever its grey: consolidation
_BIAS = 0.05  # towards lung, in the same halves: without it outlines lie inside the true ones of phantoms
_SMOOTH = 1.2  # pixels, of the outline in each step
_OPENED, _CLOSED = 7, 11  # pixels: fragments thinner than the first go, notches narrower than the second are filled


def lung_masks(frames: Pixels) -> Masks:
    """Lung fields of frontal chest films, without heart, mediastinum and what lies below the diaphragm.

    Args:
        frames: (n, side, side) uint8 canonical frames: grey, bright where dense, in black padding; any side.

    Returns:
        (n, side, side) bool; all false where no pair of lungs is found, as in a film without contrast.
    """
    masks = np.zeros(frames.shape, np.bool_)
    for mask, frame in zip(masks, frames, strict=True):
        box = film_box(frame)
        film = np.ascontiguousarray(frame[box])
        if min(film.shape) < 2 or film.std() < _LEAST_SPREAD:
            continue
        place = find_place(film)
        if place.correlation >= _LEAST_CORRELATION:
            found = _refined(film, place)
            height, width = film.shape
            mask[box] = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    return masks


def _refined(film: Pixels, place: LungPlace) -> Masks:
    """Lungs on the film of (_SIDE, _SIDE) pixels, bool."""
    grey = cv2.resize(film, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    grey = cv2.GaussianBlur(grey, (0, 0), 1.2)
    drawn = drawn_lungs(place.midline, place.half_width, place.apex, place.height, _SIDE)
    depth = _depth(drawn)
    air = _outer_air(grey, drawn)
    across, upright = _REACH
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * across + 1, 2 * upright + 1))
    free = (cv2.dilate(drawn.astype(np.uint8), reach) > 0) & ~air
    core = depth > _CORE
    pull = np.float32(_BIAS) + np.float32(_PRIOR) * np.clip(depth / upright, -1, 1)
    lungs = drawn
    for _ in range(_STEPS):
        inside = lungs.astype(np.float32)
        outside = (~lungs & ~air).astype(np.float32)
        lung_grey, other_grey = _local_mean(grey, inside), _local_mean(grey, outside)
        contrast = np.maximum(other_grey - lung_grey, np.float32(_LEAST_CONTRAST))
        darker = np.clip(((lung_grey + other_grey) / 2 - grey) / contrast, -1, 1)
        lungs = ((cv2.GaussianBlur(darker + pull, (0, 0), _SMOOTH) > 0) & free) | core
    return _tidied(lungs, place.midline)


def _local_mean(grey: Floats, weights: Floats) -> Floats:
    """Mean grey of the weighted pixels around each pixel, (h, w) float32."""
    total = cv2.GaussianBlur(weights, (0, 0), _WINDOW) + np.float32(1e-3)
    return np.asarray(cv2.GaussianBlur(grey * weights, (0, 0), _WINDOW) / total, np.float32)


def _depth(mask: Masks) -> Floats:
    """Distance of each pixel from the outline, positive inside, pixels."""
    inside = mask.astype(np.uint8)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    return np.asarray(within - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3), np.float32)


def _outer_air(grey: Floats, drawn: Masks) -> Masks:
    """Air around the patient: as dark as lung, joined to the film's edge, and not where the drawn lungs are."""
    near = cv2.dilate(drawn.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if not drawn.any() or near.all():
        return np.zeros_like(drawn)
    dark = ((grey < (grey[drawn].mean() + grey[~near].mean()) / 2) & ~near).astype(np.uint8)
    _, names = cv2.connectedComponents(dark)
    edge = np.unique(np.concatenate([names[0], names[-1], names[:, 0], names[:, -1]]))
    return np.isin(names, edge[edge > 0])


def _tidied(lungs: Masks, midline: float) -> Masks:
    """The largest region on each side of the midline, smoothed, without holes."""
    opener = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OPENED, _OPENED))
    closer = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CLOSED, _CLOSED))
    opened = cv2.morphologyEx(lungs.astype(np.uint8), cv2.MORPH_OPEN, opener)
    column = np.clip(round(midline * _SIDE), 1, _SIDE - 1)
    result = np.zeros(lungs.shape, np.uint8)
    for side in (slice(0, column), slice(column, None)):
        half = np.zeros_like(opened)
        half[:, side] = opened[:, side]
        count, names, statistics, _ = cv2.connectedComponentsWithStats(half)
        if count < 2:
            continue
        largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
        padded = cv2.copyMakeBorder((names == largest).astype(np.uint8), *(_CLOSED,) * 4, cv2.BORDER_REPLICATE)
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, closer)[_CLOSED:-_CLOSED, _CLOSED:-_CLOSED]
        outlines, _ = cv2.findContours(np.ascontiguousarray(closed), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(result, outlines, -1, 1, cv2.FILLED)
    return result > 0
