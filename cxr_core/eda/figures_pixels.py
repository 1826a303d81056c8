"""Figures of measured properties by class: size and shape, grey levels, texture, edges, exposure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr_core.eda.data import EdaData, one_v_rest_auc, summary
from cxr_core.eda.statistics import EDGES, HISTOGRAM, LBP
from cxr_core.plotting import ACCENT, GREY, boxes, class_colours, heat_map, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["edges", "exposure", "image_properties", "pixel_intensities", "texture"]

_MOST_POINTS = 5000  # of a scatter: more hides what is under them and slows the drawing
_MOST_SOURCES = 6  # colours that stay apart in one scatter
_ASPECT_BINS = np.linspace(
    0.475, 2.025, 32
)  # the accepted range of the quality rules in steps of .05, square in the middle of one
_MEAN_BINS = np.linspace(0.0, 256.0, 33)  # eight grey levels each
_EDGE_NAMES = {
    "edge_density": "share of edge pixels",
    "edge_strength": "mean edge strength (grey levels / pixel)",
    "sharpness": "variance of the Laplacian",
}


def image_properties(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Scatter of sizes and histogram of aspects, by class and by source; numbers: summaries of both."""
    rows = data.accepted.dropna(subset=["width", "height"])
    rows = rows.assign(aspect=rows["width"] / rows["height"], named=data.sources(rows, _MOST_SOURCES))
    sources = list(rows["named"].cat.categories)
    by_source = len(sources) > 1
    drawn = rows
    if len(rows) > _MOST_POINTS:
        picked = np.random.default_rng(data.seed).permutation(len(rows))[:_MOST_POINTS]
        drawn = rows.iloc[np.sort(picked)]
    note = f"{len(drawn):,} of {len(rows):,} films drawn in the scatter."
    lines = 2 if by_source else 1
    figure, axes = new_figure(title, size=(11, 0.9 + 3.7 * lines), rows=lines, columns=2, note=note)
    _size_and_shape(axes[0], rows, drawn, "label", data.labels, "class")
    if by_source:
        _size_and_shape(axes[1], rows, drawn, "named", sources, "source")

    def numbers_of(column: str, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
        groups = {name: rows[rows[column] == name] for name in names}
        measures = ("width", "height", "aspect", "bytes")
        return {n: {m: summary(g[m].dropna().to_numpy(np.float64)) for m in measures} for n, g in groups.items()}

    everything = {m: summary(rows[m].to_numpy(np.float64)) for m in ("width", "height", "aspect")}
    return figure, {
        "all": everything,
        "class": numbers_of("label", data.labels),
        "source": numbers_of("named", sources),
        "points_drawn": len(drawn),
    }


def _size_and_shape(
    axes: Any, rows: pd.DataFrame, drawn: pd.DataFrame, column: str, names: tuple[str, ...] | list[str], what: str
) -> None:
    colours = class_colours(names)
    scatter, shapes = axes
    for name in names:
        points = drawn[drawn[column] == name]
        scatter.scatter(
            points["width"], points["height"], s=12, alpha=0.45, color=colours[name], label=name, linewidths=0
        )
        aspects = rows.loc[rows[column] == name, "aspect"].clip(_ASPECT_BINS[0], _ASPECT_BINS[-1])
        if len(aspects):
            weights = np.full(len(aspects), 1 / len(aspects))
            shapes.hist(
                aspects, _ASPECT_BINS, weights=weights, color=colours[name], label=name, histtype="step", linewidth=1.8
            )
    scatter.set(xlabel="width (pixels)", ylabel="height (pixels)", title=f"Size by {what}")
    shapes.set(xlabel="width / height", ylabel=f"share of the {what}'s films", title=f"Aspect by {what}")
    shapes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    legend = scatter.legend(framealpha=0.85, fontsize=9)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    for axis in axes:
        axis.grid(alpha=0.3)


def pixel_intensities(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Mean histograms with spread, box plots of the films' mean and contrast; numbers: both, by class and overall."""
    figure, axes = new_figure(title, size=(12, 4.3), columns=3, width_ratios=(2.2, 1, 1))
    colours, groups = class_colours(data.labels), data.by_class(data.accepted)
    levels = np.arange(len(HISTOGRAM)) * 8 + 4
    histograms: dict[str, Any] = {}
    for label, rows in groups.items():
        shares = rows[list(HISTOGRAM)].dropna().to_numpy(np.float64)
        if not len(shares):
            histograms[label] = None
            continue
        mean, spread = shares.mean(axis=0), shares.std(axis=0)
        axes[0, 0].plot(levels, mean, color=colours[label], linewidth=2, label=f"{label} ({len(shares):,})")
        axes[0, 0].fill_between(levels, np.maximum(mean - spread, 0), mean + spread, color=colours[label], alpha=0.15)
        histograms[label] = {"mean": mean, "std": spread}
    axes[0, 0].set(xlabel="grey level (bins of 8)", ylabel="share of a film's pixels", xlim=(0, 256), ylim=(0, None))
    axes[0, 0].set_title("Mean histogram, ± 1 standard deviation between films")
    axes[0, 0].grid(alpha=0.3)
    if axes[0, 0].get_lines():
        axes[0, 0].legend(frameon=False)
    for axis, column, name in (
        (axes[0, 1], "mean", "mean grey of a film"),
        (axes[0, 2], "std", "standard deviation of a film"),
    ):
        boxes(axis, data.values_by_class(column), colours)
        axis.set(title=name, ylabel="grey levels")
        axis.tick_params(axis="x", rotation=20)
    films = data.accepted
    numbers = {
        "all": {column: summary(films[column].dropna().to_numpy(np.float64)) for column in ("mean", "std")},
        "class": {
            label: {column: summary(rows[column].dropna().to_numpy(np.float64)) for column in ("mean", "std")}
            for label, rows in groups.items()
        },
        "histograms": histograms,
    }
    return figure, numbers


def texture(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Pattern shares by class and how well each alone separates a class; numbers: shares, areas, the largest area."""
    figure, axes = new_figure(title, size=(12, 4.4), columns=2, width_ratios=(1.25, 1))
    colours = class_colours(data.labels)
    shares = {code: data.values_by_class(code) for code in LBP}
    width = 0.8 / len(data.labels)
    for place, label in enumerate(data.labels):
        if not len(shares[LBP[0]][label]):
            continue
        centres = np.arange(len(LBP)) + (place - (len(data.labels) - 1) / 2) * width
        means = [shares[code][label].mean() for code in LBP]
        spreads = [shares[code][label].std() for code in LBP]
        style = {"elinewidth": 1, "ecolor": "#333333"}
        axes[0, 0].bar(centres, means, width, yerr=spreads, color=colours[label], label=label, error_kw=style)
    axes[0, 0].set_xticks(range(len(LBP)), [*map(str, range(len(LBP) - 1)), "other"])
    axes[0, 0].set(xlabel="neighbours not darker than the centre", ylabel="share of the film's pixels", ylim=(0, None))
    axes[0, 0].set_title("Mean share, ± 1 standard deviation between films")
    axes[0, 0].grid(axis="y", alpha=0.3)
    if axes[0, 0].containers:
        axes[0, 0].legend(frameon=False)
    areas = {label: {code: one_v_rest_auc(shares[code], label) for code in LBP} for label in data.labels}
    values = np.array([[np.nan if a is None else max(a, 1 - a) for a in row.values()] for row in areas.values()])
    texts = [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in values]
    heat_map(axes[0, 1], values, texts, list(areas), [*map(str, range(len(LBP) - 1)), "other"], (0.5, 1.0), 9)
    axes[0, 1].set_title("Area under the ROC curve, class v rest (either direction)")
    axes[0, 1].set_xlabel("pattern")
    best = None
    if not np.isnan(values).all():
        row, column = np.unravel_index(np.nanargmax(values), values.shape)
        best = {
            "label": data.labels[row],
            "pattern": LBP[column],
            "auc": float(values[row, column]),
            "among": values.size,
        }
    means_by_class = {
        label: {code: summary(shares[code][label])["mean"] for code in LBP} for label in data.labels
    }  # fmt: skip
    return figure, {"mean_share": means_by_class, "auc": areas, "largest_auc": best}


def edges(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Box plots of the three edge measures; numbers: summaries, and area under the ROC curve of each class v rest."""
    figure, axes = new_figure(title, size=(12, 4.2), columns=len(EDGES))
    colours = class_colours(data.labels)
    numbers: dict[str, Any] = {}
    for axis, column in zip(axes[0], EDGES, strict=True):
        groups = data.values_by_class(column)
        boxes(axis, groups, colours)
        axis.set_title(_EDGE_NAMES[column])
        _log_if_wide(axis, groups)
        numbers[column] = {
            label: {**summary(values), "auc": one_v_rest_auc(groups, label)} for label, values in groups.items()
        }
    return figure, numbers


def _log_if_wide(axis: Axes, groups: dict[str, Any]) -> None:
    values = np.concatenate(list(groups.values()))
    if len(values) and values.min() > 0 and np.percentile(values, 95) > 20 * np.percentile(values, 5):
        axis.set_yscale("log")


def exposure(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Distribution of mean grey with the limits, and the shares beyond them; numbers: counts and shares by class."""
    low, high = data.quality.under_exposed_mean, data.quality.over_exposed_mean
    figure, axes = new_figure(title, size=(11, 4.2), columns=2, width_ratios=(1.7, 1))
    colours, groups = class_colours(data.labels), data.values_by_class("mean")
    for label, values in groups.items():
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            style = {
                "color": colours[label],
                "label": f"{label} ({len(values):,})",
                "histtype": "step",
                "linewidth": 1.8,
            }
            axes[0, 0].hist(values, _MEAN_BINS, weights=weights, **style)
    for limit, name in ((low, "under"), (high, "over")):
        axes[0, 0].axvline(limit, color=ACCENT, linestyle="--", linewidth=1.2)
        side = "right" if name == "under" else "left"
        axes[0, 0].annotate(
            f"{name}-exposed", (limit, 0.97), xytext=(-4 if side == "right" else 4, 0), textcoords="offset points",
            xycoords=("data", "axes fraction"), ha=side, va="top", color=ACCENT, fontsize=9,
        )  # fmt: skip
    axes[0, 0].set(xlabel="mean grey of a film", ylabel="share of the class's films", xlim=(0, 256))
    axes[0, 0].margins(y=0.15)
    axes[0, 0].grid(alpha=0.3)
    if axes[0, 0].patches:
        axes[0, 0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(data.labels))
    everything = np.concatenate(list(groups.values()))
    numbers = {name: _beyond(values, low, high) for name, values in {**groups, "all": everything}.items()}
    for place, kind in enumerate(("under_exposed", "over_exposed")):
        shares = [numbers[label][f"{kind}_share"] or 0.0 for label in data.labels]
        centres = np.arange(len(data.labels)) + (place - 0.5) * 0.4
        hatch = "" if place == 0 else "//"
        bars = axes[0, 1].bar(
            centres, shares, 0.36, color=[colours[label] for label in data.labels], edgecolor="white", hatch=hatch
        )
        axes[0, 1].bar_label(bars, labels=[f"{share:.1%}" for share in shares], fontsize=9, padding=2)
    axes[0, 1].set_xticks(range(len(data.labels)), data.labels)
    axes[0, 1].set_title(f"Below {low:g} (plain), above {high:g} (hatched)")
    axes[0, 1].yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 2):g}%")
    axes[0, 1].set_ylim(0, max(0.02, axes[0, 1].get_ylim()[1] * 1.12))
    return figure, {"limits": {"under_exposed": low, "over_exposed": high}, **numbers}


def _beyond(values: Any, low: float, high: float) -> dict[str, Any]:
    under, over, n = int((values < low).sum()), int((values > high).sum()), len(values)
    return {
        "n": n,
        "under_exposed": under,
        "over_exposed": over,
        "under_exposed_share": under / n if n else None,
        "over_exposed_share": over / n if n else None,
    }
