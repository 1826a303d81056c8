import doctest

import numpy as np
import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.modelling import losses
from cxr_core.modelling.losses import FocalLoss, WeightedCrossEntropy, balanced_weights, build_loss
from cxr_core.settings_sections import LossSettings


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


def _case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(30, 3, generator=generator) * 3, torch.randint(0, 3, (30,), generator=generator)


def test_one_alpha_a_class_weighs_each_image_by_its_own() -> None:
    logits, target = _case()
    alpha = [0.2, 0.5, 2.0]
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    expected = (-torch.tensor(alpha)[target] * (1 - p) ** 1.5 * p.log()).mean()
    torch.testing.assert_close(FocalLoss(alpha, 1.5)(logits, target), expected)
    torch.testing.assert_close(FocalLoss([0.7] * 3, 1.5)(logits, target), FocalLoss(0.7, 1.5)(logits, target))


def test_a_smoothed_focal_loss_is_the_mean_of_the_terms_that_the_target_is_spread_over() -> None:
    logits, target = _case()
    p = logits.softmax(1)
    spread = torch.full_like(p, 0.1 / 3)
    spread[torch.arange(30), target] += 0.9
    expected = (-spread * (1 - p) ** 2 * p.log()).sum(1).mean()
    torch.testing.assert_close(FocalLoss(1.0, 2.0, 0.1)(logits, target), expected)


def test_weighted_cross_entropy_is_torchs_up_to_its_divisor() -> None:
    logits, target = _case()
    weights = balanced_weights(target.numpy(), 3)
    total = torch.nn.functional.cross_entropy(
        logits, target, torch.tensor(weights), label_smoothing=0.0, reduction="sum"
    )
    torch.testing.assert_close(WeightedCrossEntropy(weights)(logits, target), total / 30)
    whole = WeightedCrossEntropy(weights, 0.1)
    parts = [whole(logits[rows], target[rows]) * len(logits[rows]) / 30 for rows in (slice(0, 11), slice(11, None))]
    torch.testing.assert_close(sum(parts), whole(logits, target))  # however it is cut


def test_balanced_weights_give_every_class_the_same_say() -> None:
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    weights = balanced_weights(labels, 3)
    from sklearn.utils.class_weight import compute_class_weight

    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=labels))
    with pytest.raises(CxrError, match="Class 2 has no training image"):
        balanced_weights(labels[labels < 2], 3)


def test_the_loss_that_is_set_is_the_loss_that_is_built() -> None:
    logits, target = _case()
    labels = target.numpy()
    focal = build_loss(LossSettings(), 2.5, labels, 3)
    torch.testing.assert_close(focal(logits, target), FocalLoss(0.25, 2.5)(logits, target))
    plain = build_loss(LossSettings(name="cross_entropy", label_smoothing=0.1), 2.5, labels, 3)
    torch.testing.assert_close(
        plain(logits, target), torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    )
    balanced = build_loss(LossSettings(name="cross_entropy", class_weights="balanced"), 2.5, labels, 3)
    weighted = WeightedCrossEntropy(balanced_weights(labels, 3))
    torch.testing.assert_close(balanced(logits, target), weighted(logits, target))
    with pytest.raises(CxrError, match=r"loss\.alpha has 2 values for 3 classes"):
        build_loss(LossSettings(alpha=(0.5, 0.5)), 2.0, labels, 3)
