"""What an epoch is judged by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

__all__ = ["macro_auc", "validation_measures"]

Labels = npt.NDArray[np.int64]


def validation_measures(logits: npt.NDArray[np.float32], labels: Labels, loss: nn.Module) -> dict[str, float | None]:
    """Measures of validation logits.

    Args:
        logits: (n, classes).
        labels: (n,) class indices.
        loss: scalar loss of logits and classes: what training minimises.

    Returns:
        ``val_loss`` (of that loss: focal ones are comparable within one gamma only, TRAPS 5), ``val_log_loss`` (natural
        logarithm, of the plain softmax), ``val_accuracy`` (0-1), ``val_macro_auc`` (0-1, or None where a class is
        absent).
    """
    scores = torch.from_numpy(logits)
    target = torch.from_numpy(labels)
    return {
        "val_loss": float(loss(scores, target)),
        "val_log_loss": float(torch.nn.functional.cross_entropy(scores.double(), target)),
        "val_accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "val_macro_auc": macro_auc(logits, labels),
    }


def macro_auc(logits: npt.NDArray[np.float32], labels: Labels) -> float | None:
    """Mean one-against-rest area under the ROC curve of the softmax scores; None where a class is absent."""
    from sklearn.metrics import roc_auc_score

    classes = range(logits.shape[1])
    if any((labels == label).all() or not (labels == label).any() for label in classes):
        return None
    scores = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    return float(np.mean([roc_auc_score(labels == label, scores[:, label]) for label in classes]))
