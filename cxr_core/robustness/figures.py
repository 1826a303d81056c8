"""Figures of the robustness report: scores by condition, confidence clean against corrupted (report 5.1, 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.plotting import GREY, OKABE_ITO, class_colours, gallery_tile, new_figure
from cxr_core.robustness.corruptions import CLEAN, Preset, corrupt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

__all__ = ["conditions_figure", "confidence_figure", "corruption_gallery"]

_DRAWN = {"accuracy": "accuracy", "macro_f1": "macro F1", "macro_auc": "macro AUC"}


def conditions_figure(report: dict[str, Any], title: str = "Scores under corruption") -> Figure:
    """Accuracy, macro F1 and macro AUC of the clean films and under each preset with their intervals.

    Args:
        report: what :func:`cxr_core.robustness.assess.assess` returns.
        title: over the figure.
    """
    conditions = _whole(report)
    colours = class_colours(list(conditions))
    note = f"{report['n']:,} films, {report['groups']:,} groups; bars: {report['level']:.0%} intervals."
    figure, axes = new_figure(title, size=(9, 4.4), note=note)
    axis, width = axes[0, 0], 0.8 / len(conditions)
    lowest = 1.0
    for place, (name, entry) in enumerate(conditions.items()):
        label = name
        for column, score in enumerate(_DRAWN):
            value, interval = entry[score], entry["intervals"][score]
            if value is None:
                continue
            centre = column + (place - (len(conditions) - 1) / 2) * width
            axis.plot(centre, value, "o", color=colours[name], markersize=8, label=label)
            label = "_nolegend_"
            top = value
            if interval:
                axis.vlines(centre, interval["low"], interval["high"], color=colours[name], linewidth=2.5)
                lowest, top = min(lowest, interval["low"]), max(value, interval["high"])
            lowest = min(lowest, value)
            axis.annotate(
                f"{value:.3f}", (centre, top), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=9
            )
    axis.set_xticks(range(len(_DRAWN)), list(_DRAWN.values()))
    axis.tick_params(axis="x", labelsize=11)
    axis.set_xlim(-0.5, len(_DRAWN) - 0.5)
    axis.set_ylim(max(0.0, lowest - 0.05), 1.04)
    axis.set_ylabel("score")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(conditions))
    return figure


def confidence_figure(report: dict[str, Any], title: str = "Confidence, clean and corrupted") -> Figure:
    """Histogram of the largest probability of each film, one panel a preset over the clean films (report 5.2).

    Args:
        report: what :func:`cxr_core.robustness.assess.assess` returns.
        title: over the figure.
    """
    conditions = _whole(report)
    clean = conditions[CLEAN.name]
    corrupted = {name: entry for name, entry in conditions.items() if name != CLEAN.name}
    shown = corrupted or {CLEAN.name: clean}
    size = (max(6.0, 5.2 * len(shown)), 4.2)
    figure, axes = new_figure(title, size=size, columns=len(shown), note=f"{report['n']:,} films.", sharey=True)
    edges = np.linspace(0, 1, len(clean["confidence_histogram"]) + 1)
    for axis, (name, entry) in zip(axes[0], shown.items(), strict=True):
        drawn = {CLEAN.name: (clean, GREY), name: (entry, OKABE_ITO[0])}
        for key, (values, colour) in drawn.items():
            shares = np.array(values["confidence_histogram"]) / report["n"]
            label = f"{key}: mean {values['mean_confidence']:.3f}"
            axis.stairs(shares, edges, color=colour, linewidth=2, fill=key == CLEAN.name, alpha=0.5, label=label)
            axis.axvline(values["mean_confidence"], color=colour, linestyle="--", linewidth=1.2)
        filled = np.add(clean["confidence_histogram"], entry["confidence_histogram"])
        axis.set_xlim(max(0.0, edges[np.flatnonzero(filled)[0]] - 0.05), 1.0)
        axis.set(xlabel="confidence (largest probability)", title=name)
        axis.grid(alpha=0.3)
        axis.legend(frameon=True, framealpha=0.9, edgecolor="none", loc="upper left")
    axes[0, 0].set(ylabel="share of films", ylim=(0, 1.25 * axes[0, 0].get_ylim()[1]))  # the legends lie above the bars
    return figure


def corruption_gallery(
    labelled: LabelledFrames, presets: Mapping[str, Preset], seed: int, films: int = 3, title: str = "Corrupted films"
) -> Figure:
    """The first films clean and under each preset, a row each.

    Args:
        labelled: the films, in the order in which they are taken.
        presets: conditions by name.
        seed: of the corruptions.
        films: rows at most, >= 1.
        title: over the figure.
    """
    rows = np.arange(min(films, len(labelled)))
    keys = list(labelled.keys[: len(rows)])
    frames = labelled.frames.take(rows)
    columns = {CLEAN.name: CLEAN, **presets}
    size = (2.3 * len(columns) + 0.3, 2.5 * max(1, len(rows)) + 0.8)
    figure, axes = new_figure(title, size=size, rows=max(1, len(rows)), columns=len(columns), note=f"Seed {seed}.")
    for place, (name, preset) in enumerate(columns.items()):
        corrupted = corrupt(frames, keys, preset, seed)
        axes[0, place].set_title(name)
        for line, key in enumerate(keys):
            gallery_tile(axes[line, place], corrupted[line], key if place == 0 else "")
    return figure


def _whole(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Conditions that are no single corruption: the clean films and the presets."""
    return {name: entry for name, entry in report["conditions"].items() if entry["corruption"] is None}
