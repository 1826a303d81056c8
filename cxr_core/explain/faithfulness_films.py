"""The films whose maps are judged, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError
from cxr_core.explain.deletion import Scorer
from cxr_core.imaging.preprocess import Box, Preprocessing
from cxr_core.modelling.network import Classifier

__all__ = ["ExplainedFilms", "boxes_of", "choose_films", "model_scorer"]

Masks = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ExplainedFilms:
    """Films of one size.

    Attributes:
        keys: n image ids.
        labels: (n,) true classes.
        predicted: (n,) classes that the model predicts: what is explained, save where lesions are looked for.
        groups: n patient groups.
        frames: (n, side, side) uint8.
        boxes: n places of the films in their frames.
        lungs: (n, side, side) bool, as found on the films; empty where none were found.
        true_lungs, lesions: (n, side, side) bool where the truth is known, else None.
    """

    keys: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    groups: npt.NDArray[np.object_]
    frames: npt.NDArray[np.uint8]
    boxes: tuple[Box, ...]
    lungs: Masks
    true_lungs: Masks | None = None
    lesions: Masks | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def side(self) -> int:
        """Side of the frames, pixels."""
        return int(self.frames.shape[1])

    def take(self, rows: Rows) -> ExplainedFilms:
        """Some of the films."""
        return replace(
            self,
            keys=tuple(self.keys[row] for row in rows),
            labels=self.labels[rows],
            predicted=self.predicted[rows],
            groups=self.groups[rows],
            frames=self.frames[rows],
            boxes=tuple(self.boxes[row] for row in rows),
            lungs=self.lungs[rows],
            true_lungs=None if self.true_lungs is None else self.true_lungs[rows],
            lesions=None if self.lesions is None else self.lesions[rows],
        )

    def first_of_each_class(self, count: int) -> Rows:
        """Rows of the first films of each class, in order."""
        rows = [np.flatnonzero(self.labels == label)[:count] for label in np.unique(self.labels)]
        return np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.intp)


def choose_films(predictions: pd.DataFrame, per_class: int, seed: int) -> pd.DataFrame:
    """Films of each class drawn at random, the same for the same films in any order.

    Args:
        predictions: rows that may be drawn; columns image_id, label_index.
        per_class: films of each class at most.
        seed: of the draw.

    Returns:
        The chosen rows in the order of the draw: of each class, the first are a random sample too.

    Raises:
        CxrError: there is no film.
    """
    if predictions.empty:
        raise CxrError("No test film is there to explain: materialise splits and predictions again.")
    rng = np.random.default_rng(seed)
    rows = predictions.sort_values("image_id", ignore_index=True)
    order = rows.iloc[rng.permutation(len(rows))]
    return order.groupby("label_index", sort=True).head(per_class).reset_index(drop=True)


def model_scorer(model: Classifier, preprocessing: Preprocessing, probabilities: Callable[[Floats], Floats]) -> Scorer:
    """The model's probability of a class as what a deletion or insertion watches.

    Args:
        model: in evaluation mode.
        preprocessing: turns frames into network input.
        probabilities: logits (n, k) to probabilities (n, k): calibrated ones, as they are answered.
    """
    import torch

    device = next(model.parameters()).device

    def score(frames: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> Floats:
        with torch.inference_mode():
            batch = torch.from_numpy(preprocessing.tensor(frames)).to(device, memory_format=torch.channels_last)
            logits = model(batch).float().cpu().numpy()
        found = np.asarray(probabilities(logits.astype(np.float64)), np.float64)
        return found[np.arange(len(frames)), classes]

    return score


def boxes_of(index: pd.DataFrame, keys: Sequence[str], side: int) -> tuple[Box, ...]:
    """Where films lie in their frames, from the image index (image_id, width, height)."""
    from cxr_core.trust.shortcut_views import film_boxes

    rows = index.drop_duplicates("image_id").set_index("image_id").loc[list(keys)]
    return tuple(film_boxes(rows, side))
