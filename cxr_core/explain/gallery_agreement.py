"""Whether the methods of the gallery point to the same places: rank correlation of their maps, film by film."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.explain.faithfulness_scores import Grouping
from cxr_core.explain.gallery import Gallery
from cxr_core.explain.map_similarity import rank_correlations
from cxr_core.explain.methods import METHODS
from cxr_core.robustness.corruptions import film_box

__all__ = ["film_agreement", "gallery_agreement"]

_GRID = 28  # cells a side that a film's maps are compared on: finer than the squares of occlusion, 1/8 of its side


def film_agreement(
    frames: npt.NDArray[np.uint8], a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Spearman's rank correlation of two maps of each film, without the padding, whose values mean nothing.

    Args:
        frames: (n, side, side) uint8.
        a, b: (n, side, side) float32 maps.

    Returns:
        (n,) float64, -1 to 1; NaN where one of the two is flat.
    """
    cells = [np.stack([_cells(map_, frame) for map_, frame in zip(maps, frames, strict=True)]) for maps in (a, b)]
    return rank_correlations(*cells)


def gallery_agreement(
    gallery: Gallery, groups: pd.Series, labels: tuple[str, ...], seed: int, resamples: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Agreement of each pair of methods on the films of the gallery.

    Args:
        gallery: films and maps.
        groups: patient group by image id.
        labels: class names.
        seed: of the resamples.
        resamples: of whole groups.

    Returns:
        Name of each pair (``gradcam_occlusion``) to the ``sentence`` and the mean correlation ``overall`` and
        ``per_class`` with intervals; the gallery's table with a column for each pair, NaN where a map is flat.
    """
    table = gallery.table.copy()
    by = Grouping(
        table["label_index"].to_numpy(np.int64),
        groups.loc[table["image_id"]].to_numpy(object),
        labels,
        seed,
        resamples,
    )
    found: dict[str, Any] = {}
    for first, second in combinations(gallery.maps, 2):
        values = film_agreement(gallery.frames, gallery.maps[first], gallery.maps[second])
        name = f"{first}_{second}"
        scores = by.scores(values, "every map of one of the methods is flat")
        titles = METHODS[first].title, METHODS[second].title
        found[name] = {**scores, "sentence": _sentence(titles, scores["overall"], len(table))}
        table[name] = values
    return found, table


def _cells(map_: npt.NDArray[np.float32], frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    inner = np.ascontiguousarray(map_[film_box(frame)])
    return np.asarray(cv2.resize(inner, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float32)


def _sentence(titles: tuple[str, str], overall: dict[str, Any], films: int) -> str:
    pair = f"{titles[0]} and {titles[1].lower()}"
    if overall["value"] is None:
        return f"Whether {pair} agree cannot be said: {overall['reason']}."
    spread = "" if overall["low"] is None else f" ({overall['low']:.2f} to {overall['high']:.2f})"
    return (
        f"Maps of {pair} have a mean rank correlation of {overall['value']:.2f}{spread} on {overall['films']} of the "
        f"gallery's {films} films, which are chosen and no sample of all."
    )
