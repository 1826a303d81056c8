"""Figures of cross-validation: scores inside each source, and the loss of every fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, class_colours, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["fold_losses_figure", "inside_figure"]

_CHANCE = 0.5  # area of a model that tells nothing
_CURVES = (("train_loss", "training", "--"), ("val_loss", "validation", "-"))


def inside_figure(report: Mapping[str, Any], title: str = "Disease against normal, inside each source") -> Figure:
    """Area under the ROC curve inside each source, one dot with its interval for each way of training.

    Args:
        report: of :func:`cxr_core.evaluation.comparison.out_of_fold_report`.
        title: over the figure.
    """
    ways = list(report["ways"])
    sets = report["ways"][ways[0]]["inside"]
    if not sets:
        return sentence_figure(title, "No source has films with and without disease.")
    films = report["ways"][ways[0]]["overall"]["n"]
    note = f"{films:,} films out of fold; {report['level']:.0%} bootstrap intervals over patient groups."
    figure, axes = new_figure(title, size=(9, 1.4 + len(sets) * (0.25 + 0.25 * len(ways))), note=note)
    axis, colours = axes[0, 0], class_colours(ways)
    lowest = _CHANCE
    for way in ways:
        for row, area in enumerate(report["ways"][way]["inside"].values()):
            y = row + (ways.index(way) - (len(ways) - 1) / 2) * 0.7 / len(ways)
            text = f"{area['value']:.3f}"
            if area["low"] is not None:
                axis.plot([area["low"], area["high"]], [y, y], color=colours[way], linewidth=2, alpha=0.6)
                text += f"  [{area['low']:.3f}, {area['high']:.3f}]"
            axis.plot(area["value"], y, "o", color=colours[way], label=_spoken(way) if row == 0 else None)
            axis.text(1.01, y, text, color=colours[way], fontsize=9, va="center", transform=axis.get_yaxis_transform())
            lowest = min(lowest, area["value"], area["value"] if area["low"] is None else area["low"])
    axis.axvline(_CHANCE, color=GREY, linestyle=":", linewidth=1)
    axis.text(_CHANCE, -0.62, " chance", color=GREY, fontsize=9, va="center")
    axis.set_yticks(range(len(sets)), [f"{name}\n({area['films']:,} films)" for name, area in sets.items()])
    axis.set(xlabel="area under the ROC curve", xlim=(lowest - 0.02, 1.005), ylim=(len(sets) - 0.4, -0.8))
    axis.grid(axis="x", alpha=0.3)
    axis.legend(frameon=False, ncols=len(ways), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def fold_losses_figure(folds: Mapping[str, Sequence[Mapping[str, Any]]], title: str = "Loss of every fold") -> Figure:
    """Training and validation loss by epoch: a row for each way of training, a column for each fold, one scale.

    Args:
        folds: way of training to its folds, each with ``fold``, ``history``, ``best_epoch``.
        title: over the figure.
    """
    columns = max(map(len, folds.values()))
    figure, axes = new_figure(
        title,
        size=(max(6.0, 2.5 * columns), 1.0 + 2.3 * len(folds)),
        rows=len(folds),
        columns=columns,
        note="Dotted: the epoch whose weights were kept. Grey: backbone frozen.",
        sharex=True,
        sharey=True,
    )
    for row, (way, trained) in enumerate(folds.items()):
        for column, fold in enumerate(trained):
            _losses(axes[row, column], fold)
            axes[row, column].set_title(f"{_spoken(way)}, fold {fold['fold'] + 1}", fontsize=9)
        axes[row, 0].set_ylabel("loss")
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, -1].legend(handles, labels, framealpha=0.85, fontsize=9)
    return figure


def _losses(axis: Axes, fold: Mapping[str, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [int(row["epoch"]) for row in fold["history"]]
    for colour, (key, name, style) in zip(OKABE_ITO, _CURVES, strict=False):
        values = [row[key] for row in fold["history"]]
        axis.plot(epochs, values, style, color=colour, marker="o", markersize=3, label=name)
    for row in fold["history"]:
        if row["frozen"]:
            axis.axvspan(row["epoch"] - 0.5, row["epoch"] + 0.5, color="#BBBBBB", alpha=0.35, linewidth=0)
    axis.axvline(fold["best_epoch"], color=ACCENT, linestyle=":", linewidth=1.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)


def _spoken(way: str) -> str:
    return way.replace("_", " ")
