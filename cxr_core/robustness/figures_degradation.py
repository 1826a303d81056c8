"""Figures of the sweep: accuracy and confidence over the severities of each corruption, and the loss of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, heat_map, new_figure, sentence_figure
from cxr_core.robustness.corruptions import CLEAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["degradation_figure", "loss_figure"]

_COLUMNS = 5  # of small multiples: fourteen corruptions and the legend fill three rows
_DRAWN = {"accuracy": ("accuracy", OKABE_ITO[0], "o"), "mean_confidence": ("mean confidence", OKABE_ITO[1], "s")}
_NOTHING = "No corruption was swept."


def degradation_figure(report: Mapping[str, Any], title: str = "Accuracy and confidence over the severities") -> Figure:
    """A panel for each corruption: accuracy and mean confidence from clean (0) to the fifth severity, with intervals.

    A severity that is better than a milder one beyond chance has a ring; one under which confidence rises while
    accuracy falls, beyond chance by itself, a triangle.

    Args:
        report: what :func:`cxr_core.robustness.assess.assess` returns.
        title: over the figure.
    """
    corruptions = report["corruptions"]
    if not corruptions:
        return sentence_figure(title, _NOTHING)
    columns = min(_COLUMNS, len(corruptions) + 1)
    rows = -(-(len(corruptions) + 1) // columns)
    note = f"{report['n']:,} films, {report['groups']:,} groups; bands: {report['level']:.0%} intervals; 0 is clean."
    size = (2.6 * columns + 0.4, 2.15 * rows + 1.0)
    figure, axes = new_figure(title, size=size, rows=rows, columns=columns, note=note, sharex=True, sharey=True)
    flat = list(axes.flat)
    for axis, (_, said) in zip(flat, sorted(corruptions.items()), strict=False):
        _panel(axis, report, said)
    for place in range(len(corruptions), len(flat)):
        flat[place].axis("off")
    lowest = min(
        entry["scores"][score]["low" if entry["scores"][score]["low"] is not None else "value"]
        for entry in report["conditions"].values()
        for score in _DRAWN
    )
    flat[0].set_ylim(max(0.0, lowest - 0.05), 1.03)
    flat[0].set_xticks(range(6))
    flat[len(corruptions)].legend(handles=_legend(), frameon=False, loc="center", fontsize=9)
    for place, axis in enumerate(flat[: len(corruptions)]):
        lowest_row, first = place + columns >= len(corruptions), place % columns == 0
        axis.tick_params(labelbottom=lowest_row, labelleft=first)
        axis.set(xlabel="severity" if lowest_row else "", ylabel="share, mean" if first else "")
    return figure


def loss_figure(report: Mapping[str, Any], title: str = "Accuracy lost by corruption and severity") -> Figure:
    """Heat map of the accuracy lost against clean, in points; a star where the interval leaves out 0.

    Args:
        report: what :func:`cxr_core.robustness.assess.assess` returns.
        title: over the figure.
    """
    corruptions = sorted(report["corruptions"].items(), key=lambda item: (-item[1]["error"]["value"], item[0]))
    if not corruptions:
        return sentence_figure(title, _NOTHING)
    width = max(len(said["conditions"]) for _, said in corruptions)
    values = np.full((len(corruptions), width + 1), np.nan)
    texts = [[""] * (width + 1) for _ in corruptions]
    for row, (_, said) in enumerate(corruptions):
        for column, name in enumerate(said["conditions"]):
            change = report["conditions"][name]["difference"]["accuracy"]
            values[row, column] = -100 * change["value"]
            sure = change["low"] is not None and (change["low"] > 0 or change["high"] < 0)
            texts[row][column] = f"{values[row, column] + 0.0:.1f}{'*' if sure else ''}"
        values[row, width] = 100 * said["excess_error"]["value"]
        texts[row][width] = f"{values[row, width] + 0.0:.1f}"
    note = (
        f"Points; {report['n']:,} films; *: the {report['level']:.0%} interval of the paired difference leaves out 0; "
        "worst corruption first."
    )
    figure, axes = new_figure(title, size=(9, 0.36 * len(corruptions) + 1.5), note=note)
    names = [said["title"] for _, said in corruptions]
    columns = [*(f"severity {place + 1}" for place in range(width)), "mean"]
    heat_map(axes[0, 0], values, texts, names, columns, limits=(0.0, max(1.0, float(np.nanmax(values)))), text_size=9)
    axes[0, 0].axvline(width - 0.5, color="white", linewidth=4)
    return figure


def _panel(axis: Axes, report: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    conditions = report["conditions"]
    names = [CLEAN.name, *said["conditions"]]
    places = [0, *(conditions[name]["severity"] for name in said["conditions"])]
    for score, (label, colour, marker) in _DRAWN.items():
        entries = [conditions[name]["scores"][score] for name in names]
        values = np.array([entry["value"] for entry in entries], np.float64)
        low, high = (
            np.array([np.nan if entry[end] is None else entry[end] for entry in entries]) for end in ("low", "high")
        )
        axis.fill_between(places, low, high, color=colour, alpha=0.22, linewidth=0)
        axis.plot(places, values, color=colour, marker=marker, markersize=4, linewidth=1.6, label=label)
    for pair in said["monotonicity"]["violations"]:
        entry = conditions[pair["stronger"]]
        axis.plot(entry["severity"], entry["accuracy"], "o", markersize=11, mfc="none", mec=ACCENT, mew=1.8)
    for name in said["conditions"]:
        entry = conditions[name]
        if entry["confidence_rose_while_accuracy_fell_beyond_chance"]:
            axis.plot(entry["severity"], entry["mean_confidence"], "^", markersize=9, color=ACCENT)
    axis.axhline(conditions[CLEAN.name]["accuracy"], color=GREY, linestyle=":", linewidth=1)
    axis.set_title(said["title"], fontsize=10)
    axis.grid(alpha=0.3)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=c, marker=m, markersize=5, label=label) for label, c, m in _DRAWN.values()]
    return [
        *lines,
        Line2D([], [], color=GREY, linestyle=":", label="accuracy, clean"),
        Line2D([], [], marker="o", mfc="none", mec=ACCENT, mew=1.8, markersize=9, ls="", label="better than milder"),
        Line2D([], [], marker="^", color=ACCENT, markersize=8, linestyle="", label="surer while worse"),
    ]
