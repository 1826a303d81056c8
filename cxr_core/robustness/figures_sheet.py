"""A contact sheet: one film clean and under every corruption at each of its severities, to be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.plotting import GREY, new_figure
from cxr_core.robustness.corruptions import CORRUPTIONS, SEVERITIES, condition, corrupt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["severity_sheet", "strip_of"]

_BLOCKS = 2  # strips side by side: the sheet is then about as wide as high
_GAP = 0.04  # white between films, share of a film's side
_PAPER = 255
_NAMED = 14  # signs of a key that fit the note


def strip_of(frame: npt.NDArray[np.uint8], key: str, name: str, seed: int) -> npt.NDArray[np.uint8]:
    """A film clean and at severities 1 to 5 of a corruption, side by side with white between.

    Args:
        frame: (side, side) uint8.
        key: of the film; with ``seed`` it sets the draws, as in a sweep.
        name: of the corruption.
        seed: of the corruptions.

    Returns:
        (side, 6 * side + 5 * gap) uint8, gap a twenty-fifth of the side.
    """
    gap = np.full((len(frame), _gap(len(frame))), _PAPER, np.uint8)
    tiles = [frame]
    for severity in SEVERITIES:
        tiles += [gap, corrupt(frame[None], [key], condition(name, severity), seed)[0]]
    return np.hstack(tiles)


def severity_sheet(labelled: LabelledFrames, seed: int, row: int = 0) -> Figure:
    """One film under all corruptions, a strip each: clean, then severities 1 to 5 with their amounts.

    Args:
        labelled: films with the keys that seed their corruption.
        seed: of the corruptions; with the sweep's seed the tiles are what the model was shown.
        row: of the film drawn.

    Raises:
        CxrError: no such film.
    """
    if not 0 <= row < len(labelled):
        raise CxrError(f"No film {row} among {len(labelled)} to draw under the corruptions: pass the test split.")
    frame, key = labelled.frames.take(np.array([row]))[0], labelled.keys[row]
    lines = -(-len(CORRUPTIONS) // _BLOCKS)
    figure, axes = new_figure(
        f"{len(CORRUPTIONS)} corruptions at {len(SEVERITIES)} severities",
        size=(15, 1.62 * lines + 0.8),
        rows=lines,
        columns=_BLOCKS,
        note=f"Film {key[:_NAMED]}, seed {seed}; under each tile its amount.",
    )
    for place, name in enumerate(CORRUPTIONS):
        _draw(axes[place % lines, place // lines], strip_of(frame, key, name, seed), name)
    for axis in axes.T.flat[len(CORRUPTIONS) :]:
        axis.axis("off")
    return figure


def _gap(side: int) -> int:
    return max(1, round(_GAP * side))


def _draw(axis: Axes, strip: npt.NDArray[np.uint8], name: str) -> None:
    """A strip with the corruption's title above and the amounts beneath."""
    entry, side = CORRUPTIONS[name], len(strip)
    axis.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    middles = side / 2 - 0.5 + np.arange(len(SEVERITIES) + 1) * (side + _gap(side))
    axis.set_xticks(middles, ["clean", *(f"{amount:g}" for amount in entry.severities)])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0, pad=1)
    axis.set_title(entry.title, loc="left", fontsize=11, fontweight="bold", pad=3)
    axis.set_title(entry.unit, loc="right", fontsize=9, color=GREY, pad=3)
