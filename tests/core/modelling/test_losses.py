import doctest

import pytest
import torch

from cxr_core.modelling import losses
from cxr_core.modelling.losses import FocalLoss


def test_gamma_zero_is_the_cross_entropy() -> None:
    result = doctest.testmod(losses)
    assert result.attempted > 0
    assert result.failed == 0


def test_focal_loss_is_the_papers_formula() -> None:
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    loss = FocalLoss(0.25, 2.0)(p.log()[None].float(), torch.tensor([1]))
    assert float(loss) == pytest.approx(0.25 * 0.8**2 * -torch.log(p[1]).item(), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("margin", [-1e4, -90.0, 0.0, 90.0, 1e4])
def test_loss_and_gradient_stay_finite_at_any_logit(gamma: float, margin: float) -> None:
    logits = torch.tensor([[margin, 0.0, 0.0]], requires_grad=True)
    loss = FocalLoss(0.25, gamma)(logits, torch.tensor([0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert float(loss.detach()) >= 0
