"""Gallery of Grad-CAM overlays: right, wrong and least certain films of each class (report 6.1, figure 16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.explain.gradcam import gradcam
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier
from cxr_core.settings_sections import ExplainSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["OUTCOMES", "Gallery", "draw_gallery", "gradcam_gallery", "select_films"]

OUTCOMES = ("correct", "wrong", "least certain")

_CELL = 1.55  # inches of one film: 230 pixels at 150 dpi, about the frame's own 224
_TITLE = 0.42  # inches above each row of films
_COLOURS = "turbo"


@dataclass(frozen=True)
class Gallery:
    """The figure and the films on it.

    Attributes:
        figure: matplotlib figure, made for 150 dpi.
        table: columns ``image_id``, ``label_index``, ``predicted_index``, ``probability`` (of the predicted class),
            ``outcome`` (one of :data:`OUTCOMES`).
    """

    figure: Figure
    table: pd.DataFrame


def gradcam_gallery(
    model: Classifier,
    preprocessing: Preprocessing,
    data: LabelledFrames,
    predictions: pd.DataFrame,
    labels: Sequence[str],
    settings: ExplainSettings,
) -> Gallery:
    """Choose films, explain their predicted class, draw them.

    Args:
        model: the classifier that made the predictions.
        preprocessing: turns frames into network input.
        data: frames that may be shown; keys are image ids.
        predictions: ``image_id``, ``label_index``, ``predicted_index``, ``p_0`` ... ``p_k``; rows without a frame are
            passed over.
        labels: class names in output order.
        settings: films of each class and outcome, opacity.

    Raises:
        CxrError: no prediction has a frame.
    """
    place = {key: row for row, key in enumerate(data.keys)}
    table = select_films(predictions[predictions["image_id"].isin(place)], len(labels), settings.films_per_class)
    if table.empty:
        raise CxrError("No prediction has a frame to explain: evaluate the model on the same split as the gallery.")
    frames = data.frames.take(np.asarray([place[key] for key in table["image_id"]], np.intp))
    maps = gradcam(model, frames, preprocessing, table["predicted_index"].to_numpy(np.int64))
    return Gallery(draw_gallery(table, frames, maps, labels, settings), table)


def select_films(predictions: pd.DataFrame, n_classes: int, per_class: int) -> pd.DataFrame:
    """Films to show, the same for the same predictions in any order.

    Of each true class: the surest correct ones, the surest wrong ones, and of the rest those with the smallest top
    probability; ties go to the smaller image id.

    Args:
        predictions: as for :func:`gradcam_gallery`.
        n_classes: number of classes.
        per_class: films of each class and outcome at most.

    Returns:
        Table as in :class:`Gallery`, ordered by class, outcome, rank.
    """
    columns = ["image_id", "label_index", "predicted_index"]
    films = predictions[columns].assign(
        probability=predictions[[f"p_{index}" for index in range(n_classes)]].max(axis=1).astype(float)
    )
    surest = films.sort_values(["probability", "image_id"], ascending=[False, True])
    doubtful = films.sort_values(["probability", "image_id"])
    right = films["label_index"] == films["predicted_index"]
    chosen: list[pd.DataFrame] = []
    for label in range(n_classes):
        own = films["label_index"] == label
        correct = surest[(own & right).reindex(surest.index)].head(per_class)
        wrong = surest[(own & ~right).reindex(surest.index)].head(per_class)
        shown = {*correct["image_id"], *wrong["image_id"]}
        rest = doubtful[own.reindex(doubtful.index) & ~doubtful["image_id"].isin(shown)].head(per_class)
        for outcome, part in zip(OUTCOMES, (correct, wrong, rest), strict=True):
            chosen.append(part.assign(outcome=outcome))
    return pd.concat(chosen, ignore_index=True)


def draw_gallery(
    table: pd.DataFrame,
    frames: npt.NDArray[np.uint8],
    maps: npt.NDArray[np.float32],
    labels: Sequence[str],
    settings: ExplainSettings,
) -> Figure:
    """Draw the chosen films: one row per class and outcome, each film beside its overlay; rows without films are named.

    Args:
        table: m rows of :func:`select_films`.
        frames: (m, side, side) uint8.
        maps: (m, side, side) float32, 0-1.
        labels: class names.
        settings: films per class, opacity of the overlay.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    every = [(label, outcome) for label in range(len(labels)) for outcome in OUTCOMES]
    there = set(zip(table["label_index"], table["outcome"], strict=True))
    rows = [row for row in every if row in there]
    absent = ", ".join(f"{labels[label]} {outcome}" for label, outcome in every if (label, outcome) not in there)
    columns = 2 * settings.films_per_class
    width, height = columns * _CELL + 1.9, len(rows) * (_CELL + _TITLE) + 1.2
    figure = Figure(figsize=(width, height), dpi=150)
    figure.suptitle("Grad-CAM of the predicted class: film and overlay", y=1 - 0.25 / height, fontsize=13)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    figure.subplots_adjust(
        left=1.0 / width,
        right=1 - 0.85 / width,
        top=1 - 0.95 / height,
        bottom=0.45 / height,
        wspace=0.03,
        hspace=_TITLE / _CELL,
    )
    for axis in grid.flat:
        axis.set_axis_off()
    for row, (label, outcome) in enumerate(rows):
        first: Axes = grid[row, 0]
        first.text(
            -0.08, 0.5, f"{labels[label]}\n{outcome}", transform=first.transAxes, ha="right", va="center", fontsize=9
        )
        places = np.flatnonzero((table["label_index"] == label) & (table["outcome"] == outcome))
        for column, place in enumerate(places):
            film = table.iloc[place]
            original, overlay = grid[row, 2 * column], grid[row, 2 * column + 1]
            title = f"true {labels[label]}\npredicted {labels[film['predicted_index']]} {film['probability']:.2f}"
            original.set_title(title, loc="left", fontsize=8, color="black" if outcome != "wrong" else "firebrick")
            for axis in (original, overlay):
                axis.imshow(frames[place], cmap="gray", vmin=0, vmax=255)
            overlay.imshow(maps[place], cmap=_COLOURS, vmin=0, vmax=1, alpha=settings.alpha)
    bar = figure.add_axes((1 - 0.7 / width, 0.3, 0.15 / width, 0.4))
    figure.colorbar(ScalarMappable(Normalize(0, 1), _COLOURS), cax=bar, label="Grad-CAM, share of the film's maximum")
    note = f"No film: {absent}.  {NOTICE}" if absent else NOTICE
    figure.text(0.5, 0.15 / height, note, ha="center", fontsize=9)
    return figure
