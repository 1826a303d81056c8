"""Softmax: from what a network says to probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["softmax"]


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Probabilities (n, classes) float64 of logits (n, classes), in float64 after subtracting each row's maximum."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
