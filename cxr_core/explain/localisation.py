"""Where maps lie: their energy in the lungs, at the border and in the padding; whether they hit lesions.

Energy (Wang et al., Score-CAM, CVPR workshops 2020, energy-based pointing game): the share of a map's sum that lies in
a region. The pointing game (Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016; IJCV 2018): does
the map's maximum lie on the object, or within a tolerance of it?
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.explain.faithfulness_scores import Grouping
from cxr_core.explain.reference_maps import BLANK, blank_maps, centre_map
from cxr_core.imaging.preprocess import Box

__all__ = [
    "border_masks",
    "dilated",
    "energy",
    "energy_report",
    "hits",
    "lesion_report",
    "matched_iou",
    "padding_masks",
]

Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def border_masks(boxes: Sequence[Box], side: int, share: float) -> Masks:
    """The band along the edge of each film, where markers, text and collimator blades lie, and the padding beyond it.

    Args:
        boxes: n places of the films in their frames.
        side: of the frame, pixels.
        share: width of the band, share of the frame's side.
    """
    masks = np.ones((len(boxes), side, side), np.bool_)
    width = max(1, round(share * side))
    for mask, box in zip(masks, boxes, strict=True):
        mask[box.top + width : box.bottom - width, box.left + width : box.right - width] = False
    return masks


def padding_masks(boxes: Sequence[Box], side: int) -> Masks:
    """What of each frame lies beyond the film, (n, side, side) bool."""
    masks = np.ones((len(boxes), side, side), np.bool_)
    for mask, box in zip(masks, boxes, strict=True):
        mask[box.top : box.bottom, box.left : box.right] = False
    return masks


def energy(maps: npt.NDArray[np.floating], masks: Masks) -> Floats:
    """Share of each map's sum that lies in its mask, (n,) float64, 0-1; NaN for a blank map or an empty mask."""
    flat, inside = maps.reshape(len(maps), -1).astype(np.float64), masks.reshape(len(masks), -1)
    total = flat.sum(axis=1)
    known = (total > 0) & inside.any(axis=1)
    return np.divide((flat * inside).sum(axis=1), total, out=np.full(len(flat), np.nan), where=known)


def energy_report(maps: Maps, masks: Masks, by: Grouping, centre_width: float, why_not: str) -> dict[str, Any]:
    """Energy of maps in a region, with three nulls on the very same films.

    Args:
        maps: (n, side, side) float32.
        masks: (n, side, side) bool; a film whose mask is empty does not count.
        by: how films are averaged.
        centre_width: of the centre Gaussian, share of the side.
        why_not: reason given where no film has such a region.

    Returns:
        ``energy``; ``uniform`` (a map that is the same everywhere: the region's share of the frame), ``centre`` (a
        Gaussian at the centre), ``other_films`` (mean over the maps of films of other patients); ``against_uniform``,
        ``against_centre``, ``against_other_films``: the paired difference. Each as
        :meth:`~cxr_core.explain.faithfulness_scores.Grouping.scores` gives it.
    """
    found = energy(maps, masks)
    known = ~np.isnan(found)
    there = masks.any(axis=(1, 2))
    why = BLANK if there.any() else why_not
    side = maps.shape[1]
    nulls = {
        "uniform": np.where(known, masks.mean(axis=(1, 2), dtype=np.float64), np.nan),
        "centre": np.where(known, energy(np.broadcast_to(centre_map(side, centre_width), maps.shape), masks), np.nan),
        "other_films": np.where(known, _of_other_films(maps, masks, by), np.nan),
    }
    report = {"energy": by.scores(found, why), "films_with_region": int(there.sum())}
    for name, null in nulls.items():
        report[name] = by.scores(null, why)
        report[f"against_{name}"] = by.scores(found - null, why)
    return report


def _of_other_films(maps: Maps, masks: Masks, by: Grouping) -> Floats:
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    total = flat.sum(axis=1)
    shares = np.divide(flat, total[:, None], out=np.zeros_like(flat), where=total[:, None] > 0)
    crossed = shares @ masks.reshape(len(masks), -1).T.astype(np.float64)  # [map, mask]
    apart = (by.groups[:, None] != by.groups[None, :]) & (total > 0)[:, None]
    count = apart.sum(axis=0)
    return np.divide((crossed * apart).sum(axis=0), count, out=np.full(len(maps), np.nan), where=count > 0)


def dilated(masks: Masks, share: float) -> Masks:
    """Masks with all that lies within a distance of them.

    Args:
        masks: (n, side, side) bool.
        share: the distance, share of the side: Zhang et al. allow 15 pixels of 224.
    """
    radius = share * masks.shape[1]
    grown = np.zeros(masks.shape, np.bool_)
    for row, mask in enumerate(masks):
        if mask.any():
            grown[row] = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= radius
    return grown


def hits(maps: Maps, targets: Masks) -> Floats:
    """Share of each map's maximal pixels that lie in its target, (n,) float64; NaN where the target is empty.

    1 or 0 where the maximum is one pixel. A map that is flat points everywhere at once: it has the target's share of
    the frame, as chance has.
    """
    flat, inside = maps.reshape(len(maps), -1), targets.reshape(len(targets), -1)
    top = flat == flat.max(axis=1, keepdims=True)
    found = (top & inside).sum(axis=1) / top.sum(axis=1)
    return np.where(inside.any(axis=1), found, np.nan)


def matched_iou(maps: Maps, targets: Masks) -> Floats:
    """Overlap of each target with the same number of the map's highest pixels, (n,) float64, 0-1.

    Intersection over union needs no threshold this way. Pixels that tie for the last places count by their share of
    them. NaN where the target is empty.
    """
    found = np.full(len(maps), np.nan)
    for row, (values, target) in enumerate(
        zip(maps.reshape(len(maps), -1), targets.reshape(len(targets), -1), strict=True)
    ):
        size = int(target.sum())
        if not size:
            continue
        least = np.partition(values, -size)[-size]
        above, tied = values > least, values == least
        part = (size - above.sum()) / tied.sum()
        common = float((above & target).sum() + part * (tied & target).sum())
        found[row] = common / (2 * size - common)
    return found


def lesion_report(
    maps: Maps, lesions: Masks, rivals: Maps, by: Grouping, tolerance: float, why_not: str
) -> dict[str, Any]:
    """Pointing game and overlap with lesions, against chance and against random maps, on the same films.

    Args:
        maps: (n, side, side) maps of the true class.
        lesions: (n, side, side) bool; films without a lesion do not count.
        rivals: (r, n, side, side) random maps of each film.
        by: how films are averaged.
        tolerance: of the pointing game, share of the side.
        why_not: reason given where no film has a lesion.

    Returns:
        ``pointing`` with ``map``, ``chance`` (a point anywhere in the frame hits with the share of it that the lesion
        and its tolerance cover), ``random`` (mean over the random maps), ``against_chance``, ``against_random``
        (paired); ``iou`` with the same names, where chance is ``a / (2 - a)`` of a lesion that covers the share ``a``;
        ``films``, ``blank``.
    """
    near = dilated(lesions, tolerance)
    there = lesions.any(axis=(1, 2))
    area = np.where(there, lesions.mean(axis=(1, 2), dtype=np.float64), np.nan)
    chances = {"pointing": np.where(there, near.mean(axis=(1, 2), dtype=np.float64), np.nan), "iou": area / (2 - area)}
    measures = {"pointing": (hits, near), "iou": (matched_iou, lesions)}
    report: dict[str, Any] = {"films": int(there.sum()), "blank": int((blank_maps(maps) & there).sum())}
    for name, (measure, targets) in measures.items():
        own, chance = measure(maps, targets), chances[name]
        random = np.mean([measure(rival, targets) for rival in rivals], axis=0) if len(rivals) else chance
        report[name] = {
            "map": by.scores(own, why_not, share=name == "pointing"),
            "chance": by.scores(chance, why_not),
            "random": by.scores(random, why_not),
            "against_chance": by.scores(own - chance, why_not),
            "against_random": by.scores(own - random, why_not),
        }
    return report
