"""The whole evaluation of a test set against one forward pass of the network over it."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Benchmark, side_by_side
from benchmarks.predictions import LABELS, predictions_table
from cxr_core.dataset.frames import ArrayFrames
from cxr_core.evaluation.bootstrap import RESAMPLES
from cxr_core.evaluation.predict import predict_logits
from cxr_core.evaluation.report import evaluation_report
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.settings import load_settings
from cxr_core.settings_sections import ModelSettings

_SLICE = 192  # frames that the forward pass is timed on: three batches; its time grows in proportion to their number
_ROUNDS = 5


def measure() -> Benchmark:
    """Seconds of the evaluation report, intervals, sources and calibration included, over seconds of the pass."""
    settings = load_settings({"profile": "demo"})
    preprocessing = Preprocessing.from_settings(settings.preprocessing, (0.5,) * 3, (0.5,) * 3)
    network = ModelSettings(backbone="tf_efficientnet_lite0", weights="none")
    model = build_classifier(network, len(LABELS), 42).model.eval()
    size = preprocessing.size
    frames = ArrayFrames(np.random.default_rng(0).integers(0, 256, (_SLICE, size, size), np.uint8))
    table = predictions_table()

    def ours() -> None:
        evaluation_report(table, LABELS, 42, resamples=RESAMPLES)

    def theirs() -> None:
        predict_logits(model, frames, preprocessing, log=_silent)

    ratio, ours_s, theirs_s = side_by_side(ours, theirs, _ROUNDS)
    scale = len(table) / _SLICE
    note = (
        f"{ours_s:.1f} against {theirs_s * scale:.1f} s for {len(table):,} films, {table['source'].nunique()} sources, "
        f"{RESAMPLES:,} resamples; {_SLICE} frames of {size} px timed through lite0 and scaled by {scale:.4g}"
    )
    return Benchmark("evaluation_cost", 1 / (ratio * scale), 1.0, "lower", "time, evaluation over forward pass", note)


def _silent(_: str) -> None:
    """No progress lines among the results."""
