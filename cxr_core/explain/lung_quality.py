"""How good the lung masks are: overlap with the true lungs of phantoms that are drawn for this alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.phantom.files import iter_films
from cxr_core.dataset.phantom.masks import framed_mask
from cxr_core.dataset.phantom.spec import DEFECTS, PhantomSpec
from cxr_core.dataset.phantom.truth import read_spec
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import resample_weights
from cxr_core.evaluation.intervals import MIN_GROUPS, entry
from cxr_core.imaging.preprocess import Box, Preprocessing, content_box
from cxr_core.trust.failure_shares import group_share

__all__ = ["MEASURES", "JudgingPhantoms", "judging_phantoms", "judging_seed", "median_entry", "overlap", "quality_of"]

Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MEASURES: tuple[str, ...] = ("dice", "iou", "area_ratio")


@dataclass(frozen=True)
class JudgingPhantoms:
    """Phantoms with their true lungs in the canonical frame.

    Attributes:
        frames: (n, side, side) uint8.
        lungs: (n, side, side) bool, the truth.
        boxes: n places of the films in their frames.
        table: n rows ``label``, ``site``, ``patient``.
    """

    frames: Pixels
    lungs: Masks
    boxes: list[Box]
    table: pd.DataFrame


def judging_seed(raw_dir: Path, seed: int) -> int:
    """``seed``, or the next number where the phantoms of the raw folder have that seed: others than the data set's."""
    record = read_spec(raw_dir)
    return seed + 1 if record is not None and record[1].seed == seed else seed


def judging_phantoms(patients: int, seed: int, preprocessing: Preprocessing) -> JudgingPhantoms:
    """Draw phantoms in memory, one film a patient, no defects.

    Args:
        patients: of each class, >= 1.
        seed: of everything random.
        preprocessing: turns films into frames.
    """
    none = dict.fromkeys((name for name in DEFECTS if name != "wrong_labels"), 0)
    spec = PhantomSpec(patients_per_class=patients, films_per_patient=(1, 1), seed=seed, **none)
    frames, lungs, boxes, rows = [], [], [], []
    for planned, film in iter_films(spec):
        height, width = film.pixels.shape
        frames.append(preprocessing.frame(film.pixels))
        lungs.append(framed_mask(film.lung_mask, preprocessing.size))
        boxes.append(content_box(width, height, preprocessing.size))
        rows.append((planned.true_label, planned.site, planned.patient_id))
    table = pd.DataFrame(rows, columns=["label", "site", "patient"])
    return JudgingPhantoms(np.stack(frames), np.stack(lungs), boxes, table)


def overlap(found: Masks, true: Masks) -> pd.DataFrame:
    """Overlap of each mask with the truth.

    Args:
        found: (n, side, side) bool; an empty mask overlaps nothing.
        true: (n, side, side) bool, none of them empty.

    Returns:
        n rows: ``found`` (whether the mask holds anything), ``dice`` = 2 |A & B| / (|A| + |B|) (Dice, Ecology 1945),
        ``iou`` = |A & B| / |A | B| (Jaccard 1901), ``area_ratio`` = |A| / |B| of mask A and truth B.
    """
    axes = (1, 2)
    both, ours, theirs = (found & true).sum(axis=axes), found.sum(axis=axes), true.sum(axis=axes)
    return pd.DataFrame({"found": ours > 0, "dice": 2 * both / (ours + theirs), "iou": both / (ours + theirs - both),
                         "area_ratio": ours / theirs})  # fmt: skip


def quality_of(films: pd.DataFrame, seed: int, resamples: int) -> dict[str, Any]:
    """Medians of the overlap and the share of films with lungs found, overall, of each class and of each site.

    Args:
        films: columns of :func:`overlap` with ``label``, ``site``, ``patient``; films without lungs found count as
            overlaps of 0.
        seed: of the resamples.
        resamples: of whole patients.

    Returns:
        ``overall``, and under ``per_class`` and ``per_site`` each name, to the names in :data:`MEASURES` and ``found``.
    """

    def scores(part: pd.DataFrame) -> dict[str, Any]:
        groups = part["patient"].to_numpy(object)
        medians = {name: median_entry(part[name].to_numpy(np.float64), groups, seed, resamples) for name in MEASURES}
        return {**medians, "found": group_share(part["found"].to_numpy(np.bool_), groups)}

    parts = {column: {str(name): scores(part) for name, part in films.groupby(column)} for column in ("label", "site")}
    return {"overall": scores(films), "per_class": parts["label"], "per_site": parts["site"]}


def median_entry(
    values: Floats, groups: npt.NDArray[np.object_], seed: int, resamples: int, why_not: str = "there are no films"
) -> dict[str, Any]:
    """Median with its percentile interval over resamples of whole groups; see
    :mod:`cxr_core.evaluation.availability`.

    Args:
        values: (n,), none of them NaN.
        groups: n group names.
        seed: of the draws.
        resamples: number of resamples.
        why_not: reason given where n is 0.
    """
    films = len(values)
    if not films:
        return unavailable(why_not, films=0)
    behind = len(np.unique(groups.astype(str)))
    few = f"{behind} patient group{'' if behind == 1 else 's'}, at least {MIN_GROUPS} are needed"
    order = np.argsort(values, kind="stable")
    parts = [_medians(values[order], weights[:, order]) for weights in resample_weights(groups, seed, resamples)]
    spread = np.concatenate(parts)
    return {**entry(float(np.median(values)), spread, few if behind < MIN_GROUPS else None), "films": films}


def _medians(values: Floats, weights: Floats) -> Floats:
    """Median of sorted values, each counted as often as each row of weights says: the mean of the two middle ones."""
    cumulated = weights.cumsum(axis=1)
    total = cumulated[:, -1:]
    low = (cumulated <= np.ceil(total / 2) - 1).sum(axis=1)
    high = (cumulated <= np.floor(total / 2)).sum(axis=1)
    return np.asarray((values[low] + values[high]) / 2, np.float64)
