"""The gallery as a figure: each film with the outline of its lungs, beside it an overlay of every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core import NOTICE
from cxr_core.explain.gallery import OUTCOMES, Gallery
from cxr_core.explain.lung_figures import draw_outline
from cxr_core.explain.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_gallery"]

_CELL = 1.45  # inches of one film: about 160 pixels at 110 dpi
_TITLE = 0.42  # inches above each row of films
_LEFT, _RIGHT, _TOP, _BOTTOM = 1.05, 0.95, 1.0, 0.45  # inches
_APART = 0.12  # inches between the films of a row
_COLOURS = "turbo"
_WRONG = "firebrick"


def draw_gallery(gallery: Gallery, labels: Sequence[str], films_per_class: int, alpha: float) -> Figure:
    """Draw the chosen films, one row for each class and outcome; rows without films are named below.

    Args:
        gallery: films and maps.
        labels: class names.
        films_per_class: films a row at most.
        alpha: opacity of the overlays, 0-1.
    """
    from matplotlib.figure import Figure

    table = gallery.table
    every = [(label, outcome) for label in range(len(labels)) for outcome in OUTCOMES]
    there = set(zip(table["label_index"], table["outcome"], strict=True))
    rows = [row for row in every if row in there]
    absent = ", ".join(f"{labels[label]} {outcome}" for label, outcome in every if (label, outcome) not in there)
    tiles = 1 + len(gallery.maps)
    film = tiles * _CELL + _APART
    width = films_per_class * film + _LEFT + _RIGHT
    height = len(rows) * (_CELL + _TITLE) + _TOP + _BOTTOM
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    figure.suptitle("What speaks for the predicted class", y=1 - 0.22 / height, fontsize=13, fontweight="bold")
    methods = ", ".join(METHODS[name].title for name in gallery.maps)
    figure.text(0.5, 1 - 0.52 / height, f"each film with its lungs outlined, then {methods}", ha="center", fontsize=9)

    def tile(row: int, column: int, place: int) -> Axes:
        left = _LEFT + column * film + place * _CELL
        bottom = height - _TOP - row * (_CELL + _TITLE) - _CELL
        axis = figure.add_axes((left / width, bottom / height, 0.97 * _CELL / width, 0.97 * _CELL / height))
        axis.set_axis_off()
        return axis

    for row, (label, outcome) in enumerate(rows):
        for column, place in enumerate(np.flatnonzero((table["label_index"] == label) & (table["outcome"] == outcome))):
            original = tile(row, column, 0)
            if column == 0:
                original.text(-0.08, 0.5, f"{labels[label]}\n{outcome}", transform=original.transAxes, ha="right",
                              va="center", fontsize=9)  # fmt: skip
            chosen = table.iloc[int(place)]
            title = f"true {labels[label]}\npredicted {labels[chosen['predicted_index']]} {chosen['probability']:.2f}"
            original.set_title(title, loc="left", fontsize=8, color=_WRONG if outcome == "wrong" else "black")
            original.imshow(gallery.frames[place], cmap="gray", vmin=0, vmax=255)
            draw_outline(original, gallery.lungs[place], width=0.8)
            for number, (name, maps) in enumerate(gallery.maps.items(), start=1):
                overlay = tile(row, column, number)
                overlay.imshow(gallery.frames[place], cmap="gray", vmin=0, vmax=255)
                overlay.imshow(maps[place], cmap=_COLOURS, vmin=0, vmax=1, alpha=alpha)
                if row == column == 0:
                    overlay.set_title(METHODS[name].title, loc="right", fontsize=8)
    _colour_bar(figure, width, alpha)
    note = f"No film: {absent}.  {NOTICE}" if absent else NOTICE
    figure.text(0.5, 0.15 / height, note, ha="center", fontsize=9)
    return figure


def _colour_bar(figure: Any, width: float, alpha: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axis = figure.add_axes((1 - 0.75 / width, 0.3, 0.15 / width, 0.4))
    label = f"share of the map's maximum; opacity {alpha:g}"
    figure.colorbar(ScalarMappable(Normalize(0, 1), _COLOURS), cax=axis, label=label)
