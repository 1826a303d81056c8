"""Synthetic frames for the training tests: a bright blob whose place, size and brightness tell the class."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.imaging.preprocess import Preprocessing

Blobs = Callable[[int, int, int], LabelledFrames]

PLACES = ((0.35, 0.35), (0.5, 0.65), (0.7, 0.45))  # of the blob's centre, (row, column) as shares of the side


@pytest.fixture(scope="session")
def blobs() -> Blobs:
    """Maker of ``n`` noisy frames of a side, classes in turn, from a seed."""

    def make(n: int, side: int, seed: int) -> LabelledFrames:
        rng = np.random.default_rng(seed)
        labels = (np.arange(n) % 3).astype(np.int64)
        frames = rng.integers(60, 100, (n, side, side), dtype=np.uint8)
        for frame, label in zip(frames, labels, strict=True):
            row, column = (int(side * share + rng.integers(-2, 3)) for share in PLACES[label])
            cv2.circle(frame, (column, row), side // (6 + 3 * int(label)), int(150 + 50 * label), -1)
        return LabelledFrames(ArrayFrames(frames), labels, [f"{seed:02x}-{i:04x}" for i in range(n)])

    return make


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    return Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
