from typing import Any

import numpy as np
import pytest
import torch

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import predict_logits
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.losses import FocalLoss
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import AugmentationSettings, LossSettings, ModelSettings, TrainingSettings
from cxr_core.training import loop
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import DivergedError, TrainingResult, train
from cxr_core.training.recipe import Recipe
from cxr_core.training.validation import macro_auc, validation_measures

TINY = ModelSettings(backbone="test_efficientnet", weights="none")
HYPER = Hyperparameters(1e-3, 1e-4, 0.3, 8, 1, 2.0)
TRAINING = TrainingSettings(max_epochs=3, patience=5)


@pytest.fixture(scope="module")
def train_set(blobs: Any) -> LabelledFrames:
    return blobs(24, 48, 1)


@pytest.fixture(scope="module")
def val_set(blobs: Any) -> LabelledFrames:
    return blobs(12, 48, 2)


@pytest.fixture
def model() -> Classifier:
    return build_classifier(TINY, 3, 1).model


def _train(
    model: Classifier,
    preprocessing: Preprocessing,
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    hyper: Hyperparameters = HYPER,
    training: TrainingSettings = TRAINING,
    augmentation: AugmentationSettings | None = None,
    **more: Any,
) -> TrainingResult:
    recipe = Recipe(hyper, training, LossSettings(), augmentation or AugmentationSettings())
    return train(model, preprocessing, train_set, val_set, recipe, torch.device("cpu"), **more)


def test_two_trainings_give_equal_bits(
    preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    results = []
    for _ in range(2):
        torch.rand(7)  # whatever else draws from the global stream has no say
        results.append(_train(build_classifier(TINY, 3, 1).model, preprocessing, train_set, val_set))
    assert digest_state_dict(results[0].best_state) == digest_state_dict(results[1].best_state)
    assert results[0].history == results[1].history


def test_another_seed_gives_another_model(
    preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    digests = {
        digest_state_dict(
            _train(
                build_classifier(TINY, 3, 1).model,
                preprocessing,
                train_set,
                val_set,
                training=TrainingSettings(max_epochs=1, seed=seed),
            ).best_state
        )
        for seed in (1, 2)
    }
    assert len(digests) == 2


def test_training_leaves_the_global_stream_alone(
    model: Classifier, preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()
    _train(model, preprocessing, train_set, val_set, training=TrainingSettings(max_epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_epochs_move_the_head_alone(
    model: Classifier, preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    backbone, head = digest_state_dict(model.backbone.state_dict()), digest_state_dict(model.head.state_dict())
    hyper = Hyperparameters(1e-3, 1e-4, 0.3, 8, 3, 2.0)
    result = _train(model, preprocessing, train_set, val_set, hyper, TrainingSettings(max_epochs=2))
    assert [row["frozen"] for row in result.history] == [True, True]
    assert digest_state_dict(model.backbone.state_dict()) == backbone
    assert digest_state_dict(model.head.state_dict()) != head
    assert all(parameter.requires_grad for parameter in model.parameters())  # given back unfrozen


def test_the_model_comes_back_with_the_best_epoch(
    model: Classifier, preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    result = _train(model, preprocessing, train_set, val_set)
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    assert not model.training
    assert digest_state_dict(model.state_dict()) == digest_state_dict(result.best_state)
    logits = predict_logits(model, val_set.frames, preprocessing)
    assert validation_measures(logits, val_set.labels, FocalLoss(0.25, 2.0)) == {
        name: result.best[name] for name in ("val_loss", "val_log_loss", "val_accuracy", "val_macro_auc")
    }


def _scripted(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let validation report these losses, in turn."""
    turn = iter(losses)
    real = loop.validation_measures
    monkeypatch.setattr(loop, "validation_measures", lambda *args: {**real(*args), "val_loss": next(turn)})


def test_patience_counts_unfrozen_epochs_only(
    model: Classifier,
    preprocessing: Preprocessing,
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _scripted(monkeypatch, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])
    hyper = Hyperparameters(1e-3, 1e-4, 0.3, 12, 3, 2.0)
    result = _train(model, preprocessing, train_set, val_set, hyper, TrainingSettings(max_epochs=7, patience=2))
    assert len(result.history) == 5  # three frozen, two of patience
    assert result.stopped_early
    assert result.best_epoch == 1


def test_a_better_epoch_renews_patience(
    model: Classifier,
    preprocessing: Preprocessing,
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _scripted(monkeypatch, [0.5, 0.6, 0.4, 0.6, 0.6, 0.1])
    hyper = Hyperparameters(1e-3, 1e-4, 0.3, 12, 0, 2.0)
    result = _train(model, preprocessing, train_set, val_set, hyper, TrainingSettings(max_epochs=6, patience=2))
    assert len(result.history) == 5
    assert result.best_epoch == 3


def test_the_last_epoch_is_kept_where_the_settings_say_so(
    model: Classifier,
    preprocessing: Preprocessing,
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        _scripted(patch, [0.2, 0.5, 0.4])
        last = _train(model, preprocessing, train_set, val_set, training=TrainingSettings(max_epochs=3, keep="last"))
    assert last.best_epoch == 3
    logits = predict_logits(model, val_set.frames, preprocessing)
    assert float((logits.argmax(1) == val_set.labels).mean()) == last.best["val_accuracy"]
    _scripted(monkeypatch, [0.2, 0.5, 0.4])
    best = _train(build_classifier(TINY, 3, 1).model, preprocessing, train_set, val_set)
    assert best.best_epoch == 1
    assert digest_state_dict(best.best_state) != digest_state_dict(last.best_state)


def test_history_tells_rate_losses_and_gradient_of_each_epoch_and_no_times(
    model: Classifier, preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    seen: list[dict[str, Any]] = []
    lines: list[str] = []
    result = _train(model, preprocessing, train_set, val_set, on_epoch=seen.append, log=lines.append)
    assert seen == result.history
    assert [row["epoch"] for row in seen] == [1, 2, 3]
    assert set(seen[0]) == {
        *("epoch", "frozen", "learning_rate", "train_loss", "train_accuracy", "grad_norm"),
        *("val_loss", "val_log_loss", "val_accuracy", "val_macro_auc"),
    }
    assert seen[0]["learning_rate"] == pytest.approx(HYPER.learning_rate)
    assert seen[0]["learning_rate"] > seen[1]["learning_rate"] > seen[2]["learning_rate"] > TRAINING.eta_min
    assert sum("images/s" in line and "macro AUC" in line for line in lines) == 3


def test_training_on_an_odd_image_out_works(model: Classifier, preprocessing: Preprocessing, blobs: Any) -> None:
    result = _train(model, preprocessing, blobs(9, 48, 1), blobs(3, 48, 2), training=TrainingSettings(max_epochs=1))
    assert len(result.history) == 1


def test_too_few_images_are_refused(model: Classifier, preprocessing: Preprocessing, blobs: Any) -> None:
    with pytest.raises(CxrError, match="1 training"):
        _train(model, preprocessing, blobs(1, 48, 1), blobs(3, 48, 2))


def test_a_loss_that_is_no_number_stops_training(
    model: Classifier, preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="learning_rate"):
        _train(model, preprocessing, train_set, val_set)


def test_a_failure_while_preparing_a_batch_is_not_swallowed(
    model: Classifier, preprocessing: Preprocessing, train_set: LabelledFrames, val_set: LabelledFrames
) -> None:
    class Broken:
        side = 48

        def __len__(self) -> int:
            return len(train_set)

        def take(self, rows: np.ndarray) -> np.ndarray:
            raise CxrError("the cache is gone")

    broken = LabelledFrames(Broken(), train_set.labels, train_set.keys)
    with pytest.raises(CxrError, match="the cache is gone"):
        _train(model, preprocessing, broken, val_set)


def test_macro_auc_is_undefined_without_every_class() -> None:
    logits = np.array([[2, 0, 0], [0, 2, 0], [0, 1, 0]], np.float32)
    assert macro_auc(logits, np.array([0, 1, 1])) is None
    assert macro_auc(np.eye(3, dtype=np.float32), np.array([0, 1, 2])) == 1.0


@pytest.mark.slow
def test_the_demo_backbone_learns_a_separable_task_in_two_epochs(blobs: Any, preprocessing: Preprocessing) -> None:
    model = build_classifier(ModelSettings(backbone="tf_efficientnet_lite0"), 3, 42).model
    hyper = Hyperparameters(2e-3, 1e-4, 0.3, 16, 0, 2.0)
    data = blobs(240, 64, 1), blobs(60, 64, 2)
    result = _train(model, preprocessing, *data, hyper, TrainingSettings(max_epochs=2))
    assert result.history[-1]["val_accuracy"] > 0.9
