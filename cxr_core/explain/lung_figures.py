"""Figures of the lung masks: their overlap with the truth of phantoms, their outlines on films."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, boxes, gallery_tile, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_outline", "outline_figure", "overlap_figure"]

Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]

_OUTLINE = OKABE_ITO[4]  # sky blue: seen on black and on white
_TILE = 1.75  # inches a film


def overlap_figure(films: pd.DataFrame, ovals: npt.NDArray[np.float64], limit: float) -> Figure:
    """Dice of the masks beside that of two fixed ovals, of each class and each site, with the limit.

    Args:
        films: n rows ``dice``, ``label``, ``site``.
        ovals: (n,) Dice of the ovals on the same films.
        limit: lowest median that is asked for.
    """
    figure, axes = new_figure(
        "Lung masks against the true lungs of phantoms",
        size=(10.5, 4.2),
        columns=2,
        sharey=True,
        note=f"{len(films)} phantoms; boxes: quartiles, whiskers: 5 % and 95 %; dashed: limit of the median.",
    )
    for axis, column in zip(axes[0], ("label", "site"), strict=True):
        groups, colours = {}, {}
        for name in sorted(set(films[column])):
            rows = (films[column] == name).to_numpy()
            for title, values, colour in (("masks", films["dice"].to_numpy(), OKABE_ITO[0]), ("ovals", ovals, GREY)):
                groups[f"{name}\n{title}"] = np.asarray(values, np.float64)[rows]
                colours[f"{name}\n{title}"] = colour
        boxes(axis, groups, colours)
        axis.axhline(limit, color=ACCENT, linestyle="--", linewidth=1)
        axis.tick_params(axis="x", labelsize=8)
        axis.set_title({"label": "by class", "site": "by site"}[column])
    axes[0, 0].set_ylabel("Dice")
    return figure


def outline_figure(
    frames: Pixels, masks: Masks, areas: pd.DataFrame, labels: Sequence[str], per_class: int, names: Sequence[str]
) -> Figure:
    """Films with the outline of their lungs: of each class the first by image id, one row a class.

    Args:
        frames: (n, side, side) uint8.
        masks: (n, side, side) bool.
        areas: n rows of :func:`~cxr_core.explain.lung_plausibility.lung_areas`.
        labels: n class names.
        per_class: films of each class at most.
        names: class names in order.
    """
    order = np.argsort(areas["image_id"].to_numpy(), kind="stable")
    chosen = {name: [row for row in order if labels[row] == name][:per_class] for name in names}
    shown = [name for name in names if chosen[name]]
    title = "Lungs found on test films"
    if not shown:
        return sentence_figure(title, "There are no test films.")
    columns = max(len(chosen[name]) for name in shown)
    figure, axes = new_figure(title, size=(max(5.5, columns * _TILE + 0.6), len(shown) * (_TILE + 0.35) + 0.7),
                              rows=len(shown), columns=columns)  # fmt: skip
    for line, name in zip(axes, shown, strict=True):
        for axis in line:
            gallery_tile(axis, None)
        for axis, row in zip(line, chosen[name], strict=False):
            film = areas.iloc[row]
            caption = f"{100 * film['area']:.0f} % of the film" if film["found"] else "none found"
            gallery_tile(axis, frames[row], caption, "black" if film["plausible"] else ACCENT)
            draw_outline(axis, masks[row])
        line[0].set_ylabel(name, fontsize=10)
    return figure


def draw_outline(axis: Axes, mask: Masks, colour: str = _OUTLINE, width: float = 1.0) -> None:
    """Draw the outline of a mask (side, side) over a film that is shown on the same axes."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        closed = np.concatenate([outline[:, 0], outline[:1, 0]])
        axis.plot(closed[:, 0], closed[:, 1], color=colour, linewidth=width, solid_joinstyle="round")
