"""Gallery of heat maps of every method: right, wrong and least certain films of each class (report 6.1, figure 16)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.explain.lungs import lung_masks
from cxr_core.explain.methods import METHODS, explain
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier
from cxr_core.settings_stress import ExplainSettings

__all__ = ["OUTCOMES", "Gallery", "gradcam_gallery", "select_films"]

OUTCOMES = ("correct", "wrong", "least certain")


@dataclass(frozen=True)
class Gallery:
    """The chosen films with their maps.

    Attributes:
        frames: (m, side, side) uint8.
        lungs: (m, side, side) bool, as found on the films; empty where none were found.
        maps: name of each method to (m, side, side) float32 maps of the predicted class, 0-1.
        table: m rows ``image_id``, ``label_index``, ``predicted_index``, ``probability`` (of the predicted class),
            ``outcome`` (one of :data:`OUTCOMES`).
    """

    frames: npt.NDArray[np.uint8]
    lungs: npt.NDArray[np.bool_]
    maps: Mapping[str, npt.NDArray[np.float32]]
    table: pd.DataFrame


def gradcam_gallery(
    model: Classifier,
    preprocessing: Preprocessing,
    data: LabelledFrames,
    predictions: pd.DataFrame,
    n_classes: int,
    settings: ExplainSettings,
) -> Gallery:
    """Choose films and explain their predicted class by every method.

    Args:
        model: the classifier that made the predictions.
        preprocessing: turns frames into network input.
        data: frames that may be shown; keys are image ids.
        predictions: ``image_id``, ``label_index``, ``predicted_index``, ``p_0`` ... ``p_k``; rows without a frame are
            passed over.
        n_classes: number of classes.
        settings: films of each class and outcome, occlusion.

    Raises:
        CxrError: no prediction has a frame.
    """
    place = {key: row for row, key in enumerate(data.keys)}
    table = select_films(predictions[predictions["image_id"].isin(place)], n_classes, settings.films_per_class)
    if table.empty:
        raise CxrError("No prediction has a frame to explain: evaluate the model on the same split as the gallery.")
    frames = data.frames.take(np.asarray([place[key] for key in table["image_id"]], np.intp))
    classes = table["predicted_index"].to_numpy(np.int64)
    maps = {name: explain(name, model, frames, preprocessing, classes, settings) for name in METHODS}
    return Gallery(frames, lung_masks(frames), maps, table)


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
