"""Synthetic frames for the training tests: a bright blob whose place tells the class."""

import cv2
import numpy as np

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames

PLACES = ((0.35, 0.35), (0.5, 0.65), (0.7, 0.45))  # of the blob's centre, (row, column) as shares of the side


def blobs(n: int, side: int, seed: int) -> LabelledFrames:
    """``n`` noisy frames, classes in turn, a blob of the class's brightness at the class's place."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3).astype(np.int64)
    frames = rng.integers(60, 100, (n, side, side), dtype=np.uint8)
    for frame, label in zip(frames, labels, strict=True):
        row, column = (int(side * share + rng.integers(-2, 3)) for share in PLACES[label])
        cv2.circle(frame, (column, row), side // (6 + 3 * int(label)), int(150 + 50 * label), -1)
    return LabelledFrames(ArrayFrames(frames), labels, [f"{seed:02x}-{i:04x}" for i in range(n)])
