"""Figures of crop sensitivity: what framing changes, and how framed films look (report 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.evaluation.availability import is_available
from cxr_core.plotting import GREY, OKABE_ITO, class_colours, gallery_tile, new_figure
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.crop_frames import FramedFrames, framings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["crop_figure", "framing_gallery"]


def crop_figure(crops: dict[str, Any], title: str = "Predictions when the film is framed otherwise") -> Figure:
    """Three panels, a row a framing: films that change their class, change of accuracy, change of probability by class.

    Args:
        crops: what :func:`cxr_core.trust.crop_sensitivity.crop_sensitivity` returns.
        title: over the figure.
    """
    conditions = crops["conditions"]
    names = list(conditions)
    note = f"{crops['n']:,} films, {crops['groups']:,} groups; * a class surely changes more than the others."
    figure, axes = new_figure(title, size=(12, 0.62 * len(names) + 2.1), columns=3, note=note, sharey=True)
    heights = -np.arange(len(names), dtype=float)
    for axis, key, colour in zip(axes[0], ("changed", "accuracy_change"), (OKABE_ITO[0], GREY), strict=False):
        for height, name in zip(heights, names, strict=True):
            entry = conditions[name][key]
            if entry["low"] is not None:
                axis.hlines(height, 100 * entry["low"], 100 * entry["high"], color=colour, linewidth=2.5)
            axis.plot(100 * entry["value"], height, "o", color=colour, markersize=7)
    classes = list(next(iter(conditions.values()))["classes"])
    colours = class_colours(classes)
    for place, label in enumerate(classes):
        offset = 0.2 * ((len(classes) - 1) / 2 - place)
        for height, name in zip(heights, names, strict=True):
            entry = conditions[name]["classes"][label]["change"]
            if not is_available(entry):
                continue
            right = entry["value"]
            if entry["low"] is not None:
                right = entry["high"]
                axes[0, 2].hlines(height + offset, entry["low"], right, color=colours[label], linewidth=2)
            axes[0, 2].plot(entry["value"], height + offset, "o", color=colours[label], markersize=5)
            if label in conditions[name]["uneven"]:
                axes[0, 2].annotate("*", (right, height + offset), xytext=(4, -3), textcoords="offset points",
                                    color=colours[label], fontsize=12, va="center", fontweight="bold")  # fmt: skip
        axes[0, 2].plot([], [], "o", color=colours[label], label=label)
    axes[0, 0].set(xlabel="films that change class, %", yticks=heights, ylim=(heights[-1] - 0.6, 0.6))
    axes[0, 0].set_yticklabels(names)
    axes[0, 0].set_xlim(left=0)
    axes[0, 1].axvline(0, color="black", linewidth=0.8)
    axes[0, 1].set_xlabel("change of accuracy, points")
    axes[0, 2].set_xlabel("mean change of probability, 0-1")
    axes[0, 2].set_xlim(left=0)
    axes[0, 2].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(classes))
    for axis in axes[0]:
        axis.grid(axis="x", alpha=0.3)
    return figure


def framing_gallery(
    labelled: LabelledFrames, settings: SubgroupSettings, seed: int, films: int = 3, title: str = "Framed films"
) -> Figure:
    """The first films centred and in each framing, a row each.

    Args:
        labelled: the films, in the order in which they are taken.
        settings: shifts and crops.
        seed: of the directions.
        films: rows at most, >= 1.
        title: over the figure.
    """
    rows = np.arange(min(films, len(labelled)))
    ways = framings(settings)
    columns = {"centred": labelled.frames.take(rows)}
    columns.update({way.name: FramedFrames(labelled.frames, labelled.keys, way, seed).take(rows) for way in ways})
    size = (2.0 * len(columns) + 0.3, 2.2 * max(1, len(rows)) + 0.9)
    figure, axes = new_figure(title, size=size, rows=max(1, len(rows)), columns=len(columns), note=f"Seed {seed}.")
    for place, (name, frames) in enumerate(columns.items()):
        axes[0, place].set_title(name)
        for line in range(len(rows)):
            gallery_tile(axes[line, place], frames[line], labelled.keys[line] if place == 0 else "")
    return figure
