"""Figures of the mitigation report: what each measure gains under each condition, and what abstention answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cxr_core.evaluation.availability import is_available
from cxr_core.plotting import GREY, OKABE_ITO, new_figure
from cxr_core.robustness.mitigation_arms import CLAHE, CORRUPTED, PLAIN, TEST_TIME, TWIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["abstention_figure", "gains_figure"]

_COLOURS = {TEST_TIME: OKABE_ITO[0], CLAHE: OKABE_ITO[1], TWIN: OKABE_ITO[3], CORRUPTED: OKABE_ITO[2]}
_MARKERS = {TEST_TIME: "o", CLAHE: "s", TWIN: "v", CORRUPTED: "D"}
_PANELS = {"accuracy": "accuracy", "log_loss": "log loss (positive: lower)"}
_MEANS = {"corrupted": "mean, corrupted", "drawn": "mean, drawn in training", "held_out": "mean, held out"}
_ROW = 0.52  # inches of a condition
_SPREAD = 0.7  # of a row that its marks fill


def gains_figure(report: Mapping[str, Any], title: str = "What each measure gains") -> Figure:
    """Gain of each arm under each condition and on average, with intervals; right of the line is better.

    An arm with a twin is drawn against that, the others against the unmitigated model.

    Args:
        report: what :func:`cxr_core.robustness.mitigation.mitigation_report` returns.
        title: over the figure.
    """
    held_out = {name: entry["held_out"] for name, entry in report["conditions"].items()}
    rows = [*held_out, *_MEANS]
    labels = [f"{name}{'  (held out)' if held_out[name] else ''}" for name in held_out] + list(_MEANS.values())
    arms = {name: arm for name, arm in report["arms"].items() if name != PLAIN}
    note = f"{report['films']:,} films, {report['groups']:,} groups; bars: {report['level']:.0%} intervals, paired."
    size = (12.5, 2.0 + _ROW * len(rows))
    figure, axes = new_figure(title, size=size, columns=len(_PANELS), note=note, sharey=True)
    for axis, (score, panel) in zip(axes[0], _PANELS.items(), strict=True):
        axis.axvline(0, color=GREY, linewidth=1)
        for place, (name, arm) in enumerate(arms.items()):
            offset = ((place + 0.5) / len(arms) - 0.5) * _SPREAD
            for line, row in enumerate(rows):
                _mark(axis, _gain(arm, row)[score], line + offset, name)
        axis.axhline(len(held_out) - 0.5, color=GREY, linewidth=0.8, linestyle=":")
        axis.set(xlabel=f"gain in {panel}", ylim=(len(rows) - 0.5, -0.5))
        axis.set_yticks(range(len(rows)), labels)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)
    half = (len(arms) + 1) // 2
    for axis, named in zip(axes[0], (list(arms)[:half], list(arms)[half:]), strict=True):
        for name in named:
            axis.plot([], [], _MARKERS[name], color=_COLOURS[name], label=_named(report, name))
        axis.legend(frameon=False, fontsize=9.5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def abstention_figure(report: Mapping[str, Any], title: str = "Abstention by confidence") -> Figure:
    """Share of films answered and accuracy among them under each condition, beside that of all films.

    Args:
        report: what :func:`cxr_core.robustness.mitigation.mitigation_report` returns.
        title: over the figure.
    """
    said = report["abstention"]
    names = list(said["conditions"])
    note = f"{report['films']:,} films, {report['groups']:,} groups; bars: {report['level']:.0%} intervals."
    figure, axes = new_figure(title, size=(12.5, 2.4 + 0.42 * len(names)), columns=2, note=note, sharey=True)
    below, keeps = f"confidence of {said['threshold']:g} or more", "as many as keep the clean error (labels known)"
    for line, name in enumerate(names):
        entry = said["conditions"][name]
        plain = report["arms"][PLAIN]["conditions"][name]["scores"]["accuracy"]
        error = {"value": None} if plain["value"] is None else _complement(plain)
        _point(axes[0, 0], entry["below_threshold"]["coverage"], line - 0.15, OKABE_ITO[0], "o", below)
        _point(axes[0, 0], entry["keeps_clean_error"]["coverage"], line + 0.15, OKABE_ITO[2], "D", keeps)
        _point(axes[0, 1], error, line - 0.15, GREY, "s", "all films")
        _point(axes[0, 1], entry["below_threshold"]["error"], line + 0.15, OKABE_ITO[0], "o", below)
    axes[0, 0].set(xlabel="share of films answered", ylim=(len(names) - 0.5, -0.5), xlim=(-0.02, 1.02))
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 1].set(xlabel="error rate among the films answered")
    axes[0, 1].set_xlim(left=-0.01)
    for axis in axes[0]:
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)
        handles, labels = axis.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axis.legend(unique.values(), unique.keys(), frameon=False, fontsize=9, loc="lower center",
                    bbox_to_anchor=(0.5, 1.0), ncols=2)  # fmt: skip
    return figure


def _gain(arm: Mapping[str, Any], row: str) -> Mapping[str, Any]:
    over = arm.get("over_twin")
    if row in _MEANS:
        found: Mapping[str, Any] = (over or arm["mean"])[row]
    else:
        found = over["conditions"][row] if over else arm["conditions"][row]["gain"]
    return found


def _named(report: Mapping[str, Any], name: str) -> str:
    arm = report["arms"][name]
    return f"{arm['title']}, over {report['arms'][arm['against']]['title']}"


def _mark(axis: Axes, entry: Mapping[str, Any], height: float, arm: str) -> None:
    _point(axis, entry, height, _COLOURS[arm], _MARKERS[arm], "_nolegend_")


def _point(axis: Axes, entry: Mapping[str, Any], height: float, colour: str, marker: str, label: str) -> None:
    """A value with its interval; hollow where it has none, nothing where there is no value."""
    if not is_available(entry):
        return
    alone = entry["low"] is None
    if not alone:
        axis.hlines(height, entry["low"], entry["high"], color=colour, linewidth=1.8)
    axis.plot(
        entry["value"], height, marker, color=colour, markersize=5.5, markerfacecolor="white" if alone else colour,
        label=label, linestyle="none",
    )  # fmt: skip


def _complement(entry: Mapping[str, Any]) -> dict[str, Any]:
    low, high = entry["low"], entry["high"]
    return {
        "value": 1 - entry["value"],
        "low": None if high is None else 1 - high,
        "high": None if low is None else 1 - low,
    }
