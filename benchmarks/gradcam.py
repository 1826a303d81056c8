"""Grad-CAM of many films in batches against one film at a time, all else equal."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.harness import Benchmark, side_by_side
from cxr_core.explain.gradcam import gradcam
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.settings_sections import ModelSettings

_FILMS = 48  # three batches
_SIDE = 224
_THREADS = 2


def measure() -> Benchmark:
    """Films a second of both ways, one model and one copy of it each."""
    frames = np.random.default_rng(0).integers(0, 256, (_FILMS, _SIDE, _SIDE), dtype=np.uint8)
    preprocessing = Preprocessing(_SIDE, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
    model = build_classifier(ModelSettings(backbone="tf_efficientnet_lite0", weights="none"), 3, 0).model
    threads = torch.get_num_threads()

    def ours() -> None:
        gradcam(model, frames, preprocessing)

    def theirs() -> None:
        gradcam(model, frames, preprocessing, batch_size=1)

    torch.set_num_threads(_THREADS)
    try:
        ratio, fast, slow = side_by_side(ours, theirs)
    finally:
        torch.set_num_threads(threads)
    note = f"{_FILMS / fast:.0f} against {_FILMS / slow:.0f} films/s of {_SIDE} pixels, {_THREADS} threads"
    return Benchmark("gradcam", ratio, 1.2, "higher", "time, films one at a time over films in batches of 16", note)
