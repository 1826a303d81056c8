"""The report of the lung masks: their quality on phantoms, what they look like on test films, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.evaluation.availability import is_available
from cxr_core.explain.lung_plausibility import AREA_LIMITS, LEAST_EVENNESS
from cxr_core.explain.lung_quality import JudgingPhantoms, median_entry, overlap, quality_of
from cxr_core.explain.lungs import lung_masks
from cxr_core.settings_stress import LungSettings
from cxr_core.trust.shortcut_views import lung_ellipses

__all__ = ["REPORT_FILE", "judge", "lung_report"]

REPORT_FILE = "lung_segmentation.json"

Floats = npt.NDArray[np.float64]


def judge(phantoms: JudgingPhantoms) -> tuple[pd.DataFrame, Floats]:
    """Overlap of the masks, and Dice of two ovals that lie at the same place on every film.

    Returns:
        n rows of :func:`~cxr_core.explain.lung_quality.overlap` with ``label``, ``site``, ``patient``; (n,) Dice of the
        ovals that the shortcut audit blanks.
    """
    films = overlap(lung_masks(phantoms.frames), phantoms.lungs)
    ovals = overlap(lung_ellipses(phantoms.frames, phantoms.boxes), phantoms.lungs)["dice"].to_numpy(np.float64)
    return pd.concat([films, phantoms.table.reset_index(drop=True)], axis=1), ovals


def lung_report(
    films: pd.DataFrame, ovals: Floats, plausibility: dict[str, Any], seed: int, settings: LungSettings, resamples: int
) -> dict[str, Any]:
    """The report as JSON.

    Args:
        films: of :func:`judge`.
        ovals: of :func:`judge`.
        plausibility: of :func:`~cxr_core.explain.lung_plausibility.plausibility_of` on the test films.
        seed: that the phantoms were drawn with; of the resamples too.
        settings: limit for the verdict.
        resamples: of whole patients.

    Returns:
        ``quality``, ``ovals`` (their median Dice, and the median ``difference`` of masks less ovals on the same film),
        ``test_films``, ``verdict``, ``phantoms``, ``seed``, ``limits``, ``notice``.
    """
    groups = films["patient"].to_numpy(object)
    quality = quality_of(films, seed, resamples)
    difference = median_entry(films["dice"].to_numpy(np.float64) - ovals, groups, seed, resamples)
    return {
        "notice": NOTICE,
        "phantoms": len(films),
        "seed": seed,
        "quality": quality,
        "ovals": {"dice": median_entry(ovals, groups, seed, resamples), "difference": difference},
        "test_films": plausibility,
        "limits": {"area": list(AREA_LIMITS), "evenness": LEAST_EVENNESS},
        "verdict": _verdict(quality["overall"]["dice"], difference, plausibility["overall"], settings.min_dice),
    }


def _verdict(
    dice: dict[str, Any], difference: dict[str, Any], test: dict[str, dict[str, Any]], limit: float
) -> dict[str, Any]:
    """Whether the median Dice reaches the limit; the sentence says it with the test films."""
    if not is_available(dice):
        sentence = f"The lung masks cannot be judged: {dice['reason']}."
        return {"passed": False, "sentence": sentence, "value": None, "low": None, "high": None, "limit": limit}
    passed = dice["value"] >= limit
    parts = [
        f"Lung masks of {dice['films']} phantoms reach a median Dice of {dice['value']:.3f}{_range(dice)}, "
        f"{'at least' if passed else 'below'} the limit of {limit:g}",
        f"{abs(difference['value']):.3f} {'above' if difference['value'] >= 0 else 'below'} two fixed ovals",
    ]
    if is_available(test["plausible"]):
        share, films = test["plausible"], test["plausible"]["films"]
        parts.append(f"two lungs of plausible size are found on {share['count']} of {films} test films")
    sentence = "; ".join(parts) + "."
    return {"passed": passed, "sentence": sentence, "value": dice["value"], "low": dice["low"], "high": dice["high"],
            "limit": limit}  # fmt: skip


def _range(entry: dict[str, Any], digits: int = 3) -> str:
    ends: Sequence[float | None] = (entry["low"], entry["high"])
    return "" if None in ends else f" ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"
