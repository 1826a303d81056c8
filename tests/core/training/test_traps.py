"""What went wrong in the reference (TRAPS 6-9) and has no place elsewhere among the tests; 5 is in test_tuning."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import embed_frames, predict_logits
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import AugmentationSettings, LossSettings, ModelSettings, TrainingSettings
from cxr_core.training import loop
from cxr_core.training.engine import Engine
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import TrainingResult, train
from cxr_core.training.recipe import Recipe
from cxr_core.training.saved_model import load_model, save_model

TINY = ModelSettings(backbone="test_efficientnet", weights="none")


@pytest.fixture
def model() -> Classifier:
    return build_classifier(TINY, 3, 1).model


def _train(model: Classifier, preprocessing: Preprocessing, blobs: Any, **training: Any) -> TrainingResult:
    hyper = Hyperparameters(1e-3, 1e-4, 0.3, 8, 0, 2.0)
    recipe = Recipe(hyper, TrainingSettings(**training), LossSettings(), AugmentationSettings())
    return train(model, preprocessing, blobs(24, 48, 1), blobs(12, 48, 2), recipe, torch.device("cpu"))


def test_the_rate_has_come_down_to_its_floor_when_the_planned_epochs_are_over(
    model: Classifier, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = Engine.step
    monkeypatch.setattr(
        Engine, "step", lambda self, x, y, share, rate: rates.append(rate) or real(self, x, y, share, rate)
    )
    _train(model, preprocessing, blobs, max_epochs=3, eta_min=1e-6)
    assert len(rates) == 9
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-6)


@pytest.mark.parametrize("frozen", [0, 2])
def test_an_early_stop_comes_patience_unfrozen_epochs_after_the_best_one(
    frozen: int, model: Classifier, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.9, 0.8, 0.7, 0.75, 0.76, 0.77, 0.1, 0.1])
    real = loop.validation_measures
    monkeypatch.setattr(loop, "validation_measures", lambda *args: {**real(*args), "val_loss": next(losses)})
    hyper = Hyperparameters(1e-3, 1e-4, 0.3, 12, frozen, 2.0)
    recipe = Recipe(hyper, TrainingSettings(max_epochs=8, patience=3), LossSettings(), None)
    result = train(model, preprocessing, blobs(24, 48, 1), blobs(12, 48, 2), recipe, torch.device("cpu"))
    assert result.stopped_early
    assert result.best_epoch == 3
    assert len(result.history) - result.best_epoch == 3  # never "stopped at 35, best 34, patience 15"
    assert result.best["val_loss"] == 0.7


def test_a_scalar_alpha_balances_no_class_and_one_a_class_does(model: Classifier) -> None:
    from cxr_core.modelling.losses import FocalLoss

    logits = torch.zeros(10, 3, requires_grad=True)
    rare = torch.tensor([2] + [0] * 9)

    def share_of_the_rare_class(alpha: Any) -> float:
        (gradient,) = torch.autograd.grad(FocalLoss(alpha, 2.0)(logits, rare), logits)
        return float(gradient[0].norm() / gradient.norm(dim=1).sum())

    assert share_of_the_rare_class(0.25) == pytest.approx(share_of_the_rare_class(1.0)) == pytest.approx(0.1)
    assert share_of_the_rare_class([1.0, 1.0, 9.0]) == pytest.approx(0.5)


def test_a_model_is_not_read_back_with_another_preprocessing(
    tmp_path: Path, model: Classifier, preprocessing: Preprocessing
) -> None:
    save_model(
        tmp_path, model.state_dict(), backbone="test_efficientnet", dropout=0.3, labels=["a", "b", "c"],
        preprocessing=preprocessing, training={},
    )  # fmt: skip
    assert digest_state_dict(load_model(tmp_path, preprocessing).model.state_dict()) == digest_state_dict(
        model.state_dict()
    )
    equalised = Preprocessing(64, True, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(CxrError, match="was trained with preprocessing"):
        load_model(tmp_path, equalised)


def test_predicting_in_the_midst_of_training_changes_no_tensor(
    model: Classifier, preprocessing: Preprocessing, blobs: Any
) -> None:
    model.train()
    before = digest_state_dict(model.state_dict())
    frames = blobs(12, 48, 2).frames
    predict_logits(model, frames, preprocessing)
    embed_frames(model, frames, preprocessing)
    assert digest_state_dict(model.state_dict()) == before
    assert model.training
