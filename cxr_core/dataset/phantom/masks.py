"""The true lung and lesion masks of a phantom data set in the canonical frame, where the pipeline's films are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.dataset.phantom.truth import TRUTH_DIR, load_truth
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import content_box

__all__ = ["TruthMasks", "framed_mask", "truth_masks"]

Masks = npt.NDArray[np.bool_]

_HALF = 128  # of 255: a pixel of the frame is inside where at least half of what it covers of the film is


class TruthMasks(NamedTuple):
    """Masks of n films; all false where a film's truth names none.

    Attributes:
        lung: (n, side, side) bool.
        lesion: (n, side, side) bool; empty for a normal film.
    """

    lung: Masks
    lesion: Masks

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which films have a lung mask, (n,) bool."""
        return np.asarray(self.lung.any(axis=(1, 2)), np.bool_)


def truth_masks(raw_dir: Path, files: Sequence[str], side: int) -> TruthMasks | None:
    """Masks of some files of a raw folder.

    Args:
        raw_dir: the raw folder.
        files: n paths relative to it, forward slashes, in the order of the result.
        side: of the canonical frame, pixels.

    Returns:
        The masks; None where the folder holds no truth, as a folder of real films does not.

    Raises:
        CxrError: the truth is there but unfinished, or a mask that it names cannot be read.
    """
    if not (raw_dir / TRUTH_DIR / "truth.csv").is_file():
        return None
    table = load_truth(raw_dir).table.set_index("file")[["lung_mask", "lesion_mask"]]
    named = dict(zip(table.index, table.itertuples(index=False, name=None), strict=True))
    masks = TruthMasks(*(np.zeros((len(files), side, side), np.bool_) for _ in range(2)))
    for row, file in enumerate(files):
        for mask, path in zip(masks, named.get(file, ("", "")), strict=True):
            if path:
                mask[row] = framed_mask(_read(raw_dir / path), side)
    return masks


def framed_mask(mask: npt.NDArray[np.uint8], side: int) -> Masks:
    """A film's mask where :meth:`~cxr_core.imaging.preprocess.Preprocessing.frame` puts the film.

    Args:
        mask: (height, width) uint8, 255 inside, of the film's own size.
        side: of the canonical frame, pixels.

    Returns:
        (side, side) bool: resampled as the film is, inside where the mask covers half of a pixel.
    """
    height, width = mask.shape
    box = content_box(width, height, side)
    size = (box.right - box.left, box.bottom - box.top)
    shrinks = max(height, width) > side
    resized = cv2.resize(mask, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    frame = np.zeros((side, side), np.bool_)
    frame[box.top : box.bottom, box.left : box.right] = resized >= _HALF
    return frame


def _read(path: Path) -> npt.NDArray[np.uint8]:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if mask is None:
        raise CxrError(f"The mask {path} cannot be read: generate the phantoms again.")
    return np.asarray(mask, np.uint8)
