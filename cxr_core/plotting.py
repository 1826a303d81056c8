"""The shared look of every figure: no global pyplot state, colours that the colour-blind tell apart, stable bytes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxr_core import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "GREY",
    "OKABE_ITO",
    "boxes",
    "cell_colour",
    "class_colours",
    "gallery_tile",
    "heat_map",
    "new_figure",
    "png_bytes",
    "sentence_figure",
]

# Okabe and Ito, "Color Universal Design", 2008; the first three go to the three classes.
OKABE_ITO: tuple[str, ...] = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
GREY = "#666666"
ACCENT = "#D55E00"  # limits, best epochs: the vermilion, kept from the first classes
_TITLE_SIZE, _TEXT_SIZE, _NOTE_SIZE = 13, 10, 8  # points: legible at 110 dots an inch in a browser
_FOOTER = 0.24  # inches kept free for the footer


def class_colours(names: Sequence[str]) -> dict[str, str]:
    """Colour of each name by its place in the order; the palette repeats after eight."""
    return {name: OKABE_ITO[place % len(OKABE_ITO)] for place, name in enumerate(names)}


def new_figure(
    title: str, *, size: tuple[float, float], rows: int = 1, columns: int = 1, note: str = "", **grid: Any
) -> tuple[Figure, npt.NDArray[Any]]:
    """A titled figure with its axes laid out and the notice beneath.

    Args:
        title: one line over the figure.
        size: width and height, inches.
        rows, columns: of axes.
        note: computed remark set before the notice, for example how many films are drawn.
        grid: further arguments of ``Figure.subplots``.

    Returns:
        The figure, and its axes as a (rows, columns) object array.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    footer = _FOOTER / size[1]
    layout = ConstrainedLayoutEngine(rect=(0, footer, 1, 1 - footer), w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=size, layout=layout, facecolor="white")
    figure.suptitle(title, fontsize=_TITLE_SIZE, fontweight="bold")
    text = f"{note}  {NOTICE}" if note else NOTICE
    figure.text(0.5, 0.06 / size[1], text, ha="center", va="bottom", fontsize=_NOTE_SIZE, color=GREY)
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    for axis in axes.flat:
        axis.tick_params(labelsize=_TEXT_SIZE - 1)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.label.set_size(_TEXT_SIZE)
        axis.yaxis.label.set_size(_TEXT_SIZE)
        axis.title.set_size(_TEXT_SIZE + 1)
        axis.set_axisbelow(True)
    return figure, axes


def sentence_figure(title: str, sentence: str) -> Figure:
    """A figure that holds one sentence: what is drawn where there is nothing to draw."""
    figure, axes = new_figure(title, size=(8, 2.4))
    axes[0, 0].axis("off")
    axes[0, 0].text(0.5, 0.5, sentence, ha="center", va="center", fontsize=_TITLE_SIZE)
    return figure


def boxes(axis: Axes, groups: dict[str, npt.NDArray[np.float64]], colours: dict[str, str]) -> None:
    """Box plots side by side: median, quartiles, whiskers at the 5th and 95th percentile; an empty group stays blank.

    Args:
        axis: where to draw.
        groups: name to values, any length.
        colours: name to colour.
    """
    names = list(groups)
    drawn = axis.boxplot(
        [groups[name] for name in names],
        tick_labels=names,
        whis=(5, 95),
        showfliers=False,
        widths=0.6,
        patch_artist=True,
        medianprops={"color": "black", "linewidth": 1.5},
    )
    for name, box in zip(names, drawn["boxes"], strict=True):
        box.set_facecolor(colours[name])
        box.set_alpha(0.75)
    axis.grid(axis="y", alpha=0.3)


def cell_colour(share: float) -> str:
    """Colour of text over a heat-map cell whose value is ``share`` (0-1) of the map's range."""
    return "white" if share > 0.55 else "black"


def heat_map(
    axis: Axes,
    values: npt.NDArray[np.float64],
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float] = (0.0, 1.0),
    text_size: float = _TEXT_SIZE,
) -> None:
    """Cells coloured by value with a text in each.

    Args:
        axis: where to draw.
        values: (len(rows), len(columns)) numbers that set the colours; NaN cells stay grey.
        texts: text of each cell.
        rows, columns: names along the sides.
        limits: values at the light and the dark end.
        text_size: points.
    """
    from matplotlib import colormaps

    map_ = colormaps["Blues"].with_extremes(bad="#DDDDDD")
    axis.imshow(values, cmap=map_, vmin=limits[0], vmax=limits[1], aspect="auto")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for row, column in np.ndindex(values.shape):
        share = (values[row, column] - limits[0]) / (limits[1] - limits[0])
        colour = cell_colour(float(np.nan_to_num(share)))
        axis.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=text_size)


def gallery_tile(axis: Axes, frame: npt.NDArray[np.uint8] | None, caption: str = "", colour: str = "black") -> None:
    """One film of a gallery, grey 0-255, with a caption beneath; no frame leaves the place empty."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    if frame is not None:
        axis.imshow(frame, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_xlabel(caption, fontsize=_NOTE_SIZE, color=colour)


def png_bytes(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as PNG; equal figures give equal bytes, as neither date nor software is written into the file."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()
