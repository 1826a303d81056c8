"""Figures of the uncertainty report: risk against coverage, the sets' promise and size, what referral buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.evaluation.selective import MEASURES
from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["coverage_figure", "policy_figure", "risk_coverage_figure", "set_size_figure"]

_KINDS = {"marginal": ("marginal sets", OKABE_ITO[0]), "class_conditional": ("class-conditional sets", OKABE_ITO[2])}
_COLOURS = dict(zip(MEASURES, (OKABE_ITO[0], OKABE_ITO[2], OKABE_ITO[1], OKABE_ITO[3], OKABE_ITO[7]), strict=True))
_MARKERS = dict(zip(MEASURES, "osD^v", strict=True))
_ROW = 0.46  # inches of a row of intervals
_PANELS = {
    "accuracy": "accuracy among the kept films",
    "macro_f1": "macro F1 among the kept films",
    "sensitivity": "{followed} sensitivity among the kept films",
    "errors_caught": "share of the errors that are referred",
}


def risk_coverage_figure(report: Mapping[str, Any]) -> Figure:
    """A risk-coverage curve for each measure with its band, and the areas under all of them side by side."""
    selective = report["selective"]
    curves, areas = selective["curves"], selective["areas"]
    figure, axes = new_figure(
        "Error rate among the films that the model keeps", size=(13, 7.6), rows=2, columns=3,
        note=f"{selective['films']:,} test films, {selective['errors']:,} misread; bands: 95 % over patient groups.",
    )  # fmt: skip
    coverage = curves["coverage"]
    tops = [
        value
        for curve in curves["measures"].values()
        for value in (*curve["risk"], *curve["high"])
        if value is not None
    ]
    top = max([0.02, *tops])
    for axis, (measure, curve) in zip(axes.flat, curves["measures"].items(), strict=False):
        colour = _COLOURS[measure]
        axis.fill_between(
            coverage, _numbers(curve["low"]), _numbers(curve["high"]), color=colour, alpha=0.25, linewidth=0
        )
        axis.plot(coverage, _numbers(curve["risk"]), color=colour, linewidth=2, label="this ordering")
        axis.axhline(areas["random"]["value"], color=GREY, linestyle=":", linewidth=1.2, label="random ordering")
        axis.plot(
            coverage, _numbers(curves["perfect"]), color="black", linestyle="--", linewidth=1, label="perfect ordering"
        )
        axis.set(title=MEASURES[measure], xlim=(0, 1.01), ylim=(-0.02 * top, top * 1.35), xlabel="share of films kept")
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("error rate")
    axes[0, 0].legend(loc="upper left", frameon=False, fontsize=9)
    rows = {"perfect": areas["perfect"], **{m: entry["area"] for m, entry in areas["measures"].items()}}
    rows["random"] = areas["random"]
    axis = axes.flat[len(curves["measures"])]
    titles = {**MEASURES, "mutual_information": "mutual information", "set_size": "set size"}
    for place, (name, entry) in enumerate(rows.items()):
        _interval(axis, entry, place, _COLOURS.get(name, GREY))
    axis.set_yticks(range(len(rows)), [titles.get(name, name) for name in rows])
    axis.yaxis.tick_right()
    axis.spines[["left", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set(title="area under the curve (smaller is better)", xlabel="mean error rate over all shares kept")
    axis.set_xlim(left=0)
    axis.grid(axis="x", alpha=0.3)
    return figure


def coverage_figure(report: Mapping[str, Any]) -> Figure:
    """Coverage of both kinds of sets over all films, in each class and in each source, against the promise."""
    said = report["prediction_sets"]
    level = said["fitted"]["level"]
    first = said["marginal"]
    strata = [("all films", "all", None, first["all"])]
    strata += [(name, "per_class", name, entry) for name, entry in first["per_class"].items()]
    strata += [(f"source {name}", "per_source", name, entry) for name, entry in first["per_source"].items()]
    figure, axes = new_figure(
        f"How often prediction sets hold the true class (promised: {level:.0%})",
        size=(8.6, 1.9 + _ROW * len(strata)),
        note=f"{report['films']:,} test films; 95 % intervals over patient groups; hollow: too few for one.",
    )
    axis = axes[0, 0]
    lowest = [level]
    for offset, (kind, (title, colour)) in zip((-0.14, 0.14), _KINDS.items(), strict=True):
        for place, (_, part, name, _) in enumerate(strata):
            found = said[kind][part] if name is None else said[kind][part][name]
            _interval(axis, found["coverage"], place + offset, colour, title if place == 0 else None)
            lowest += [found["coverage"]["low"]] if found["coverage"]["low"] is not None else []
    axis.axvline(level, color=ACCENT, linewidth=1.5, linestyle="--", label="promise")
    draw = said["calibration_draw"]
    if draw is not None:
        axis.axvspan(
            draw["low"], draw["high"], color=ACCENT, alpha=0.12, linewidth=0,
            label=f"by the draw of {said['fitted']['groups']:,} calibration groups",
        )  # fmt: skip
    axis.set_yticks(range(len(strata)), [f"{title} ({entry['films']:,})" for title, _, _, entry in strata])
    axis.invert_yaxis()
    axis.set(xlabel="share of films whose set holds the true class", xlim=(max(-0.01, min(lowest) - 0.05), 1.01))
    axis.grid(axis="x", alpha=0.3)
    below = -0.6 / (_ROW * len(strata))  # six tenths of an inch under the axis
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, below), ncols=2, frameon=False, fontsize=9)
    return figure


def set_size_figure(report: Mapping[str, Any]) -> Figure:
    """How many classes the sets hold; a set of none says that no class is plausible."""
    said = report["prediction_sets"]
    figure, axes = new_figure(
        "Size of the prediction sets", size=(8, 4.4), note=f"{report['films']:,} test films; 95 % intervals."
    )
    axis = axes[0, 0]
    for offset, (kind, (title, colour)) in zip((-0.2, 0.2), _KINDS.items(), strict=True):
        alone = said[kind]["singletons"]["accuracy"]["value"]
        right = "" if alone is None else f"; sets of one class are right in {alone:.1%}"
        sizes = said[kind]["sizes"]
        at = [row["size"] + offset for row in sizes]
        axis.bar(
            at, [row["share"]["value"] for row in sizes], width=0.38, color=colour, alpha=0.75, label=title + right
        )
        for x, row in zip(at, sizes, strict=True):
            share = row["share"]
            if share["low"] is not None:
                axis.plot([x, x], [share["low"], share["high"]], color="black", linewidth=1)
            axis.text(x, (share["high"] or share["value"]) + 0.015, f"{row['films']:,}", ha="center", fontsize=9)
    axis.set_xticks([row["size"] for row in said["marginal"]["sizes"]])
    axis.set(xlabel="classes in the set", ylabel="share of the films", ylim=(0, None))
    axis.margins(y=0.25)
    axis.set_ylim(0, axis.get_ylim()[1] * 1.25)
    axis.legend(loc="upper right", frameon=False, fontsize=9)
    axis.grid(axis="y", alpha=0.3)
    return figure


def policy_figure(report: Mapping[str, Any]) -> Figure:
    """What is bought by sending the least certain films to a human, by each measure; the report's flag beside it."""
    selective, flag = report["selective"], report["flag"]
    figure, axes = new_figure(
        "Sending the least certain films to a human", size=(12, 8.6), rows=2, columns=2,
        note=f"{selective['films']:,} test films; 95 % intervals over patient groups.",
    )  # fmt: skip
    shares = sorted({row["referred"] for row in selective["policies"]})
    step = min(np.diff([0.0, *shares]).min() / 8 if shares else 0.01, 0.01)
    for axis, (score, title) in zip(axes.flat, _PANELS.items(), strict=True):
        start = {"value": 0.0} if score == "errors_caught" else selective["unreferred"][score]
        for place, measure in enumerate(MEASURES):
            rows = {row["referred"]: row[score] for row in selective["policies"] if row["measure"] == measure}
            _policy(axis, [(0.0, start), *sorted(rows.items())], measure, (place - 2) * step)
        if score == "errors_caught":
            axis.plot([0, shares[-1] if shares else 1], [0, shares[-1] if shares else 1], color=GREY, linestyle=":",
                      linewidth=1.2, label="at random")  # fmt: skip
        elif start["value"] is not None:
            axis.axhline(start["value"], color=GREY, linestyle=":", linewidth=1.2, label="at random")
        said = flag.get(score)
        if said and said["value"] is not None and flag["share"]["value"] is not None:
            axis.plot(
                flag["share"]["value"], said["value"], marker="*", markersize=14, color=ACCENT, linestyle="none",
                markeredgecolor="white", label=f"flag below {flag['threshold']:g}", zorder=5,
            )  # fmt: skip
        if missing := [row[score]["reason"] for row in selective["policies"] if row[score]["value"] is None]:
            text = f"not available: {missing[0]}"
            axis.text(0.6, 0.08, text, transform=axis.transAxes, ha="center", fontsize=9, color=GREY)
        axis.set(title=title.format(followed=selective["followed"]), xlabel="share of films referred")
        axis.grid(alpha=0.3)
    handles, labels = axes[1, 1].get_legend_handles_labels()
    others = axes[0, 0].get_legend_handles_labels()
    handles += [handle for handle, label in zip(*others, strict=True) if label not in labels]
    labels += [label for label in others[1] if label not in labels]
    axes[1, 1].legend(handles, labels, loc="upper left", frameon=False, fontsize=8)
    axes[1, 1].set_ylim(top=min(1.02, axes[1, 1].get_ylim()[1] * 1.15))
    return figure


def _policy(axis: Axes, points: Sequence[tuple[float, Mapping[str, Any]]], measure: str, shift: float) -> None:
    colour = _COLOURS[measure]
    x = [share + (shift if share else 0) for share, _ in points]
    axis.plot(
        x, _numbers([entry["value"] for _, entry in points]), color=colour, marker=_MARKERS[measure], markersize=4,
        linewidth=1.3, label=f"by {MEASURES[measure]}",
    )  # fmt: skip
    for place, (share, entry) in zip(x, points, strict=True):
        if share and entry.get("low") is not None:
            axis.plot([place, place], [entry["low"], entry["high"]], color=colour, linewidth=0.9, alpha=0.6)


def _interval(axis: Axes, entry: Mapping[str, Any], y: float, colour: str, label: str | None = None) -> None:
    """A value with its interval on one line; hollow where the films are too few for one, a note where there is none."""
    axis.plot([], [], "o", color=colour, label=label)
    if entry["value"] is None:
        axis.annotate(
            "not available", (0.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY
        )
        return
    sure = entry["low"] is not None
    axis.plot(entry["value"], y, "o", color=colour, markersize=5, markerfacecolor=colour if sure else "white")
    if sure:
        axis.plot([entry["low"], entry["high"]], [y, y], color=colour, linewidth=2)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]
