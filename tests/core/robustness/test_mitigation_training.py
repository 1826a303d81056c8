"""The trained arms: twins that differ in the corruptions alone, seeded, resumable, over an untouched model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.modelling.network import build_classifier
from cxr_core.robustness.mitigation_arms import CLAHE, CORRUPTED, PLAIN, TEST_TIME, TWIN
from cxr_core.robustness.mitigation_training import (
    TrainedArm,
    TrainingFilms,
    about_training,
    all_arms,
    continued,
    recipe_of,
)
from cxr_core.settings import Settings, load_settings
from cxr_core.training.augmentation import Augmenter
from cxr_core.training.hyperparameters import Hyperparameters


def _films(n: int, seed: int) -> LabelledFrames:
    """Noisy frames with a disc whose size tells the class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3).astype(np.int64)
    frames = rng.integers(60, 100, (n, 48, 48), dtype=np.uint8)
    for frame, label in zip(frames, labels, strict=True):
        cv2.circle(frame, (24, 24), 5 + 5 * int(label), 220, -1)
    return LabelledFrames(ArrayFrames(frames), labels, [f"{seed:02x}-{i:04x}" for i in range(n)])


@pytest.fixture(scope="module")
def site() -> SimpleNamespace:
    from cxr_core.dataset.opening import preprocessing_of

    now = load_settings(
        {
            "profile": "standard", "preprocessing.size": 48, "network.backbone": "test_efficientnet",
            "network.weights": "none", "training.batch_size": 8, "mitigation.epochs": 2,
            "mitigation.held_out": ["jpeg"],
        }
    )  # fmt: skip
    model = build_classifier(now.network, 3, 1).model.eval()
    record = {"training": {"augmentation": now.augmentation.model_dump(mode="json")}}
    saved = SimpleNamespace(model=model, preprocessing=preprocessing_of(now), record=record)
    calibration = _films(33, 3)
    films = TrainingFilms(_films(24, 1), _films(6, 2), calibration, [str(k) for k in range(33)])
    return SimpleNamespace(now=now, saved=saved, films=films, hyper=Hyperparameters.from_settings(now))


def _train(site: SimpleNamespace, share: float, folder: Path | None = None, **changes: Any) -> TrainedArm:
    mitigation = site.now.mitigation.model_copy(update=changes)
    now = site.now.model_copy(update={"mitigation": mitigation})
    return continued(site.saved, site.films, now, site.hyper, share, folder, log=lambda _: None)


@pytest.fixture(scope="module")
def twin(site: SimpleNamespace) -> TrainedArm:
    return _train(site, 0.0)


@pytest.fixture(scope="module")
def corrupted(site: SimpleNamespace) -> TrainedArm:
    return _train(site, 0.5)


def _same(a: TrainedArm, b: TrainedArm) -> bool:
    ours, others = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(ours[name], others[name]) for name in ours) and a.about["history"] == b.about["history"]


def test_the_twins_recipes_differ_in_the_corruptions_alone(site: SimpleNamespace) -> None:
    with_, without = (recipe_of(site.now, site.hyper, share).describe() for share in (0.5, 0.0))
    drawn = with_["augmentation"].pop("corruption_kinds")
    assert with_["augmentation"].pop("corruption_share") == 0.5
    assert with_ == without
    assert "jpeg" not in drawn
    assert len(drawn) == 13
    assert without["hyperparameters"]["learning_rate"] == pytest.approx(0.3 * site.hyper.learning_rate)


def test_without_a_share_the_arm_is_its_twin_bit_for_bit(
    site: SimpleNamespace, twin: TrainedArm, corrupted: TrainedArm
) -> None:
    assert _same(_train(site, 0.0, held_out=("gamma",)), twin)
    assert not _same(corrupted, twin)


def test_the_same_seed_gives_the_same_arm_whether_it_was_stopped_or_not(
    site: SimpleNamespace, corrupted: TrainedArm, tmp_path: Path
) -> None:
    kept = _train(site, 0.5, tmp_path)
    assert _same(kept, corrupted)
    assert _same(_train(site, 0.5, tmp_path), corrupted)  # found finished
    assert list(tmp_path.iterdir()) == [kept.folder]
    kept.clear()
    assert not list(tmp_path.iterdir())
    assert not _same(_train(site, 0.5, seed=7), corrupted)


def test_the_trained_model_stays_as_it_was(site: SimpleNamespace, twin: TrainedArm) -> None:
    fresh = build_classifier(site.now.network, 3, 1).model
    assert all(torch.equal(a, b) for a, b in zip(site.saved.model.state_dict().values(), fresh.state_dict().values(),
                                                 strict=True))  # fmt: skip
    assert any(not torch.equal(a, b) for a, b in zip(twin.model.state_dict().values(), fresh.state_dict().values(),
                                                     strict=True))  # fmt: skip
    assert not twin.model.training


def test_training_never_sees_a_kind_that_is_held_out(site: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_core.training import corruption_draws

    seen: set[str] = set()
    real = corruption_draws.corrupt

    def spy(frames: Any, keys: Any, preset: Any, seed: int) -> Any:
        seen.update(step.corruption for step in preset.steps)
        return real(frames, keys, preset, seed)

    monkeypatch.setattr(corruption_draws, "corrupt", spy)
    augmenter = Augmenter(recipe_of(site.now, site.hyper, 1.0).augmentation, 1)  # type: ignore[arg-type]
    frames = np.tile(site.films.train.frames.take(np.arange(24)), (10, 1, 1))
    augmenter.augment(frames, [str(number) for number in range(240)], 1)
    assert len(seen) == 13
    assert "jpeg" not in seen


def test_the_arms_answer_with_their_own_model_and_temperature(
    site: SimpleNamespace, twin: TrainedArm, corrupted: TrainedArm
) -> None:
    from cxr_core.evaluation.predict import predict_logits
    from cxr_core.evaluation.temperature import TemperatureScaling

    served = TemperatureScaling(temperature=2.0, films=0, groups=0)
    arms, absent = all_arms(site.now, site.saved, served, twin, corrupted)
    assert [arm.name for arm in arms] == [PLAIN, TEST_TIME, CLAHE, TWIN, CORRUPTED]
    assert not absent
    assert [arm.passes for arm in arms] == [1, 4, 1, 1, 1]
    frames = site.films.val.frames.take(np.arange(6))
    none = np.empty((0, 0))
    expected = {PLAIN: (site.saved.model, served), CORRUPTED: (corrupted.model, corrupted.temperature)}
    for arm in arms:
        if arm.name in expected:
            model, scaling = expected[arm.name]
            logits = predict_logits(model, ArrayFrames(frames), site.saved.preprocessing)
            assert np.allclose(arm.predict(frames, none), scaling.probabilities(logits), rtol=0, atol=1e-12)


def test_clahe_is_left_out_with_a_reason_where_the_preprocessing_equalises_already(
    site: SimpleNamespace, twin: TrainedArm, corrupted: TrainedArm
) -> None:
    from dataclasses import replace

    from cxr_core.evaluation.temperature import TemperatureScaling

    saved = SimpleNamespace(**{**vars(site.saved), "preprocessing": replace(site.saved.preprocessing, clahe=True)})
    arms, absent = all_arms(site.now, saved, TemperatureScaling(temperature=1, films=0, groups=0), twin, corrupted)
    assert CLAHE not in {arm.name for arm in arms}
    assert "equalises" in absent[CLAHE]


def test_the_report_says_how_the_arms_were_trained(
    site: SimpleNamespace, twin: TrainedArm, corrupted: TrainedArm
) -> None:
    now: Settings = site.now
    said = about_training(now, site.saved, site.hyper, site.films, twin, corrupted)
    assert said["training_passes"] == 2 * 24
    assert said["held_out"] == ["jpeg"]
    assert said["model_saw_corruptions"] == 0.0
    assert said["arms"][CORRUPTED]["corruption_share"] == 0.5
    assert len(said["arms"][TWIN]["history"]) == 2
