"""Figures of the failure report: confusion pairs, the worst films, what errors go with (report 6.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import is_available
from cxr_core.plotting import ACCENT, OKABE_ITO, class_colours, gallery_tile, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["association_figure", "contact_sheet", "pairs_figure"]

_COLUMNS = 6  # films in a row of the contact sheet: 15 inches, a screen's width
_OUTCOMES = {"error": "any error", "false_positive": "normal called ill", "false_negative": "ill called normal"}
_FLAG_DIGITS = 24  # letters of flags under a film: the width of its picture


def pairs_figure(report: dict[str, Any], title: str = "Which classes are taken for which") -> Figure:
    """Each ordered pair of classes: share of the true class's films with its exact interval, and the count.

    Args:
        report: what :func:`cxr_core.trust.failures.failure_report` returns.
        title: over the figure.
    """
    pairs = [pair for pair in report["pairs"] if is_available(pair["of_true"])]
    if not pairs:
        return sentence_figure(title, "Not available: there are no films of two classes.")
    names = list(report["per_class"])
    colours = class_colours(names)
    note = f"{report['n']:,} films, {report['counts']['errors']:,} errors; bars: {report['level']:.0%} intervals."
    figure, axes = new_figure(title, size=(8.5, 0.5 * len(pairs) + 1.8), note=note)
    axis = axes[0, 0]
    for place, pair in enumerate(pairs):
        share, colour = pair["of_true"], colours[pair["true"]]
        axis.barh(-place, 100 * share["value"], color=colour, alpha=0.35, height=0.6)
        axis.hlines(-place, 100 * share["low"], 100 * share["high"], color=colour, linewidth=2.5)
        axis.annotate(f"{pair['count']:,} of {share['films']:,}", (100 * share["high"], -place), xytext=(6, 0),
                      textcoords="offset points", va="center", fontsize=9)  # fmt: skip
    axis.set_yticks([-place for place in range(len(pairs))], [f"{p['true']} → {p['predicted']}" for p in pairs])
    axis.set_xlim(0, 1.25 * max(100 * pair["of_true"]["high"] for pair in pairs))
    axis.set_xlabel("share of the true class's films, %")
    axis.grid(axis="x", alpha=0.3)
    return figure


def contact_sheet(
    worst: Sequence[dict[str, Any]], frames: npt.NDArray[np.uint8], title: str = "Most confidently wrong films"
) -> Figure:
    """The worst films, worst first, each with its image_id, classes, confidence, source and flags beneath.

    Args:
        worst: m entries of :func:`cxr_core.trust.failures.worst_films`.
        frames: (m, side, side) uint8, in their order.
        title: over the figure.
    """
    if not worst:
        return sentence_figure(title, "No film is wrong.")
    columns = min(_COLUMNS, len(worst))
    rows = math.ceil(len(worst) / columns)
    size = (max(2.5 * columns, 8.0), 3.1 * rows + 0.9)
    figure, axes = new_figure(title, size=size, rows=rows, columns=columns, note=f"{len(worst)} films.")
    for place, axis in enumerate(axes.flat):
        if place >= len(worst):
            gallery_tile(axis, None)
            continue
        film = worst[place]
        flags = film["flags"].replace("_", " ").replace(",", ", ") or "no flag"
        flags = flags if len(flags) <= _FLAG_DIGITS else flags[: _FLAG_DIGITS - 1] + "…"
        caption = (
            f"{place + 1}. {film['image_id']}\n{film['label']} → {film['predicted']} {film['confidence']:.3f}\n"
            f"{film['source']}; {flags}"
        )
        gallery_tile(axis, frames[place], caption)
    return figure


def association_figure(report: dict[str, Any], title: str = "What errors go with, within a class") -> Figure:
    """Two panels: rank-biserial correlations with quality numbers, odds ratios of flags and sources; filled and starred
    where significant after Holm.

    Args:
        report: what :func:`cxr_core.trust.failures.failure_report` returns.
        title: over the figure.
    """
    known = [entry for entry in report["associations"] if is_available(entry)]
    if not known:
        return sentence_figure(title, report["sentences"][0])
    panels = {
        measure: [entry for entry in known if entry["measure"] == measure]
        for measure in ("rank_biserial", "odds_ratio")
    }
    lines = max(len({(entry["kind"], entry["covariate"]) for entry in entries}) for entries in panels.values())
    hidden = len(report["associations"]) - len(known)
    note = f"{report['n']:,} films; * p below {report['alpha']:g} after Holm; {hidden} associations not available."
    figure, axes = new_figure(title, size=(13, 0.5 * lines + 2.1), columns=2, note=note)
    colours = dict(zip(_OUTCOMES, (OKABE_ITO[7], OKABE_ITO[0], ACCENT), strict=True))
    for axis, (measure, entries) in zip(axes[0], panels.items(), strict=True):
        _panel(axis, entries, colours, report["alpha"], logarithmic=measure == "odds_ratio")
    axes[0, 0].set_xlabel("rank-biserial correlation (right: wrong films have more of it)")
    axes[0, 1].set_xlabel("odds ratio of being wrong, logarithmic")
    for outcome, colour in colours.items():
        axes[0, 0].plot([], [], "o", color=colour, label=_OUTCOMES[outcome])
    axes[0, 0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(colours))
    return figure


def _panel(
    axis: Axes, entries: Sequence[dict[str, Any]], colours: dict[str, str], alpha: float, logarithmic: bool
) -> None:
    rows = list(dict.fromkeys((entry["kind"], entry["covariate"]) for entry in entries))
    titles = {(entry["kind"], entry["covariate"]): entry["title"] for entry in entries}
    if logarithmic:
        axis.set_xscale("log")
    ends = [entry[key] for entry in entries for key in ("value", "low", "high") if entry[key]]
    least = min([value for value in ends if value > 0], default=0.1) / 1.5
    most = max(ends, default=1.0) * 1.5
    for entry in entries:
        height = -rows.index((entry["kind"], entry["covariate"])) + 0.22 * (1 - list(colours).index(entry["outcome"]))
        colour = colours[entry["outcome"]]
        low, value, high = entry["low"], entry["value"], entry["high"]
        if logarithmic:  # an end at 0 or without bound runs to the edge of the panel
            value = max(value, least)
            low = None if low is None and high is None else max(low or least, least)
            high = None if low is None else high if high is not None else most
        right = value
        if low is not None and high is not None:
            axis.hlines(height, low, high, color=colour, linewidth=2)
            right = high
        sure = entry["holm"] is not None and entry["holm"] <= alpha
        beyond = logarithmic and entry["value"] < least
        axis.plot(value, height, "<" if beyond else "o", color=colour, markersize=5,
                  fillstyle="full" if sure else "none", clip_on=False)  # fmt: skip
        if sure:
            axis.annotate("*", (right, height), xytext=(4, -3), textcoords="offset points", color=colour, fontsize=12,
                          va="center", fontweight="bold")  # fmt: skip
    axis.axvline(1.0 if logarithmic else 0.0, color="black", linewidth=0.8)
    if logarithmic and entries:
        axis.set_xlim(min(least, 0.5), max(most, 2.0))
    axis.set_yticks([-place for place in range(len(rows))], [titles[row] for row in rows])
    axis.set_ylim(-len(rows) + 0.4, 0.6)
    axis.grid(axis="x", alpha=0.3)
