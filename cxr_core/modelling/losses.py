"""Losses (report 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FocalLoss"]


class FocalLoss(nn.Module):
    """Mean of ``-alpha (1 - p)^gamma log(p)``, where p is the softmax probability of the true class.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 5; report 3.2. A scalar ``alpha`` scales the
    loss and balances no class (TRAPS 6). Values under different ``gamma`` cannot be compared (TRAPS 5).

    With ``gamma`` 0 and ``alpha`` 1 it is the cross entropy:

    >>> logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    >>> target = torch.tensor([0, 2])
    >>> ours = FocalLoss(alpha=1.0, gamma=0.0)(logits, target)
    >>> bool(torch.isclose(ours, nn.functional.cross_entropy(logits, target)))
    True

    Args:
        alpha: scale, > 0.
        gamma: focusing parameter, >= 0.
    """

    def __init__(self, alpha: float, gamma: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of logits (n, classes) and class indices (n,)."""
        log_p = nn.functional.log_softmax(logits.float(), dim=1).gather(1, target[:, None])[:, 0]
        # 1 - p without cancellation; the floor keeps the power's gradient finite where p rounds to 1.
        miss = (-torch.expm1(log_p)).clamp_min(torch.finfo(torch.float32).tiny)
        return -self.alpha * (miss**self.gamma * log_p).mean()
