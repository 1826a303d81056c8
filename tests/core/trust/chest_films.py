"""Phantom films in memory, more of them by small movements of the patient, and a small stand-in for a network."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from phantom_site import phantom_films

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.trust.chest_film_fit import Films

PREPROCESSING = Preprocessing(224, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
SPLITS = {"train": 100, "val": 40, "calibration": 59, "test": 41}

Frames = npt.NDArray[np.uint8]


@lru_cache(maxsize=1)
def chest_frames() -> Frames:
    """(240, 224, 224) uint8 in random order: 60 phantom films, each in four positions and exposures."""
    rng = np.random.default_rng(3)
    found = []
    for frame in phantom_films(11, 0.0, 20)[1]:
        for _ in range(4):
            move = cv2.getRotationMatrix2D((112, 112), rng.normal(0, 2), 1 + rng.normal(0, 0.02))
            move[:, 2] += rng.normal(0, 3, 2)
            moved = cv2.warpAffine(frame, move, (224, 224), borderMode=cv2.BORDER_REPLICATE).astype(float)
            found.append(np.clip(moved * rng.uniform(0.85, 1.1) + rng.normal(0, 2, moved.shape), 0, 255))
    return np.array(found, np.uint8)[rng.permutation(len(found))]


def embed(frames: Frames) -> npt.NDArray[np.float32]:
    """(n, 48) float32: random filters at two scales, rectified and averaged over the picture, as a network's end is."""
    kernels = np.random.default_rng(8).normal(size=(24, 5, 5)).astype(np.float32)
    kernels -= kernels.mean(axis=(1, 2), keepdims=True)
    rows = []
    for frame in frames:
        scales = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for side in (96, 32)]
        maps = [cv2.filter2D(s.astype(np.float32) / 255, cv2.CV_32F, k) for s in scales for k in kernels]
        rows.append([np.maximum(one, 0).mean() for one in maps])
    return np.asarray(rows, np.float32).reshape(len(frames), 48)


@lru_cache(maxsize=4)
def films(split: str) -> Films:
    """Embeddings and frames of a split."""
    ends = np.cumsum(list(SPLITS.values()))
    place = list(SPLITS).index(split)
    frames = chest_frames()[ends[place] - SPLITS[split] : ends[place]]
    return embed(frames), ArrayFrames(frames)
