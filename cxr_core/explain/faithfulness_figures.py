"""Figures of the trial of the maps: curves, cascade, energy by region, lesions hit, two seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from cxr_core.evaluation.availability import is_available
from cxr_core.explain.deletion import MODES
from cxr_core.explain.map_similarity import TITLES
from cxr_core.plotting import GREY, OKABE_ITO, class_colours, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["cascade_figure", "curves_figure", "energy_figure", "faithfulness_figures", "lesion_figure", "seeds_figure"]

_CURVES = {
    "map": ("the map", OKABE_ITO[0], "-"),
    "random": ("random maps", GREY, "--"),
    "centre": ("centre map", OKABE_ITO[5], ":"),
}
_NULLS = {
    "uniform": ("the same everywhere", "s"),
    "centre": ("centre map", "D"),
    "other_films": ("maps of other films", "^"),
}
_REGIONS = {"lungs": "lungs", "border": "border and padding", "true_lungs": "true lungs"}
_GAP = 0.3  # between the marks of one row


def faithfulness_figures(report: Mapping[str, Any], curves: pd.DataFrame) -> dict[str, Figure]:
    """Every figure by its name."""
    return {
        "deletion_insertion": curves_figure(report, curves),
        "randomisation": cascade_figure(report),
        "energy": energy_figure(report),
        "lesions": lesion_figure(report),
        "two_seeds": seeds_figure(report),
    }


def curves_figure(report: Mapping[str, Any], curves: pd.DataFrame) -> Figure:
    """Probability of the explained class while pixels are taken away or given, with bands; one row a method."""
    methods = report["methods"]
    note = f"Bands: {report['level']:.0%} intervals over patient groups."
    figure, axes = new_figure(
        "Deletion and insertion", size=(10, 0.9 + 3.1 * len(methods)), rows=len(methods), columns=2, note=note,
        sharey=True,
    )  # fmt: skip
    for row, (method, part) in enumerate(methods.items()):
        for column, mode in enumerate(MODES):
            axis: Axes = axes[row, column]
            for name, (label, colour, style) in _CURVES.items():
                own = curves[(curves["method"] == method) & (curves["mode"] == mode) & (curves["map"] == name)]
                area = part[mode][name]["overall"]
                text = f"{label}, area {area['value']:.3f}" if is_available(area) else f"{label}, not available"
                axis.plot(own["share"], own["value"], style, color=colour, label=text)
                axis.fill_between(own["share"], own["low"], own["high"], color=colour, alpha=0.15, linewidth=0)
            axis.set_title(f"{part['title']}, {mode}: {part['films'] - part['blank']} films", loc="left")
            axis.set(xlim=(0, 1), ylim=(0, 1.02))
            axis.set_xlabel(f"share of pixels {'taken away' if mode == 'deletion' else 'given'}")
            axis.grid(alpha=0.3)
            axis.legend(frameon=False, fontsize=9)
        axes[row, 0].set_ylabel("probability of the class")
    return figure


def cascade_figure(report: Mapping[str, Any]) -> Figure:
    """Similarity with the trained network's maps while weights are drawn anew from the head down."""
    title = "Cascading randomisation of the weights"
    cascades = {part["title"]: part["randomisation"] for part in report["methods"].values()}
    known = {name: part for name, part in cascades.items() if "measures" in part}
    if not known:
        reason = next(iter(cascades.values()))["reason"]
        return sentence_figure(title, f"Not available: {reason}.")
    (name, part), *_ = known.items()
    measures = part["measures"]
    note = "Grey: 95 % of pairs of random maps. Lines: intervals over patient groups."
    figure, axes = new_figure(title, size=(10, 4.4), columns=len(measures), note=note)
    for axis, (measure, found) in zip(axes[0], measures.items(), strict=True):
        null = found["null"]
        axis.axhspan(null["low"], null["high"], color=GREY, alpha=0.25, linewidth=0)
        axis.axhline(null["value"], color=GREY, linestyle="--", linewidth=1)
        for place, entry in enumerate(entry["overall"] for entry in found["levels"]):
            _vertical(axis, place + 1, entry, OKABE_ITO[0])
        axis.plot(0, 1, "o", color=OKABE_ITO[0])
        ticks = ["trained", *part["levels"]]
        axis.set_xticks(range(len(ticks)), ticks, rotation=45, ha="right")
        axis.set_title(f"{name}: {TITLES[measure]}", loc="left")
        axis.set(ylim=(min(-0.4, null["low"] - 0.05), 1.05))
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].set_ylabel("similarity with the trained network's maps")
    return figure


def energy_figure(report: Mapping[str, Any]) -> Figure:
    """Share of the maps' energy by region and class, with the nulls on the same films; one row a method."""
    methods = report["methods"]
    names = report["classes"]
    note = f"Lines: {report['level']:.0%} intervals over patient groups."
    height = 1.3 + len(methods) * (1.0 + 0.34 * len(names) * len(_REGIONS) / 2)
    figure, axes = new_figure("Where the maps' energy lies", size=(11, height), rows=len(methods),
                              columns=len(_REGIONS), note=note, sharey=True)  # fmt: skip
    colours = class_colours(names)
    rows = ["all", *names]
    for row, part in enumerate(methods.values()):
        for axis, (region, label) in zip(axes[row], _REGIONS.items(), strict=True):
            found = part["regions"][region]
            axis.set_title(f"{part['title']}: {label}", loc="left")
            axis.set_yticks(range(len(rows)), rows)
            axis.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, 1), xlabel="share of the energy")
            axis.grid(axis="x", alpha=0.3)
            if "energy" not in found:
                axis.text(0.5, (len(rows) - 1) / 2, _wrapped(found["reason"]), ha="center", va="center", color=GREY,
                          fontsize=9)  # fmt: skip
                continue
            for place, name in enumerate(rows):
                _horizontal(axis, place, _of(found["energy"], name), colours.get(name, "black"))
                for null, (_, marker) in _NULLS.items():
                    entry = _of(found[null], name)
                    if is_available(entry):
                        axis.plot(entry["value"], place + _GAP, marker, color=GREY, markersize=5, alpha=0.8)
    for label, marker in _NULLS.values():
        axes[0, -1].plot([], [], marker, color=GREY, markersize=5, label=label)
    axes[0, -1].plot([], [], "o-", color="black", label="the map")
    _legend(axes[0, 1], axes[0, -1], columns=2, height=1.12)
    return figure


def lesion_figure(report: Mapping[str, Any]) -> Figure:
    """Pointing game and overlap with lesions by class, against chance and random maps."""
    title = "Do the maps point at the lesions?"
    methods = {name: part for name, part in report["methods"].items() if "pointing" in part["regions"]["lesions"]}
    first = next(iter(report["methods"].values()))["regions"]["lesions"]
    if not methods:
        return sentence_figure(title, f"Not available: {first['reason']}.")
    measures = {"pointing": "films whose maximum lies on a lesion", "iou": "overlap (IoU) at the lesion's area"}
    names = [
        name
        for name in report["classes"]
        if any(is_available(part["regions"]["lesions"]["iou"]["map"]["per_class"][name]) for part in methods.values())
    ]
    if not names:
        return sentence_figure(title, "Not available: no film has a lesion.")
    rows = [(part["title"], name, part["regions"]["lesions"]) for part in methods.values() for name in names]
    note = f"Lines: {report['level']:.0%} intervals over patient groups."
    figure, axes = new_figure(title, size=(10, 1.9 + 0.5 * len(rows)), columns=2, note=note, sharey=True)
    colours = class_colours(report["classes"])
    for axis, (measure, label) in zip(axes[0], measures.items(), strict=True):
        for place, (_, name, part) in enumerate(rows):
            _horizontal(axis, place, part[measure]["map"]["per_class"][name], colours[name])
            for null, marker in (("chance", "s"), ("random", "^")):
                entry = part[measure][null]["per_class"][name]
                if is_available(entry):
                    axis.plot(entry["value"], place + _GAP, marker, color=GREY, markersize=5)
        axis.set_yticks(range(len(rows)), [f"{method}, {name}" for method, name, _ in rows])
        axis.set(ylim=(len(rows) - 0.4, -0.6), xlim=(-0.02, 1.02), xlabel=label)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 1].plot([], [], "s", color=GREY, markersize=5, label="chance")
    axes[0, 1].plot([], [], "^", color=GREY, markersize=5, label="random maps")
    axes[0, 1].plot([], [], "o-", color="black", label="the map")
    _legend(axes[0, 0], axes[0, 1])
    return figure


def seeds_figure(report: Mapping[str, Any]) -> Figure:
    """Similarity of two trainings' maps: of the same film, and of different films."""
    title = "Maps of two trainings that differ in their seed"
    methods = {name: part for name, part in report["methods"].items() if "ssim" in part["repeatability"]}
    if not methods:
        reason = next(iter(report["methods"].values()))["repeatability"]["reason"]
        return sentence_figure(title, f"Not available: {reason}.")
    names = ["all", *report["classes"]]
    rows = [(part["title"], name, part["repeatability"]) for part in methods.values() for name in names]
    second = report.get("second_model", {})
    shorter = f" The second was trained for {second['epochs']} epochs only." if second.get("shortened") else ""
    note = f"Lines: {report['level']:.0%} intervals over patient groups.{shorter}"
    figure, axes = new_figure(title, size=(10, 1.9 + 0.42 * len(rows)), columns=len(TITLES), note=note, sharey=True)
    for axis, (measure, label) in zip(axes[0], TITLES.items(), strict=True):
        for place, (_, name, part) in enumerate(rows):
            _horizontal(axis, place, _of(part[measure]["same_film"], name), OKABE_ITO[0])
            _horizontal(axis, place + _GAP, _of(part[measure]["other_films"], name), GREY)
        axis.set_yticks(range(len(rows)), [f"{method}, {name}" for method, name, _ in rows])
        axis.set(ylim=(len(rows) - 0.4, -0.6), xlabel=label)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 1].plot([], [], "o-", color=OKABE_ITO[0], label="same film")
    axes[0, 1].plot([], [], "o-", color=GREY, label="different films")
    _legend(axes[0, 0], axes[0, 1])
    return figure


def _legend(axis: Axes, drawn: Axes, columns: int = 3, height: float = 1.0) -> None:
    """A legend above an axis, of what was drawn on another: inside it, marks would lie behind."""
    handles, labels = drawn.get_legend_handles_labels()
    axis.legend(
        handles, labels, frameon=False, ncols=columns, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, height)
    )


def _of(scores: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = scores["overall"] if name == "all" else scores["per_class"][name]
    return found


def _horizontal(axis: Axes, y: float, entry: Mapping[str, Any], colour: str) -> None:
    if not is_available(entry):
        return
    if entry["low"] is not None:
        axis.plot([entry["low"], entry["high"]], [y, y], color=colour, linewidth=2.5, alpha=0.7)
    axis.plot(entry["value"], y, "o", color=colour, markersize=6)


def _vertical(axis: Axes, x: float, entry: Mapping[str, Any], colour: str) -> None:
    if not is_available(entry):
        axis.text(x, 0, "no map", rotation=90, ha="center", va="center", fontsize=8, color=GREY)
        return
    if entry["low"] is not None:
        axis.plot([x, x], [entry["low"], entry["high"]], color=colour, linewidth=2.5, alpha=0.7)
    axis.plot(x, entry["value"], "o", color=colour, markersize=6)


def _wrapped(text: str, width: int = 24) -> str:
    lines: Sequence[str] = [""]
    for word in text.split():
        lines = [*lines, word] if len(f"{lines[-1]} {word}") > width else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return "\n".join(lines)
