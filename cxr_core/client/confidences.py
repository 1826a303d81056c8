"""How sure a model was of the films of a folder, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr_core.plotting import class_colours, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confidence_figure"]

_BINS = np.linspace(0, 1, 21)


def confidence_figure(results: pd.DataFrame, title: str = "Confidence by predicted class") -> Figure:
    """Number of films by confidence (0-1), stacked by predicted class.

    Args:
        results: columns prediction, confidence and p_<label>, as :func:`cxr_core.client.results.results_table` gives
            them; rows without an answer are passed over.
        title: over the figure.
    """
    answered = results.dropna(subset=["confidence"])
    if answered.empty:
        return sentence_figure(title, "No film has an answer.")
    labels = [str(name).removeprefix("p_") for name in results if str(name).startswith("p_")]
    colours = class_colours(labels)
    note = f"{len(answered):,} films; {len(results) - len(answered):,} without an answer."
    figure, axes = new_figure(title, size=(8, 4), note=note)
    axis = axes[0, 0]
    groups = [answered.loc[answered["prediction"] == label, "confidence"].to_numpy() for label in labels]
    names = [f"{label} ({len(group):,})" for label, group in zip(labels, groups, strict=True)]
    axis.hist(groups, bins=_BINS, stacked=True, color=[colours[label] for label in labels], label=names)
    axis.set(xlabel="confidence", ylabel="films", xlim=(0, 1))
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False)
    return figure
