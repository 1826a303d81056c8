"""Tuning with the median pruner against tuning without: time until both have found an equally good point."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness import Benchmark
from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import Settings, load_settings
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.trials import Outcome
from cxr_core.training.tuning import tune

_SEEDS = (42, 43, 44, 45)  # a study each: where a search finds its best point is a matter of luck
# A median prunes half of what comes after 5 startup trials of 15, here after 2 to 3 of 8 epochs: such a trial costs two
# thirds. With the best point equally likely in each place the time to it shrinks by 1.18; luck has the rest.
_GOAL = 1.1
_TRAIN, _VAL, _SIDE = 72, 48, 32
_ROWS = (0.3, 0.5, 0.7)  # of the disc that tells the class, shares of the side


class _Clock:
    """Notes when each complete trial ended, and its log loss."""

    def __init__(self) -> None:
        self.start = time.process_time()
        self.found: list[tuple[float, float]] = []
        self.epochs = 0

    @contextmanager
    def on_trial(self, number: int, hyper: Hyperparameters) -> Iterator[_Clock]:
        yield self

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.epochs += 1

    def ended(self, outcome: Outcome) -> None:
        if outcome.state == "complete" and outcome.log_loss is not None:
            self.found.append((time.process_time() - self.start, outcome.log_loss))

    @property
    def best(self) -> float:
        return min(log_loss for _, log_loss in self.found)

    def seconds_until(self, quality: float) -> float:
        return min(seconds for seconds, log_loss in self.found if log_loss <= quality)


def measure() -> Benchmark:
    """Several studies, each with and without pruner, in turn; seconds of one processor, whatever else runs there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _search(_settings(0, "none", trials=1))  # once uncounted: imports
        pairs = [_pair(seed, pruned_first=place % 2 == 0) for place, seed in enumerate(_SEEDS)]
    finally:
        torch.set_num_threads(threads)
    qualities = [max(pruned.best, whole.best) for pruned, whole in pairs]
    ours, theirs = (
        [pair[which].seconds_until(quality) for pair, quality in zip(pairs, qualities, strict=True)] for which in (0, 1)
    )
    each = "; ".join(
        f"{quality:.3f} in {fast:.1f} against {slow:.1f} s, in the end {pruned.best:.3f} after {pruned.epochs} epochs "
        f"against {whole.best:.3f} after {whole.epochs}"
        for (pruned, whole), quality, fast, slow in zip(pairs, qualities, ours, theirs, strict=True)
    )
    note = f"{len(pairs)} studies of 15 trials; log loss that both reached, with pruner against without: {each}"
    return Benchmark(
        "pruning", sum(theirs) / sum(ours), _GOAL, "higher", "time to equal log loss, without over with", note
    )


def _pair(seed: int, pruned_first: bool) -> tuple[_Clock, _Clock]:
    """The study of a seed with the pruner, and without."""
    order = ("median", "none") if pruned_first else ("none", "median")
    clocks = {pruner: _search(_settings(seed, pruner)) for pruner in order}
    return clocks["median"], clocks["none"]


def _search(settings: Settings) -> _Clock:
    clock = _Clock()
    seed = settings.tuning.seed
    preprocessing = Preprocessing(_SIDE, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    films = _films(_TRAIN, seed), _films(_VAL, seed + 1000)
    tune(*films, preprocessing, settings, torch.device("cpu"), on_trial=clock.on_trial, log=lambda line: None)
    return clock


def _settings(seed: int, pruner: str, trials: int = 15) -> Settings:
    """The report's space and number of trials on a small network without pretrained weights."""
    changes = {
        "network.backbone": "test_efficientnet",
        "network.weights": "none",
        "tuning.seed": seed,
        "tuning.pruner": pruner,
        "tuning.trials": trials,
        "tuning.epochs": 8,
        "tuning.freeze_epochs": (0, 2),
        "tuning.batch_size": (8, 16),
        "tuning.learning_rate": (1e-4, 1e-2),  # ten times the report's, which are for pretrained weights
        "tuning.image_side": _SIDE,
    }
    return load_settings({"profile": "standard", **changes})


def _films(count: int, seed: int) -> LabelledFrames:
    """Noisy frames with a disc whose height, size and brightness tell the class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.int64)
    frames = rng.integers(40, 140, (count, _SIDE, _SIDE), dtype=np.uint8)
    for frame, label in zip(frames, labels, strict=True):
        row, column = (int(_SIDE * share + rng.integers(-3, 4)) for share in (_ROWS[label], 0.5))
        cv2.circle(frame, (column, row), _SIDE // (4 + 2 * int(label)), 160 + 30 * int(label), -1)
    return LabelledFrames(ArrayFrames(frames), labels, [f"{seed}-{number}" for number in range(count)])
