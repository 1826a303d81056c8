"""Figures that count: films by class and split, by quality rule, by source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.eda.data import EdaData
from cxr_core.imaging.quality import RULES
from cxr_core.plotting import class_colours, heat_map, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["class_distribution", "cramers_v", "quality_table", "source_by_class"]

_SPLITS = ("train", "val", "calibration", "test")
_SPLIT_NAMES = {"train": "Training", "val": "Validation", "calibration": "Calibration", "test": "Test"}
_COPIES = ("exact_duplicate", "near_duplicate")  # reason codes of the index
_MOST_SOURCES = 12  # rows of the heat map that stay legible


def class_distribution(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Bars of each class in each split; numbers: counts, shares, totals, largest over smallest class."""
    assert data.splits is not None
    table = data.splits
    counts = {s: {c: int(((table["split"] == s) & (table["label"] == c)).sum()) for c in data.labels} for s in _SPLITS}
    totals = {label: sum(counts[split][label] for split in _SPLITS) for label in data.labels}
    shares = {s: {c: n / max(1, sum(row.values())) for c, n in row.items()} for s, row in counts.items()}
    figure, axes = new_figure(title, size=(9, 4.8), note=f"{len(table):,} films.")
    axis, colours = axes[0, 0], class_colours(data.labels)
    width = 0.8 / len(data.labels)
    for place, label in enumerate(data.labels):
        centres = np.arange(len(_SPLITS)) + (place - (len(data.labels) - 1) / 2) * width
        heights = [counts[split][label] for split in _SPLITS]
        bars = axis.bar(centres, heights, width * 0.94, color=colours[label], label=f"{label} ({totals[label]:,})")
        texts = [f"{n:,}\n{shares[split][label]:.1%}" for n, split in zip(heights, _SPLITS, strict=True)]
        axis.bar_label(bars, labels=texts, fontsize=9, padding=2)
    axis.set_xticks(range(len(_SPLITS)), [f"{_SPLIT_NAMES[s]} ({sum(counts[s].values()):,})" for s in _SPLITS])
    axis.set_ylabel("films")
    axis.margins(y=0.18)
    axis.legend(frameon=False)
    axis.grid(axis="y", alpha=0.3)
    present = [n for n in totals.values() if n]
    ratio = max(present) / min(present) if present else None
    return figure, {"counts": counts, "shares": shares, "totals": totals, "largest_to_smallest": ratio}


def quality_table(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """A table of files by status, quarantine reason and flag; numbers: the same counts."""
    index = data.index
    flagged = index["flags"].fillna("").astype(str).str.split(",")
    quarantined = index["status"] == "quarantined"
    found = index.loc[quarantined, "reason_code"].fillna("").astype(str)
    rules = [rule.code for rule in RULES if rule.effect == "quarantine"]
    flags = [rule.code for rule in RULES if rule.effect == "flag"]
    copies = index["status"] == "duplicate"
    reasons = rules + sorted(set(found) - set(rules) - {""})
    sections = {
        "status": {status: index["status"] == status for status in ("accepted", "quarantined", "duplicate")},
        "quarantine": {code: quarantined & (index["reason_code"] == code) for code in reasons},
        "duplicate": {code: copies & (index["reason_code"] == code) for code in _COPIES},
        "flag": {code: flagged.map(lambda codes, code=code: code in codes) for code in flags},
    }
    numbers = {
        section: {code: _by_class(index, chosen, data.labels) for code, chosen in rows.items()}
        for section, rows in sections.items()
    }
    lines = [(section, code, row) for section, rows in numbers.items() for code, row in rows.items()]
    figure, axes = new_figure(title, size=(9, 1.3 + 0.3 * len(lines)), note=f"{len(index):,} files.")
    axis = axes[0, 0]
    axis.axis("off")
    columns = list(lines[0][2])
    table = axis.table(
        cellText=[[section, code.replace("_", " "), *(f"{n:,}" for n in row.values())] for section, code, row in lines],
        colLabels=["", "", *columns],
        colWidths=[0.14, 0.24, *[0.62 / len(columns)] * len(columns)],
        cellLoc="right",
        bbox=[0, 0, 1, 1],
    )
    table.auto_set_font_size(False)
    table.set_fontsize(10)
    shades = {"status": "#FFFFFF", "quarantine": "#F3F3F3", "duplicate": "#FFFFFF", "flag": "#F3F3F3"}
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#CCCCCC")
        cell.set_facecolor("#DCE6F0" if row == 0 else shades[lines[row - 1][0]])
        if row == 0:
            cell.set_text_props(fontweight="bold")
        if column < 2:
            cell.set_text_props(ha="left")
            cell.PAD = 0.05
    return figure, numbers


def _by_class(index: pd.DataFrame, chosen: pd.Series[bool], labels: tuple[str, ...]) -> dict[str, int]:
    counts = {label: int((chosen & (index["label"] == label)).sum()) for label in labels}
    if other := int((~index["label"].isin(labels)).sum()):
        counts["no class"] = int(chosen.sum()) - sum(counts.values()) if other else 0
    return {**counts, "total": int(chosen.sum())}


def source_by_class(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Heat map of films by source and class; numbers: counts, Cramér's V, share guessed right from the source alone."""
    rows = data.accepted
    counts = _source_counts(data, rows, len(rows) + 1)
    shown = _source_counts(data, rows, _MOST_SOURCES)
    strength = cramers_v(counts.to_numpy(np.float64))
    total = int(counts.to_numpy().sum())
    guessed = float(counts.max(axis=1).sum() / total) if total else None
    note = (
        "Cramér's V undefined: fewer than two sources or classes."
        if strength is None
        else f"Cramér's V {strength:.2f}."
    )
    figure, axes = new_figure(title, size=(8.5, 1.9 + 0.48 * max(1, len(shown))), note=note)
    axis = axes[0, 0]
    values = shown.to_numpy(np.float64)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    names = [f"{source} ({int(n):,})" for source, n in zip(shown.index, values.sum(axis=1), strict=True)]
    texts = [
        [f"{int(n):,}  ({s:.0%})" for n, s in zip(*pair, strict=True)] for pair in zip(values, shares, strict=True)
    ]
    heat_map(axis, shares, texts, names, list(shown.columns))
    axis.set_ylabel("source (films)")
    axis.set_xlabel("class; colour and percentage: share of the source's films")
    numbers = {
        "counts": {str(source): {label: int(row[label]) for label in data.labels} for source, row in counts.iterrows()},
        "cramers_v": strength,
        "class_guessed_from_source": guessed,
    }
    return figure, numbers


def _source_counts(data: EdaData, rows: pd.DataFrame, most: int) -> pd.DataFrame:
    counts = pd.crosstab(data.sources(rows, most).rename("named"), rows["label"])
    return counts.reindex(columns=list(data.labels), fill_value=0)


def cramers_v(counts: npt.NDArray[np.float64]) -> float | None:
    """Association of rows and columns of a table of counts, 0 (none) to 1 (one decides the other).

    Cramér, Mathematical Methods of Statistics, 1946, chapter 21: square root of chi-squared / (n (min(r, c) - 1)) over
    the rows and columns that hold anything. None where fewer than two of either do.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        return None
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / (total * (min(counts.shape) - 1))))
