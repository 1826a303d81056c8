"""Lung masks of films without truth: are there two regions of the size that lungs have?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.robustness.corruptions import film_box
from cxr_core.trust.failure_shares import group_share

__all__ = ["AREA_LIMITS", "LEAST_EVENNESS", "lung_areas", "plausibility_of"]

Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]

# The true lungs of 72 phantoms cover 8 to 22 % of the film each, the smaller at least 0.61 of the larger; real films
# are cropped closer or wider, and a lung may be collapsed in part.
AREA_LIMITS = (0.04, 0.35)  # share of the film's area, of each lung
LEAST_EVENNESS = 0.33  # area of the smaller lung over that of the larger


def lung_areas(frames: Pixels, masks: Masks, image_ids: Sequence[str]) -> pd.DataFrame:
    """Areas of the lungs of each film.

    Args:
        frames: (n, side, side) uint8 canonical frames.
        masks: (n, side, side) bool.
        image_ids: n names.

    Returns:
        n rows: ``image_id``; ``found``; ``area``, ``left_area``, ``right_area``: shares of the film's area, 0-1, of all
        regions, and of the largest two by their side of the picture (its left is the patient's right); ``plausible``:
        whether there are two regions within :data:`AREA_LIMITS` and not more uneven than :data:`LEAST_EVENNESS`.
    """
    rows = []
    for frame, mask, image_id in zip(frames, masks, image_ids, strict=True):
        down, across = film_box(frame)
        film = (down.stop - down.start) * (across.stop - across.start)
        left, right = _two_areas(mask, (across.start + across.stop - 1) / 2)
        small, large = sorted((left / film, right / film))
        fits = AREA_LIMITS[0] <= small and large <= AREA_LIMITS[1] and small >= LEAST_EVENNESS * large
        rows.append((image_id, bool(mask.any()), float(mask.sum() / film), left / film, right / film, bool(fits)))
    return pd.DataFrame(rows, columns=["image_id", "found", "area", "left_area", "right_area", "plausible"])


def plausibility_of(areas: pd.DataFrame, films: pd.DataFrame) -> dict[str, Any]:
    """Share of films with lungs found, and with plausible ones, overall, of each class and of each source.

    Args:
        areas: of :func:`lung_areas`.
        films: the same films in any order: ``image_id``, ``label``, ``source``, ``group_id``.
    """
    table = areas.merge(films[["image_id", "label", "source", "group_id"]], on="image_id", validate="one_to_one")

    def shares(part: pd.DataFrame) -> dict[str, Any]:
        groups = part["group_id"].to_numpy(object)
        return {name: group_share(part[name].to_numpy(np.bool_), groups) for name in ("found", "plausible")}

    parts = {
        column: {str(name): shares(part) for name, part in table.groupby(table[column].fillna("").astype(str))}
        for column in ("label", "source")
    }
    return {"overall": shares(table), "per_class": parts["label"], "per_source": parts["source"]}


def _two_areas(mask: Masks, middle: float) -> tuple[float, float]:
    """Pixels of the largest two regions, the left one first; one alone lies on its side of the film's middle."""
    _, _, statistics, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    order = 1 + np.argsort(-statistics[1:, cv2.CC_STAT_AREA], kind="stable")[:2]
    found = sorted((float(centres[name, 0]), float(statistics[name, cv2.CC_STAT_AREA])) for name in order)
    if len(found) == 2:
        return found[0][1], found[1][1]
    if len(found) == 1:
        return (found[0][1], 0.0) if found[0][0] < middle else (0.0, found[0][1])
    return 0.0, 0.0
