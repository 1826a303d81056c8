"""Features of every view of the shortcut audit, from one pass over the frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Box
from cxr_core.trust.shortcut_marks import film_marks, mark_features, marked
from cxr_core.trust.shortcut_views import (
    LungRegion,
    blank_lungs,
    border_cells,
    film_boxes,
    in_batches,
    intensity_features,
    lung_ellipses,
    metadata_features,
    reduced,
)

__all__ = ["BlankedFrames", "Seen", "look"]

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """What classifiers may look at.

    Attributes:
        features: name of a view to (n, d) features.
        marks: which film carries which mark, one bool column each.
    """

    features: dict[str, Floats]
    marks: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class BlankedFrames:
    """Other frames with their lungs blanked, for a network to look at; see :class:`~cxr_core.dataset.frames.Frames`."""

    base: Frames
    boxes: list[Box]
    region: LungRegion = lung_ellipses

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""
        return self.base.side

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: npt.NDArray[np.intp]) -> Pixels:
        """Blanked frames of the given rows."""
        return blank_lungs(self.base.take(rows), [self.boxes[row] for row in rows], self.region)


def look(
    index: pd.DataFrame,
    frames: Frames,
    tint_levels: float,
    region: LungRegion = lung_ellipses,
    pretrained: Floats | None = None,
    embed: Callable[[Frames], npt.NDArray[np.floating]] | None = None,
) -> Seen:
    """Features of all views.

    Args:
        index: n rows of the image index: width, height, bytes, format, tint, and the grey levels.
        frames: the n canonical frames, in the same order.
        tint_levels: above it a film counts as tinted.
        region: where lungs may lie.
        pretrained: (n, d) features of whole frames by a network that never saw a label.
        embed: gives such features of other frames; called once with the blanked ones.

    Raises:
        CxrError: frames and index do not match.
    """
    if len(index) != len(frames):
        raise CxrError(f"{len(frames)} frames do not match {len(index)} films of the image index: index again.")
    boxes = film_boxes(index, frames.side)
    whole, blanked, found = [], [], []
    for batch, places in in_batches(frames, boxes):
        whole.append(reduced(batch)[:, border_cells()])
        blanked.append(reduced(blank_lungs(batch, places, region)))
        found += [film_marks(frame, box) for frame, box in zip(batch, places, strict=True)]
    marks = pd.DataFrame(found)
    tint = index["tint"].to_numpy(np.float64)
    features = {
        "metadata": metadata_features(index),
        "intensity": intensity_features(index),
        "marks": mark_features(marks, tint),
        "border": np.concatenate(whole),
        "blanked": np.concatenate(blanked),
    }
    if embed is not None:
        features["blanked_pretrained"] = np.asarray(embed(BlankedFrames(frames, boxes, region)), np.float64)
    if pretrained is not None:
        features["pretrained"] = np.asarray(pretrained, np.float64)
    return Seen(features, marked(marks, tint, tint_levels))
