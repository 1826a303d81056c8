"""A sweep of fifty conditions against the bare forward passes of the network over as many frames."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.films import phantom_frames
from benchmarks.harness import Benchmark, side_by_side
from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.robustness.sweep import PARTITIONS, conditions_in, sweep
from cxr_core.settings import load_settings
from cxr_core.settings_sections import ModelSettings

_CONDITIONS = 50
_FILMS = 8
_BATCH = 64  # as in embed_frames
_ROUNDS = 5


def measure() -> Benchmark:
    """Seconds of the sweep, from cached frames to its table, over seconds of the network on ready tensors."""
    settings = load_settings({"profile": "demo"})
    preprocessing = Preprocessing.from_settings(settings.preprocessing, (0.5,) * 3, (0.5,) * 3)
    network = ModelSettings(backbone="tf_efficientnet_lite0", weights="none")
    model = build_classifier(network, len(settings.labels), 42).model.eval()
    frames = phantom_frames(_FILMS, preprocessing)
    keys = [f"{row:016x}" for row in range(_FILMS)]
    films = LabelledFrames(ArrayFrames(frames), np.arange(_FILMS) % len(settings.labels), keys)
    every = [one for partition in PARTITIONS for one in conditions_in(partition, settings.robustness)]
    chosen = [every[place] for place in np.linspace(0, len(every) - 1, _CONDITIONS).astype(int)]
    total = _FILMS * _CONDITIONS
    ready = torch.from_numpy(preprocessing.tensor(np.resize(frames, (_BATCH, *frames.shape[1:]))))
    ready = ready.to(memory_format=torch.channels_last)

    def ours() -> None:
        sweep(chosen, films, keys, model, preprocessing, 42, log=_silent)

    def theirs() -> None:
        with torch.inference_mode():
            for start in range(0, total, _BATCH):
                model(ready[: min(_BATCH, total - start)])

    ratio, ours_s, theirs_s = side_by_side(ours, theirs, _ROUNDS)
    note = (
        f"{ours_s:.1f} against {theirs_s:.1f} s: {len(chosen)} of {len(every)} conditions over {_FILMS} films of "
        f"{preprocessing.size} px through lite0, {torch.get_num_threads()} threads; ours corrupts, makes tensors, asks "
        "the head and builds the table; theirs is the network alone"
    )
    return Benchmark("robustness_sweep", 1 / ratio, 1.15, "lower", "time, sweep over bare forward passes", note)


def _silent(_: str) -> None:
    """No progress lines among the results."""
