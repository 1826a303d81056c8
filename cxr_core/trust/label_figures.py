"""Figures of the label audit: films to look at, where labels are wrong, how the judge ranks them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.evaluation.availability import is_available
from cxr_core.plotting import ACCENT, GREY, class_colours, gallery_tile, heat_map, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["noise_figure", "queue_figure", "ranking_figure"]

_COLUMNS = 6  # films in a row: 15 inches, a screen's width
_LEAST_TOP = 0.2  # share at the dark end of the map at least, so that 1 % does not look like a disaster


def queue_figure(
    queue: pd.DataFrame,
    frame_of: Callable[[str], npt.NDArray[np.uint8] | None],
    shown: int,
    title: str = "Films to look at first",
) -> Figure:
    """The first films of the relabel queue, each with its label and the suggested one.

    Args:
        queue: of :func:`cxr_core.trust.label_queue.relabel_queue`.
        frame_of: sha256 to its frame (side, side) uint8; None where there is none.
        shown: films at most.
        title: over the figure.
    """
    films = queue.head(shown)
    if films.empty:
        return sentence_figure(title, "No label is doubted.")
    columns = min(_COLUMNS, len(films))
    rows = math.ceil(len(films) / columns)
    size = (max(2.5 * columns, 8.0), 3.15 * rows + 0.9)
    note = f"{len(films):,} of {len(queue):,} films."
    figure, axes = new_figure(title, size=size, rows=rows, columns=columns, note=note)
    for place, axis in enumerate(axes.flat):
        if place >= len(films):
            gallery_tile(axis, None)
            continue
        film = films.iloc[place]
        frame = frame_of(film["sha256"])
        caption = (
            f"{film['rank']}. {film['image_id']}\n{film['label']} → {film['suggested'] or '?'}\n"
            f"{film['source'] or 'unknown source'}; {film['kind']} {film['score']:.2f}"
        )
        gallery_tile(axis, np.zeros((8, 8), np.uint8) if frame is None else frame, caption)
    return figure


def noise_figure(report: Mapping[str, Any], title: str = "Labels that are estimated to be wrong") -> Figure:
    """Share of wrong labels in each source and class, with its interval and films; mixtures marked.

    Args:
        report: what :func:`cxr_core.trust.label_audit.audit_labels` returns.
        title: over the figure.
    """
    entries = report["sources"]
    if not entries:
        return sentence_figure(title, f"Not available: {report['overall'].get('reason', 'no film')}.")
    sources = sorted({entry["source"] for entry in entries})
    labels = [name for name in report["classes"] if any(entry["label"] == name for entry in entries)]
    values = np.full((len(sources), len(labels)), np.nan)
    texts = [["" for _ in labels] for _ in sources]
    mixed = {(cell["source"], cell["label"]) for cell in report["cells"] if cell["is_mixture"]}
    for entry in entries:
        row, column, share = sources.index(entry["source"]), labels.index(entry["label"]), entry["share"]
        if not is_available(share):
            texts[row][column] = f"not available\nof {entry['films']:,}"
            continue
        values[row, column] = share["value"]
        ends = "" if share["low"] is None else f"\n{share['low']:.1%} to {share['high']:.1%}"
        mark = "\nmixture" if (entry["source"], entry["label"]) in mixed else ""
        texts[row][column] = f"{share['value']:.1%}{ends}\nof {entry['films']:,}{mark}"
    top = max(_LEAST_TOP, float(np.nanmax(values))) if np.isfinite(values).any() else 1.0
    overall = report["overall"]
    note = f"All: {overall['value']:.1%} of {report['films']:,} labels." if is_available(overall) else ""
    size = (2.2 + 2.1 * len(labels), 1.5 + 0.95 * len(sources))
    figure, axes = new_figure(title, size=size, note=note)
    heat_map(axes[0, 0], values, texts, sources, labels, limits=(0.0, top), text_size=9)
    axes[0, 0].set(xlabel="filed under", ylabel="source")
    return figure


def ranking_figure(films: pd.DataFrame, title: str = "How strongly each label is contradicted") -> Figure:
    """Probability of the suggested class less that of the filed one, films in order, suspects marked.

    Suspects by system stand anywhere: it is the ordinary head that cannot see them.

    Args:
        films: of :class:`cxr_core.trust.label_audit.LabelAudit`.
        title: over the figure.
    """
    if films.empty:
        return sentence_figure(title, "Not available: too few films were audited.")
    names = sorted(films["label"].unique())
    colours = class_colours(names)
    ordered = films.sort_values(["margin", "image_id"], ascending=[False, True], ignore_index=True)
    note = f"{len(ordered):,} films, {int(ordered['suspect'].ne('').sum()):,} suspects."
    figure, axes = new_figure(title, size=(9, 4.6), note=note)
    axis = axes[0, 0]
    rank = np.arange(1, len(ordered) + 1)
    for name in names:
        rows = (ordered["label"] == name).to_numpy()
        axis.scatter(
            rank[rows], ordered["margin"][rows], s=9, color=colours[name], label=f"filed under {name}", zorder=2
        )
    for kind, marker, colour in (("random", "o", ACCENT), ("system", "s", "black")):
        rows = (ordered["suspect"] == kind).to_numpy()
        if rows.any():
            axis.scatter(rank[rows], ordered["margin"][rows], s=46, marker=marker, facecolors="none", edgecolors=colour,
                         linewidths=0.9, label=f"suspect: {kind}", zorder=3)  # fmt: skip
    axis.axhline(0, color=GREY, linewidth=1, linestyle=":")
    axis.set_xscale("log")
    axis.set(xlabel="film, most contradicted first", ylabel="p(suggested) - p(filed)", ylim=(-1.05, 1.05))
    axis.legend(loc="lower left", frameon=False, fontsize=9)
    axis.grid(alpha=0.3)
    return figure
