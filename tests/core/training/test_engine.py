import copy
import shutil
from typing import Any

import pytest
import torch

from cxr_core.modelling.losses import FocalLoss
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.settings_sections import ModelSettings, TrainingSettings
from cxr_core.training.engine import Engine
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.ranks import Ranks

HYPER = Hyperparameters(1e-2, 0.1, 0.0, 8, 0, 2.0)


def _engine(**training: Any) -> Engine:
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    return Engine(model, HYPER, TrainingSettings(**training), FocalLoss(1.0, 2.0), Ranks())


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


def _weights(model: Classifier) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def test_gradients_are_clipped_to_the_norm_that_is_set() -> None:
    engine = _engine(clip_norm=1e-3)
    engine.begin(False)
    _, norm, _ = engine.step(*_batch(), 1.0, 1e-2)
    clipped = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in engine.model.parameters()]))
    assert float(norm) > 1e-2  # what is told is the norm before clipping
    assert float(clipped) == pytest.approx(1e-3, rel=1e-3)


def test_weight_decay_is_decoupled_from_the_gradient_with_adamw_alone() -> None:
    moved = {}
    for name in ("adam", "adamw"):
        engine = _engine(optimizer=name)
        engine.begin(False)
        before = engine.model.head.weight.detach().clone()
        engine.step(*_batch(), 1.0, 1e-2)
        moved[name] = engine.model.head.weight.detach() - before
        gradient = engine.model.head.weight.grad
        decay = 0.1 * before if name == "adam" else torch.zeros_like(before)
        shrink = -1e-2 * 0.1 * before if name == "adamw" else torch.zeros_like(before)
        expected = shrink - 1e-2 * (gradient + decay) / ((gradient + decay).abs() + 1e-8)  # Adam's first step
        torch.testing.assert_close(moved[name], expected, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(moved["adam"], moved["adamw"])


def test_averaged_weights_and_statistics_follow_by_the_stated_decay() -> None:
    engine = _engine(ema_decay=0.5)
    assert engine.average is not None
    assert engine.judged is engine.average
    engine.begin(False)
    expected = {name: value.clone() for name, value in engine.average.state_dict().items()}
    for step in range(1, 9):
        engine.step(*_batch(), 1.0, 1e-2)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in engine.model.state_dict().items():
            new = decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value
            expected[name] = new.clone()
    assert (1 + 8) / (10 + 8) == 0.5  # the rise has come to its end
    for name, value in engine.average.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_without_averaging_the_network_itself_is_judged() -> None:
    engine = _engine()
    assert engine.average is None
    assert engine.judged is engine.model


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_learns_and_keeps_full_precision_weights(precision: str) -> None:
    engine = _engine(precision=precision)
    engine.begin(False)
    losses = [float(engine.step(*_batch(), 1.0, 1e-3)[0]) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert {value.dtype for value in engine.model.parameters()} == {torch.float32}
    assert engine.scaler.is_enabled() == (precision == "fp16")
    full = _engine(precision="fp32")
    full.begin(False)
    assert losses[0] != float(full.step(*_batch(), 1.0, 1e-3)[0])  # it was not computed in fp32


def test_an_overflow_of_scaled_gradients_skips_the_step_and_lowers_the_scale() -> None:
    engine = _engine(precision="fp16")
    engine.begin(False)
    engine.step(*_batch(), 1.0, 1e-3)
    before, scale = _weights(engine.model), engine.scaler.get_scale()
    x, y = _batch()
    _, norm, _ = engine.step(x, y, float("inf"), 1e-3)
    assert not torch.isfinite(norm)
    assert torch.equal(_weights(engine.model), before)
    assert engine.scaler.get_scale() < scale


def test_input_and_weights_are_channels_last() -> None:
    engine = _engine()
    convolution = next(m for m in engine.model.modules() if isinstance(m, torch.nn.Conv2d) and m.weight.shape[1] > 1)
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_state_taken_on_by_another_engine_goes_on_equally() -> None:
    first = _engine(ema_decay=0.9)
    first.begin(False)
    first.step(*_batch(), 1.0, 1e-2)
    second = _engine(ema_decay=0.9)
    second.restore(copy.deepcopy(first.state()))
    second.begin(False)
    for engine in (first, second):
        engine.step(*_batch(), 1.0, 1e-2)
    assert torch.equal(_weights(first.model), _weights(second.model))
    assert first.average is not None
    assert second.average is not None
    assert torch.equal(_weights(first.average), _weights(second.average))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++: apt-get install g++")
def test_a_compiled_network_learns_as_the_plain_one() -> None:
    weights = []
    for compiled in (False, True):
        engine = _engine(compile=compiled)
        for frozen in (True, False):
            engine.begin(frozen)
            engine.step(*_batch(), 1.0, 1e-3)
        weights.append(_weights(engine.model))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-2, atol=1e-3)
