"""Predictions and embeddings of many frames, in their order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.evaluation.probabilities import softmax
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier
from cxr_core.progress import Log, progress

__all__ = ["classify_embeddings", "embed_frames", "predict_logits", "softmax"]

Floats = npt.NDArray[np.float32]

_BATCH = 64  # frames at once: 64 x 3 x 224 x 224 float32 = 37 MiB of input


def predict_logits(
    model: Classifier,
    frames: Frames,
    preprocessing: Preprocessing,
    batch_size: int = _BATCH,
    device: torch.device | None = None,
    log: Log | None = None,
    what: str = "predicting",
) -> Floats:
    """Logits of every frame.

    Args:
        model: used in evaluation mode; its mode is restored afterwards.
        frames: n frames, in the order of the result.
        preprocessing: turns frames into network input.
        batch_size: frames at once, >= 1.
        device: where to compute; default where the model is. The model is moved there.
        log: where progress lines go.
        what: name of the work in progress lines.

    Returns:
        (n, classes) float32.
    """
    width = model.head.out_features
    return _run(model, model.forward, width, frames, preprocessing, batch_size, device, log, what)


def embed_frames(
    model: Classifier,
    frames: Frames,
    preprocessing: Preprocessing,
    batch_size: int = _BATCH,
    device: torch.device | None = None,
    log: Log | None = None,
) -> Floats:
    """Pooled embeddings of every frame, (n, embedding size) float32; arguments as :func:`predict_logits`."""
    return _run(model, model.embed, model.embedding_size, frames, preprocessing, batch_size, device, log, "embedding")


def classify_embeddings(model: Classifier, embeddings: Floats) -> Floats:
    """The head's answer to embeddings: what :func:`predict_logits` says of their frames, but for rounding.

    Args:
        model: whose head is used; dropout is off, as in prediction.
        embeddings: (n, embedding size) float32, made by this model.

    Returns:
        (n, classes) float32; computed in float64, so that no batch size or thread count changes a bit.
    """
    weight = model.head.weight.detach().cpu().numpy().astype(np.float64)
    bias = model.head.bias.detach().cpu().numpy().astype(np.float64)
    return (embeddings.astype(np.float64) @ weight.T + bias).astype(np.float32)


def _run(
    model: Classifier,
    compute: Callable[[Tensor], Tensor],
    width: int,
    frames: Frames,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device | None,
    log: Log | None,
    what: str,
) -> Floats:
    if batch_size < 1:
        raise CxrError(f"Batch size {batch_size} predicts nothing: give 1 or more.")
    if device is not None:
        model.to(device)
    target = next(model.parameters()).device
    result = np.empty((len(frames), width), np.float32)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), progress(len(frames), what, log=log) as advance:
            for start in range(0, len(frames), batch_size):
                rows = np.arange(start, min(start + batch_size, len(frames)))
                batch = torch.from_numpy(preprocessing.tensor(frames.take(rows)))
                batch = batch.to(target, memory_format=torch.channels_last)
                result[rows] = compute(batch).float().cpu().numpy()
                advance(len(rows))
    finally:
        model.train(training)
    return result
