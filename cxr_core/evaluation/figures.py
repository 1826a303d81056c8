"""Figures of the evaluation and of training (report 3.4, 4.2, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.metrics import Metrics
from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, class_colours, heat_map, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_figure", "roc_figure", "training_figure"]

_STYLES = {"train": "--", "val": "-"}  # of the curves, by the split that begins their name
_SCORES = ("accuracy", "f1", "auc")  # endings of the curves that belong on the 0-1 axis


def confusion_figure(metrics: Metrics, title: str = "Confusion matrix") -> Figure:
    """Confusion matrix: true classes in rows, share of the row as colour and percentage, counts beside."""
    counts = np.array(metrics["confusion"], np.float64)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.full(counts.shape, np.nan), where=support > 0)
    names = metrics["labels"]
    figure, axes = new_figure(title, size=(6.6, 5.2), note=f"{metrics['n']:,} films.")
    texts = [
        [f"{int(n):,}" if np.isnan(share) else f"{share:.1%}\n{int(n):,}" for n, share in zip(*pair, strict=True)]
        for pair in zip(counts, shares, strict=True)
    ]
    rows = [f"{name}\n({int(n):,})" for name, n in zip(names, support[:, 0], strict=True)]
    heat_map(axes[0, 0], shares, texts, rows, names, text_size=12)
    axes[0, 0].set(xlabel="predicted class", ylabel="true class (films)")
    return figure


def roc_figure(
    labels: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.floating],
    names: Sequence[str],
    title: str = "ROC curves, each class against the rest",
) -> Figure:
    """ROC curve of each class that has films on both sides, with its area in the legend.

    Args:
        labels: (n,) class indices.
        probabilities: (n, k).
        names: k class names.
        title: over the figure.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, axes = new_figure(title, size=(6.4, 5.8), note=f"{len(labels):,} films.")
    axis, colours = axes[0, 0], class_colours(names)
    for place, name in enumerate(names):
        positive = labels == place
        if not positive.any() or positive.all():
            axis.plot([], [], color=colours[name], label=f"{name}: undefined")
            continue
        false, true, _ = roc_curve(positive, probabilities[:, place])
        area = roc_auc_score(positive, probabilities[:, place])
        axis.plot(false, true, color=colours[name], linewidth=2, label=f"{name}: AUC {area:.3f}")
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance: AUC 0.500")
    axis.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axis.legend(loc="lower right", frameon=False)
    axis.grid(alpha=0.3)
    return figure


def training_figure(
    history: Sequence[Mapping[str, Any]], best_epoch: int | None = None, title: str = "Training curves"
) -> Figure:
    """Losses, scores and learning rate by epoch; frozen epochs shaded, the best epoch marked.

    Args:
        history: one mapping an epoch: ``epoch`` (from 1), ``train_loss``, ``val_loss``, any of ``train_*`` and
            ``val_*`` that ends in accuracy, f1 or auc, ``learning_rate``, ``frozen``. What is absent is left out.
        best_epoch: epoch whose weights were kept; by default that of smallest validation loss.
        title: over the figure.
    """
    figure, axes = new_figure(title, size=(13, 4.2), columns=3)
    keys = list(dict.fromkeys(key for row in history for key in row))
    losses = [key for key in keys if key.endswith("loss") and key.split("_")[0] in _STYLES]
    scores = [key for key in keys if key.endswith(_SCORES) and key.split("_")[0] in _STYLES]
    _curves(axes[0, 0], history, losses)
    _curves(axes[0, 1], history, scores)
    _curves(axes[0, 2], history, [key for key in keys if key == "learning_rate"])
    axes[0, 0].set(title="Loss", xlabel="epoch")
    axes[0, 1].set(title="Scores", xlabel="epoch")
    axes[0, 2].set(title="Learning rate", xlabel="epoch")
    if axes[0, 2].get_lines():
        axes[0, 2].set_yscale("log")
    epochs = [int(row["epoch"]) for row in history]
    frozen = [int(row["epoch"]) for row in history if row.get("frozen")]
    known = [row for row in history if row.get("val_loss") is not None]
    if best_epoch is None and known:
        best_epoch = int(min(known, key=lambda row: row["val_loss"])["epoch"])
    for axis in axes[0]:
        for place, epoch in enumerate(frozen):
            label = "backbone frozen" if place == 0 else None
            axis.axvspan(epoch - 0.5, epoch + 0.5, color="#BBBBBB", alpha=0.35, linewidth=0, label=label)
        if best_epoch is not None:
            axis.axvline(best_epoch, color=ACCENT, linestyle=":", linewidth=1.5, label=f"best epoch {best_epoch}")
        if epochs:
            axis.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(framealpha=0.85, fontsize=9)
    return figure


def _curves(axis: Axes, history: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    measures = list(dict.fromkeys(key.removeprefix("train_").removeprefix("val_") for key in keys))
    colours = {measure: OKABE_ITO[place % len(OKABE_ITO)] for place, measure in enumerate(measures)}
    for key in keys:
        points = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
        measure = key.removeprefix("train_").removeprefix("val_")
        style = _STYLES.get(key.split("_")[0], "-")
        name = key.replace("_", " ").replace("val ", "validation ").replace("train ", "training ").replace("auc", "AUC")
        axis.plot(*zip(*points, strict=True), style, color=colours[measure], marker="o", markersize=3, label=name)
