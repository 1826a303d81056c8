"""Figures of the shortcut audit: what can be had without lungs, inside sources, label by source, marks (TRAPS 1, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.evaluation.availability import is_available
from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, class_colours, heat_map, new_figure, sentence_figure
from cxr_core.trust.shortcut_model import CHANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["inside_figure", "marks_figure", "source_figure", "views_figure"]

_FREE, _LUNGS, _MODEL = OKABE_ITO[0], OKABE_ITO[4], "black"
_WRAP = 34  # letters of a title in one line beside the axis


def views_figure(report: Mapping[str, Any], limit: float) -> Figure:
    """Macro AUC by what the classifier sees, with intervals and permutation nulls; the model last.

    Args:
        report: of :func:`cxr_core.trust.shortcut_audit.shortcut_audit`.
        limit: macro AUC that no lung-free view may surely exceed.
    """
    title = "Macro AUC by what the classifier sees"
    rows = [(view["title"], view, _FREE if view["lung_free"] else _LUNGS) for view in report["views"]]
    model = report.get("model")
    if model:
        rows.append((f"the model, {model['films']:,} test films", model, _MODEL))
    if not any(is_available(entry.get("macro_auc")) for _, entry, _ in rows):
        reason = next((entry["macro_auc"]["reason"] for _, entry, _ in rows), "no view was looked at")
        return sentence_figure(title, f"Not available: {reason}.")
    note = f"{report['films']:,} films out of fold; lines: {report['level']:.0%} intervals over patient groups."
    figure, axes = new_figure(title, size=(10, 1.9 + 0.52 * len(rows)), note=note)
    axis = axes[0, 0]
    for row, (_, entry, colour) in enumerate(rows):
        _bar(axis, row, entry, colour)
    axis.plot([], [], "s", color=_FREE, label="without lungs")
    axis.plot([], [], "s", color=_LUNGS, label="sees lungs, in part or whole")
    axis.plot([], [], color=GREY, linewidth=5, alpha=0.45, label="labels permuted, up to 95 %")
    axis.axvline(limit, color=ACCENT, linestyle="--", linewidth=1.2, label=f"limit without lungs, {limit:g}")
    axis.axvline(CHANCE, color=GREY, linestyle=":", linewidth=1)
    axis.set_yticks(range(len(rows)), [_wrapped(name) for name, _, _ in rows])
    lowest = min([0.45, *(entry["macro_auc"]["low"] for _, entry, _ in rows if entry["macro_auc"].get("low"))])
    axis.set(xlabel="macro AUC", xlim=(lowest - 0.01, 1.0), ylim=(len(rows) - 0.5, -0.5))
    axis.grid(axis="x", alpha=0.3)
    axis.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=9)
    return figure


def inside_figure(report: Mapping[str, Any]) -> Figure:
    """Disease against normal: pooled, inside sources, and inside each source; the model and the best lung-free view."""
    title = "Disease against normal, pooled and inside sources"
    model = report.get("model")
    views = [v for v in report["views"] if v["lung_free"] and is_available(v["macro_auc"])]
    best = max(views, key=lambda view: float(view["macro_auc"]["value"])) if views else None
    series: list[tuple[str, dict[str, Any], str]] = []
    if model:
        both = model["inside_against_pooled"]
        own = {"pooled": both["pooled"], "inside sources": both["inside"], **model["inside"]}
        series.append(("the model, test films", own, _MODEL))
    if best:
        series.append((f"{best['title']}, all films", dict(best["inside"]), _FREE))
    names = list(dict.fromkeys(name for _, entries, _ in series for name in entries))
    if not any(is_available(entry) for _, entries, _ in series for entry in entries.values()):
        return sentence_figure(title, "No source has films with and without disease.")
    figure, axes = new_figure(title, size=(9, 1.9 + 0.5 * len(names)), note="Lines: intervals over patient groups.")
    axis, lowest = axes[0, 0], CHANCE
    for place, (label, entries, colour) in enumerate(series):
        for row, name in enumerate(names):
            entry, y = entries.get(name), row + (place - (len(series) - 1) / 2) * 0.36
            if not is_available(entry):
                if entry is not None:
                    axis.text(CHANCE + 0.005, y, entry["reason"], color=colour, fontsize=8, va="center")
                continue
            assert entry is not None
            _dot(axis, y, entry, colour)
            lowest = min(lowest, entry["value"] if entry["low"] is None else entry["low"])
        axis.plot([], [], "o", color=colour, label=label)
    axis.axvline(CHANCE, color=GREY, linestyle=":", linewidth=1)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="area under the ROC curve", xlim=(lowest - 0.02, 1.005), ylim=(len(names) - 0.5, -0.5))
    axis.grid(axis="x", alpha=0.3)
    axis.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    return figure


def source_figure(report: Mapping[str, Any]) -> Figure:
    """Films of each source and label: share of the source as colour, count beside."""
    source = report["source"]
    counts = np.array(source["table"], np.float64).reshape(len(source["sources"]), len(source["labels"]))
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    found = source["cramers_v"]
    said = (
        f"Cramér's V {found['value']:.2f}, p = {found['p_value']:.3g}; by chance up to {found['null_high']:.2f}."
        if is_available(found)
        else f"Cramér's V not available: {found['reason']}."
    )
    figure, axes = new_figure("Label by source", size=(7.6, 1.6 + 0.5 * len(total)), note=said)
    texts = [
        [f"{int(n):,}\n{share:.0%}" for n, share in zip(*pair, strict=True)]
        for pair in zip(counts, shares, strict=True)
    ]
    rows = [f"{name} ({int(n):,})" for name, n in zip(source["sources"], total[:, 0], strict=True)]
    heat_map(axes[0, 0], shares, texts, rows, source["labels"], text_size=9)
    axes[0, 0].set(ylabel="source (films)")
    return figure


def marks_figure(report: Mapping[str, Any]) -> Figure:
    """Share of the films of each class that carry each mark, with counts."""
    marks = report["marks"]
    names = list(marks[0]["by_class"]) if marks else []
    if not any(mark["films"] for mark in marks):
        return sentence_figure("Marks by class", "No film carries a mark.")
    figure, axes = new_figure("Marks by class", size=(9.5, 4.6), note="p by permutation over patient groups, Holm.")
    axis, colours = axes[0, 0], class_colours(names)
    width = 0.8 / max(1, len(names))
    for place, name in enumerate(names):
        at = np.arange(len(marks)) + (place - (len(names) - 1) / 2) * width
        counts = [mark["by_class"][name] for mark in marks]
        shares = [count["marked"] / count["films"] if count["films"] else 0.0 for count in counts]
        axis.bar(at, shares, width * 0.92, color=colours[name], label=name)
        for x, share, count in zip(at, shares, counts, strict=True):
            axis.text(x, share + 0.012, f"{count['marked']:,}", ha="center", fontsize=8)
    axis.set_xticks(range(len(marks)), [f"{mark['title']}\n{_tested(mark['label'])}" for mark in marks])
    axis.set(ylabel="share of the class's films", ylim=(0, 1.08))
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    return figure


def _bar(axis: Axes, row: int, entry: Mapping[str, Any], colour: str) -> None:
    area, null = entry["macro_auc"], entry.get("null") or {}
    if not is_available(area):
        axis.text(CHANCE + 0.005, row, f"not available: {area['reason']}", fontsize=8, va="center", color=GREY)
        return
    axis.barh(row, area["value"] - CHANCE, left=CHANCE, height=0.55, color=colour, alpha=0.8)
    if null.get("high") is not None:
        axis.plot([min(CHANCE, null["mean"]), null["high"]], [row + 0.36] * 2, color=GREY, linewidth=5, alpha=0.45)
    text = f"{area['value']:.3f}"
    if area["low"] is not None:
        axis.plot([area["low"], area["high"]], [row, row], color=OKABE_ITO[1], linewidth=2.5)
        text += f"  [{area['low']:.3f}, {area['high']:.3f}]"
    axis.text(1.01, row, text, fontsize=9, va="center", transform=axis.get_yaxis_transform())


def _dot(axis: Axes, y: float, entry: Mapping[str, Any], colour: str) -> None:
    text = f"{entry['value']:.3f}"
    if entry["low"] is not None:
        axis.plot([entry["low"], entry["high"]], [y, y], color=colour, linewidth=2, alpha=0.6)
        text += f"  [{entry['low']:.3f}, {entry['high']:.3f}]"
    axis.plot(entry["value"], y, "o", color=colour, markersize=5)
    axis.text(1.01, y, text, color=colour, fontsize=8, va="center", transform=axis.get_yaxis_transform())


def _tested(test: Mapping[str, Any]) -> str:
    if not is_available(test):
        return str(test["reason"])
    return f"V {test['value']:.2f}, p = {test['p_holm']:.2g}"


def _wrapped(text: str) -> str:
    lines = [""]
    for word in text.split():
        lines = [*lines, word] if len(f"{lines[-1]} {word}") > _WRAP else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return "\n".join(lines)
