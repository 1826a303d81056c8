"""Reliability diagrams, before and after calibration side by side (report 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cxr_core.evaluation.calibration import ERROR
from cxr_core.plotting import ACCENT, GREY, class_colours, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["class_reliability_figure", "reliability_figure"]

_TOP = "#000000"


def reliability_figure(
    panels: Mapping[str, Mapping[str, Any]], title: str = "Reliability of the predicted class"
) -> Figure:
    """Accuracy against confidence of the class predicted, a panel for each way of calibrating.

    Args:
        panels: title of a panel to its :func:`~cxr_core.evaluation.calibration.calibration_report`.
        title: over the figure.
    """
    films = next(iter(panels.values()))["n"]
    figure, axes = new_figure(
        title, size=(5.2 * len(panels) + 0.4, 5.6), columns=len(panels), note=_note(films), sharey=True
    )
    for axis, (name, report) in zip(axes[0], panels.items(), strict=True):
        _diagram(axis, report["reliability"], _TOP, _said(report[ERROR], report["null"]))
        axis.set(title=name, xlabel="confidence")
    axes[0, 0].set_ylabel("share of films predicted right")
    axes[0, 0].legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def class_reliability_figure(
    panels: Mapping[str, Mapping[str, Any]], names: Sequence[str], title: str = "Reliability of each class"
) -> Figure:
    """Share of films that are of a class against its probability: a column for each class, a row for each panel.

    Args:
        panels: title of a row to its :func:`~cxr_core.evaluation.calibration_classes.classwise_report`.
        names: class names.
        title: over the figure.
    """
    films = sum(row["films"] for row in next(iter(panels.values()))["per_class"][names[0]]["reliability"])
    size = (4.3 * len(names) + 0.6, 4.5 * len(panels) + 0.6)
    figure, axes = new_figure(
        title, size=size, rows=len(panels), columns=len(names), note=_note(films), sharex=True, sharey=True
    )
    colours = class_colours(names)
    for row, (said, report) in enumerate(panels.items()):
        for column, name in enumerate(names):
            axis, entry = axes[row, column], report["per_class"][name]
            _diagram(axis, entry["reliability"], colours[name], _said(entry, entry["null"]))
            if row == 0:
                axis.set_title(f"{name} ({entry['films']:,} films)")
            if row == len(panels) - 1:
                axis.set_xlabel("probability of the class")
        axes[row, 0].set_ylabel(f"{said}\nshare of films that are of it")
    axes[0, 0].legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def _diagram(axis: Axes, rows: Sequence[Mapping[str, Any]], colour: str, text: str) -> None:
    x = [row["confidence"] for row in rows]
    y = [row["accuracy"] for row in rows]
    band = ([row["band_low"] for row in rows], [row["band_high"] for row in rows])
    label = "if calibrated, 95 %"
    if len(rows) > 1:
        axis.fill_between(x, *band, color=GREY, alpha=0.25, linewidth=0, label=label)
    else:
        axis.errorbar(x, x, yerr=_reach(x, *band), color=GREY, alpha=0.5, linewidth=6, label=label)
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    axis.errorbar(
        x,
        y,
        yerr=_reach(y, [row["low"] for row in rows], [row["high"] for row in rows]),
        color=colour,
        fmt="o-",
        markersize=4,
        linewidth=1.2,
        elinewidth=1,
        label="found, exact 95 %",
    )
    outside = [row for row in rows if not row["band_low"] <= row["accuracy"] <= row["band_high"]]
    axis.plot(
        [row["confidence"] for row in outside],
        [row["accuracy"] for row in outside],
        "o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor=ACCENT,
        label="beyond chance",
    )
    axis.text(0.98, 0.03, text, transform=axis.transAxes, ha="right", va="bottom", fontsize=9)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.grid(alpha=0.3)


def _reach(at: Sequence[float], low: Sequence[float], high: Sequence[float]) -> list[list[float]]:
    return [
        [max(0.0, middle - end) for middle, end in zip(at, low, strict=True)],
        [max(0.0, end - middle) for middle, end in zip(at, high, strict=True)],
    ]


def _said(error: Mapping[str, Any], null: Mapping[str, float]) -> str:
    interval = f" [{error['low']:.3f}, {error['high']:.3f}]" if error["low"] is not None else ""
    return f"calibration error {error['value']:.3f}{interval}\nby chance alone up to {null['high']:.3f}"


def _note(films: int) -> str:
    return f"{films:,} films in bins of equal size."
