"""Figures of the subgroup report: the gaps of all strata, and the classes beside their size (report 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxr_core.evaluation.availability import is_available
from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, class_colours, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["class_size_figure", "gap_figure"]

_KINDS = {"gap": ("as it is", GREY, 0.18), "standardised_gap": ("same mix of classes", OKABE_ITO[0], -0.18)}
_LINE = 0.36  # inches of one stratum
_MARK = "*"  # of a gap that is significant after Holm


def gap_figure(report: dict[str, Any], title: str = "Accuracy of each stratum against the rest") -> Figure:
    """Forest plot: both gaps of each stratum with their intervals, the limit, and marks where Holm's p is small.

    Args:
        report: what :func:`cxr_core.trust.subgroups.subgroup_report` returns.
        title: over the figure.
    """
    shown = [entry for entry in report["strata"] if is_available(entry["gap"])]
    if not shown:
        return sentence_figure(title, report["verdict"]["sentence"])
    hidden = len(report["strata"]) - len(shown)
    note = (
        f"{report['n']:,} films, {report['groups']:,} groups; bars: {report['level']:.0%} intervals; "
        f"{_MARK} p below {report['alpha']:g} after Holm; {hidden} strata too small."
    )
    dimensions = list(dict.fromkeys(entry["dimension"] for entry in shown))
    size = (10, _LINE * (len(shown) + 0.6 * len(dimensions)) + 2.0)
    figure, axes = new_figure(title, size=size, note=note)
    axis = axes[0, 0]
    places, labels, height = [], [], 0.0
    for dimension in dimensions:
        axis.text(0.0, height, report["titles"][dimension], transform=axis.get_yaxis_transform(), fontsize=9,
                  fontweight="bold", va="center", ha="left")  # fmt: skip
        height -= 0.8
        for entry in (entry for entry in shown if entry["dimension"] == dimension):
            for kind, (_, colour, offset) in _KINDS.items():
                _interval(axis, entry[kind], height + offset, colour, report["alpha"])
            places.append(height)
            labels.append(f"{entry['stratum']}  (n {entry['films']:,})")
            height -= 1.0
    for name, colour, _ in _KINDS.values():
        axis.plot([], [], "o", color=colour, label=name)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(-100 * report["limit"], color=ACCENT, linestyle="--", linewidth=1.2, label="limit")
    axis.set_yticks(places, labels)
    axis.set_ylim(height + 0.4, 0.6)
    axis.set_xlabel("difference of accuracy, percentage points (left: worse than the rest)")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def class_size_figure(report: dict[str, Any], title: str = "Recall of each class and its training films") -> Figure:
    """Recall with its interval over the number of training films, a point a class.

    Args:
        report: what :func:`cxr_core.trust.subgroups.subgroup_report` returns.
        title: over the figure.
    """
    classes = report["class_imbalance"]["classes"]
    colours = class_colours(list(classes))
    figure, axes = new_figure(
        title, size=(7, 4.8), note=f"{report['n']:,} films; bars: {report['level']:.0%} intervals."
    )
    axis = axes[0, 0]
    lowest = 1.0
    for name, entry in classes.items():
        recall, films = entry["recall"], entry["training_films"]
        if not is_available(recall):
            continue
        axis.vlines(films, recall["low"], recall["high"], color=colours[name], linewidth=2.5)
        share = entry["lowest_recall_share"]
        said = "" if share is None else f", lowest in {share:.0%} of resamples"
        axis.plot(
            films, recall["value"], "o", color=colours[name], markersize=8, label=f"{name}: {films:,} films{said}"
        )
        lowest = min(lowest, recall["low"])
    sizes = [entry["training_films"] for entry in classes.values()]
    axis.set_xlim(0, 1.1 * max(1, *sizes))
    axis.set_ylim(max(0.0, lowest - 0.05), 1.02)
    axis.set(xlabel="training films of the class", ylabel="recall")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _interval(axis: Axes, entry: dict[str, Any], height: float, colour: str, alpha: float) -> None:
    if not is_available(entry):
        return
    value = 100 * entry["value"]
    right = value
    if entry["low"] is not None:
        right = 100 * entry["high"]
        axis.hlines(height, 100 * entry["low"], right, color=colour, linewidth=2)
    sure = entry["holm"] is not None and entry["holm"] <= alpha
    axis.plot(value, height, "o", color=colour, markersize=6, fillstyle="full" if sure else "none")
    if sure:
        axis.annotate(_MARK, (right, height), xytext=(4, -3), textcoords="offset points", color=colour, fontsize=12,
                      va="center", fontweight="bold")  # fmt: skip
