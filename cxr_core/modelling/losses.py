"""Losses (report 3.2): focal, and the cross entropy that it names as the alternative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cxr_core.errors import CxrError
from cxr_core.settings_sections import LossSettings

__all__ = ["FocalLoss", "WeightedCrossEntropy", "balanced_weights", "build_loss"]


class FocalLoss(nn.Module):
    """Mean of ``-alpha (1 - p)^gamma log(p)``, where p is the softmax probability of the true class.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 5; report 3.2. A scalar ``alpha`` scales the
    loss and balances no class (TRAPS 6); one ``alpha`` a class weighs each image by that of its class. Values under
    different ``gamma`` cannot be compared (TRAPS 5).

    With ``gamma`` 0 and ``alpha`` 1 it is the cross entropy:

    >>> logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    >>> target = torch.tensor([0, 2])
    >>> ours = FocalLoss(alpha=1.0, gamma=0.0)(logits, target)
    >>> bool(torch.isclose(ours, nn.functional.cross_entropy(logits, target)))
    True

    With label smoothing the target is spread, and each class's term is focused by its own probability:

    >>> smooth = FocalLoss(alpha=1.0, gamma=0.0, label_smoothing=0.1)(logits, target)
    >>> bool(torch.isclose(smooth, nn.functional.cross_entropy(logits, target, label_smoothing=0.1)))
    True

    Args:
        alpha: scale, > 0; or one a class.
        gamma: focusing parameter, >= 0.
        label_smoothing: share of the target spread over all classes, 0 <= share < 1.
    """

    alpha: Tensor

    def __init__(self, alpha: float | Sequence[float], gamma: float, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32), persistent=False)
        self.gamma = gamma
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of logits (n, classes) and class indices (n,)."""
        log_p = nn.functional.log_softmax(logits.float(), dim=1)
        chosen = target[:, None]
        loss = self._terms(log_p.gather(1, chosen)[:, 0])
        if self.label_smoothing:
            loss = (1 - self.label_smoothing) * loss + self.label_smoothing * self._terms(log_p).mean(dim=1)
        alpha = self.alpha.to(loss.device)
        return (loss * (alpha[target] if alpha.ndim else alpha)).mean()

    def _terms(self, log_p: Tensor) -> Tensor:
        # 1 - p without cancellation; the floor keeps the power's gradient finite where p rounds to 1.
        miss = (-torch.expm1(log_p)).clamp_min(torch.finfo(torch.float32).tiny)
        return -(miss**self.gamma) * log_p


class WeightedCrossEntropy(nn.Module):
    """Mean over images of the weight of the class times its cross entropy (natural logarithm).

    Divided by the number of images, not by the sum of their weights as in torch: so the loss of a batch is the mean of
    the losses of its parts, however several processes cut it.

    >>> logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    >>> target = torch.tensor([0, 2])
    >>> ours = WeightedCrossEntropy()(logits, target)
    >>> bool(torch.isclose(ours, nn.functional.cross_entropy(logits, target)))
    True

    Args:
        weights: one a class, > 0; none: 1 for all.
        label_smoothing: share of the target spread over all classes, 0 <= share < 1.
    """

    weights: Tensor | None

    def __init__(self, weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        tensor = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("weights", tensor, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of logits (n, classes) and class indices (n,)."""
        loss = nn.functional.cross_entropy(
            logits.float(), target, label_smoothing=self.label_smoothing, reduction="none"
        )
        return (loss if self.weights is None else loss * self.weights.to(loss.device)[target]).mean()


def balanced_weights(labels: npt.NDArray[np.int64], classes: int) -> list[float]:
    """Weight of each class, n / (classes x images of the class): scikit-learn's ``balanced``; their mean is 1.

    Raises:
        CxrError: a class without images.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise CxrError(f"Class {int(np.argmin(counts))} has no training image: set loss.class_weights to none.")
    return [float(len(labels) / (classes * count)) for count in counts]


def build_loss(settings: LossSettings, gamma: float, labels: npt.NDArray[np.int64], classes: int) -> nn.Module:
    """The loss that the settings name.

    Args:
        settings: kind, weights, smoothing.
        gamma: focusing parameter; it takes the place of ``settings.gamma``.
        labels: (n,) classes of the training images, for balanced weights.
        classes: number of classes.

    Raises:
        CxrError: ``alpha`` of another number of classes, or a class without images.
    """
    if settings.name == "cross_entropy":
        balanced = settings.class_weights == "balanced"
        return WeightedCrossEntropy(balanced_weights(labels, classes) if balanced else None, settings.label_smoothing)
    if isinstance(settings.alpha, tuple) and len(settings.alpha) != classes:
        raise CxrError(f"loss.alpha has {len(settings.alpha)} values for {classes} classes: give one, or one a class.")
    return FocalLoss(settings.alpha, gamma, settings.label_smoothing)
