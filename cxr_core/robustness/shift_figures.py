"""Figures of the embedding shift: distances against severity with their nulls, and where each is first seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.evaluation.availability import is_available
from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, heat_map, new_figure, sentence_figure
from cxr_core.robustness.shift_distances import DISTANCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["first_seen_figure", "ladder_figure", "null_units_figure"]

_COLUMNS = 5
_SEVERITIES = (1, 2, 3, 4, 5)
_NEVER = 6  # one beyond the severities: the light end of the map
_MARKERS = "osD^vPX"


def ladder_figure(report: Mapping[str, Any], name: str) -> Figure:
    """One distance against severity, a panel a corruption, with the band of each null.

    Args:
        report: of :func:`~cxr_core.robustness.shift_report.shift_report`.
        name: in :data:`~cxr_core.robustness.shift_distances.DISTANCES`.
    """
    title = f"{DISTANCES[name].title[0].upper()}{DISTANCES[name].title[1:]} by severity"
    halves, ladders = report["distances"][name]["halves"], _ladders(report)
    if not is_available(halves) or not ladders:
        return sentence_figure(title, f"Not available: {halves.get('reason', 'no corruption has severities')}.")
    note = f"{report['drawn']['films']:,} films, halves of {halves['films'][0]:,} and {halves['films'][1]:,}."
    figure, panels = _panels(title, ladders, note)
    for axis, (corruption, steps) in zip(panels, ladders.items(), strict=False):
        entries = {s: entry["distances"][name] for s, entry in steps.items() if is_available(entry["distances"][name])}
        axis.set_title(corruption.replace("_", " "))
        axis.axhspan(halves["low"], halves["high"], color=GREY, alpha=0.18, lw=0, label="two clean halves, 95 %")
        null = {s: e["exchange"] for s, e in entries.items() if is_available(e["exchange"])}
        if null:
            low, high = [e["low"] for e in null.values()], [e["high"] for e in null.values()]
            axis.fill_between(
                list(null), low, high, color=OKABE_ITO[4], alpha=0.45, lw=0, label="versions exchanged, 95 %"
            )
        axis.plot(list(entries), [e["value"] for e in entries.values()], "o-", color=OKABE_ITO[0], label="same films")
        other = {s: e["other_films"] for s, e in entries.items() if is_available(e["other_films"])}
        axis.plot(
            list(other),
            [e["value"] for e in other.values()],
            "s--",
            color=OKABE_ITO[1],
            label="other films (half of them)",
        )
        _mark_loss(axis, steps)
    panels[0].set_ylabel(DISTANCES[name].title)
    _legend(figure, panels, len(ladders))
    return figure


def null_units_figure(report: Mapping[str, Any]) -> Figure:
    """Every distance to other films, in units of its null between halves: 0 its mean, 1 its upper end.

    Args:
        report: of :func:`~cxr_core.robustness.shift_report.shift_report`.
    """
    title = "Distance to other clean films, in units of the null"
    ladders = _ladders(report)
    known = {n: e["halves"] for n, e in report["distances"].items() if is_available(e["halves"])}
    if not known or not ladders:
        reason = next(iter(report["distances"].values()))["halves"].get("reason", "no corruption has severities")
        return sentence_figure(title, f"Not available: {reason}.")
    figure, panels = _panels(title, ladders, f"{report['drawn']['films']:,} films; 0: mean of the null, 1: its end.")
    for axis, (corruption, steps) in zip(panels, ladders.items(), strict=False):
        axis.set_title(corruption.replace("_", " "))
        axis.axhspan(0, 1, color=GREY, alpha=0.18, lw=0, label="null between halves")
        for place, (name, halves) in enumerate(known.items()):
            width = max(halves["high"] - halves["value"], 1e-12)
            points = {
                s: abs(entry["distances"][name]["other_films"]["value"] - halves["value"]) / width
                for s, entry in steps.items()
                if is_available(entry["distances"][name]) and is_available(entry["distances"][name]["other_films"])
            }
            style = f"{_MARKERS[place]}-"
            axis.plot(
                list(points), list(points.values()), style, ms=4, color=_colour(place), label=DISTANCES[name].title
            )
        _mark_loss(axis, steps)
    panels[0].set_yscale("symlog", linthresh=1)
    panels[0].set_ylim(bottom=0)
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel("units of the null")
    _legend(figure, panels, len(ladders))
    return figure


def first_seen_figure(report: Mapping[str, Any]) -> Figure:
    """Smallest severity at which each distance, and accuracy, is beyond its null; one map a null."""
    title = "Smallest severity beyond the null"
    warned = report["early_warning"]
    found = [e for null in warned.values() for e in null.values() if e.get("corruptions")]
    if not found:
        reason = next(
            (e["reason"] for null in warned.values() for e in null.values() if "reason" in e), "no severities"
        )
        return sentence_figure(title, f"Not available: {reason}.")
    corruptions = sorted(found[0]["corruptions"])
    titles = {"exchange": "same films: versions exchanged", "other_films": "other films: two halves"}
    figure, axes = new_figure(
        title,
        size=(13, 1.6 + 0.34 * len(corruptions)),
        columns=len(titles),
        note=f"-: at no severity, or no such test. {report['drawn']['films']:,} films.",
        sharey=True,
    )
    accuracy = [found[0]["corruptions"][c]["accuracy"] for c in corruptions]
    for axis, (null, text) in zip(axes[0], titles.items(), strict=True):
        columns = [accuracy]
        for name in DISTANCES:
            rows = warned[null][name].get("corruptions")
            columns.append([rows[c]["distance"] if rows else None for c in corruptions])
        values = np.array([[_NEVER if v is None else v for v in column] for column in columns], np.float64).T
        texts = [["-" if v is None else str(v) for v in row] for row in zip(*columns, strict=True)]
        names = ["accuracy\nfalls", *(d.title.replace(" ", "\n") for d in DISTANCES.values())]
        heat_map(axis, _NEVER - values, texts, [c.replace("_", " ") for c in corruptions], names, (0.0, 6.0))
        axis.axvline(0.5, color="white", lw=4)
        axis.set_title(text)
    return figure


def _ladders(report: Mapping[str, Any]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Corruption to its severities, ascending, to the entry of each."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for entry in report["conditions"].values():
        if entry["severity"] > 0:
            found.setdefault(entry["corruption"], {})[entry["severity"]] = entry
    return {corruption: dict(sorted(found[corruption].items())) for corruption in sorted(found)}


def _panels(title: str, ladders: Mapping[str, Any], note: str) -> tuple[Figure, list[Axes]]:
    rows = -(-(len(ladders) + 1) // _COLUMNS)  # one place is kept for the legend
    figure, axes = new_figure(
        title, size=(13, 1.0 + 2.3 * rows), rows=rows, columns=_COLUMNS, note=note, sharex=True, sharey=True
    )
    panels = list(axes.flat)
    for axis in panels[len(ladders) :]:
        axis.axis("off")
    for axis in axes[-1]:
        axis.set_xlabel("severity")
    for axis in panels[: len(ladders)]:
        axis.set_xticks(_SEVERITIES)
        axis.grid(axis="y", alpha=0.3)
        axis.tick_params(labelbottom=True)
    return figure, panels


def _mark_loss(axis: Axes, steps: Mapping[int, Mapping[str, Any]]) -> None:
    fall = next((severity for severity, entry in steps.items() if entry["accuracy_loss"].get("beyond")), None)
    if fall is not None:
        axis.axvline(fall, color=ACCENT, ls=":", lw=1.8, label="accuracy falls beyond chance")


def _legend(figure: Figure, panels: list[Axes], used: int) -> None:
    labelled: dict[str, Any] = {}
    for axis in panels[:used]:
        handles, labels = axis.get_legend_handles_labels()
        labelled.update({label: handle for handle, label in zip(handles, labels, strict=True) if label not in labelled})
    panels[used].legend(list(labelled.values()), list(labelled), loc="center", frameon=False, fontsize=9)


def _colour(place: int) -> str:
    return OKABE_ITO[place] if place < 6 else OKABE_ITO[7]  # the yellow is too light for a line
