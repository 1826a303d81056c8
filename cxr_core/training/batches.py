"""Batches of network input, made on a background thread while the network works."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.training.augmentation import Augmenter

__all__ = ["Batch", "prepared", "stream_keys"]

Rows = npt.NDArray[np.intp]
Batch = tuple[Tensor, Tensor]

_AHEAD = 2  # batches prepared while the network computes: one in hand, one in the making


def stream_keys(keys: Sequence[str], batches: Sequence[Rows]) -> list[list[str]]:
    """Names of the random streams of each batch's images: an image drawn again in an epoch has a stream of its own."""
    drawn: Counter[int] = Counter()
    names: list[list[str]] = []
    for rows in batches:
        names.append([])
        for row in rows.tolist():
            names[-1].append(f"{keys[row]}/{drawn[row]}" if drawn[row] else keys[row])
            drawn[row] += 1
    return names


def prepared(
    data: LabelledFrames,
    batches: Sequence[Rows],
    preprocessing: Preprocessing,
    augmenter: Augmenter | None,
    epoch: int,
    start: int = 0,
    part: slice = slice(None),
) -> Iterator[Batch]:
    """Batches in order: input (n, 3, side, side) float32 and classes (n,) int64.

    Args:
        data: the films.
        batches: rows of each batch of the epoch.
        preprocessing: turns frames into input.
        augmenter: None leaves the frames as they are.
        epoch: of the augmentation's streams.
        start: number of the first batch wanted.
        part: which rows of each batch.
    """
    names = stream_keys(data.keys, batches)

    def make(number: int) -> Batch:
        rows = batches[number][part]
        frames = data.frames.take(rows)
        if augmenter:
            frames = augmenter.augment(frames, names[number][part], epoch)
        return torch.from_numpy(preprocessing.tensor(frames)), torch.from_numpy(data.labels[rows])

    with ThreadPoolExecutor(1, "cxr-batches") as pool:
        pending: deque[Future[Batch]] = deque()
        try:
            for number in range(start, len(batches)):
                pending.append(pool.submit(make, number))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
