"""Occlusion sensitivity: how much a class's logit falls when a part of the film is covered.

Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014. It asks the network for answers
alone, no gradients and no inner maps, so that its errors are not those of Grad-CAM. A look, not a validation: TRAPS 15.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch

from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier
from cxr_core.robustness.corruptions import film_box
from cxr_core.settings_stress import ExplainSettings

__all__ = ["occlusion", "window_starts"]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_BATCH = 64  # frames at once: 64 x 3 x 224 x 224 float32 = 37 MiB of input
_BLUR = 10 / 224  # of the frame's side: standard deviation of the blur (Fong and Vedaldi, ICCV 2017)
_FAINT = 1e-5  # of the largest logit: a fall below it is rounding, which differs with the batch


def occlusion(
    model: Classifier,
    frames: Pixels,
    preprocessing: Preprocessing,
    classes: npt.NDArray[np.int64] | None = None,
    settings: ExplainSettings | None = None,
    batch_size: int = _BATCH,
) -> Floats:
    """Heat maps of frames.

    A square window moves over the frame and covers what it holds of the film with the film's mean grey or its blur;
    the black padding stays. A pixel's value is the fall of the logit, averaged over the windows that hold the pixel
    with weights that decrease linearly from the window's centre; rises count as no fall.

    Works on a copy: the mode of ``model`` and its parts stays as it is.

    Args:
        model: the classifier.
        frames: (n, side, side) uint8.
        preprocessing: turns frames into network input.
        classes: (n,) class whose logit is explained; default the predicted one.
        settings: window, stride, fill; the defaults where left out.
        batch_size: covered frames at once, >= 1.

    Returns:
        (n, side, side) float32, each map scaled to 0-1 by its own range; all zero where no window lowers the logit.
    """
    chosen = settings or ExplainSettings()
    twin = copy.deepcopy(model).eval()
    maps = np.zeros(frames.shape, np.float32)
    if not len(frames):
        return maps
    side = frames.shape[1]
    window = max(1, round(chosen.occlusion_window * side))
    starts = window_starts(side, window, max(1, round(chosen.occlusion_stride * side)))
    spread = _spread(side, window, starts)
    whole = _logits(twin, frames, preprocessing, batch_size)
    explained = whole.argmax(axis=1) if classes is None else np.asarray(classes, np.int64)
    for row, (frame, label) in enumerate(zip(frames, explained.tolist(), strict=True)):
        places, covered = _covered(frame, window, starts, chosen.occlusion_fill)
        falls = np.zeros((len(starts), len(starts)), np.float32)
        if len(covered):
            answers = _logits(twin, covered, preprocessing, batch_size)[:, label]
            falls[tuple(np.transpose(places))] = whole[row, label] - answers
        felt = np.zeros_like(maps[row])
        box = film_box(frame)
        felt[box] = (spread @ falls @ spread.T)[box]  # the padding shows nothing of the film
        maps[row] = _scaled(felt, _FAINT * max(1.0, float(np.abs(whole[row]).max())))
    return maps


def window_starts(side: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one side: evenly spread from edge to edge, at most a stride apart."""
    count = math.ceil(max(side - window, 0) / stride) + 1
    return np.rint(np.linspace(0, max(side - window, 0), count)).astype(int).tolist()


def _covered(frame: Pixels, window: int, starts: list[int], fill: str) -> tuple[list[tuple[int, int]], Pixels]:
    """Row and column of each window that changes the frame, in order, and the frame as each covers it."""
    veil = frame.copy()
    box = film_box(frame)
    film = frame[box]
    deviation = _BLUR * len(frame)
    # The film is blurred without its padding, whose black would leak in.
    veil[box] = np.rint(film.mean()) if fill == "mean" else cv2.GaussianBlur(film, (0, 0), deviation)
    places, covered = [], []
    for row, column, part in _windows(starts, window):
        if (veil[part] != frame[part]).any():
            changed = frame.copy()
            changed[part] = veil[part]
            places.append((row, column))
            covered.append(changed)
    return places, np.stack(covered) if covered else np.zeros((0, *frame.shape), np.uint8)


def _windows(starts: list[int], window: int) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    for row, top in enumerate(starts):
        for column, left in enumerate(starts):
            yield row, column, (slice(top, top + window), slice(left, left + window))


def _spread(side: int, window: int, starts: list[int]) -> Floats:
    """Share of each window in each pixel along one axis, (side, windows): a triangle over the window; rows add to 1."""
    centres = np.asarray(starts) + (window - 1) / 2
    reach = np.clip((window + 1) / 2 - np.abs(np.arange(side)[:, None] - centres), 0, None)
    total = reach.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(reach, total, out=np.zeros_like(reach), where=total > 0), np.float32)


def _scaled(falls: Floats, faint: float) -> Floats:
    positive = np.where(falls > faint, falls, 0)
    low, high = float(positive.min()), float(positive.max())
    return ((positive - low) / (high - low) if high > low else np.zeros_like(positive)).astype(np.float32)


@torch.inference_mode()
def _logits(model: Classifier, frames: Pixels, preprocessing: Preprocessing, batch_size: int) -> Floats:
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(frames), batch_size):
        batch = torch.from_numpy(preprocessing.tensor(frames[start : start + batch_size]))
        parts.append(model(batch.to(device, memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(parts).astype(np.float32)
