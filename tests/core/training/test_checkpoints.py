import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import AugmentationSettings, LossSettings, ModelSettings, TrainingSettings
from cxr_core.training.checkpoints import Checkpoints, differences
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import TrainingResult, train
from cxr_core.training.recipe import Recipe

KILLABLE = Path(__file__).with_name("killable.py")
TINY = ModelSettings(backbone="test_efficientnet", weights="none")


def _train(
    folder: Path | None,
    preprocessing: Preprocessing,
    blobs: Any,
    *,
    training: TrainingSettings | None = None,
    films: int = 24,
    rate: float = 1e-3,
    **more: Any,
) -> TrainingResult:
    """Train two epochs of three steps."""
    training = training or TrainingSettings(max_epochs=2, ema_decay=0.9)
    recipe = Recipe(Hyperparameters(rate, 1e-4, 0.3, 8, 1, 2.0), training, LossSettings(), AugmentationSettings())
    model = build_classifier(TINY, 3, 1).model
    checkpoints = Checkpoints(folder, minutes=1e-9) if folder else None
    return train(
        model, preprocessing, blobs(films, 48, 1), blobs(12, 48, 2), recipe, torch.device("cpu"), checkpoints, **more
    )


class _Interrupted(Exception):
    pass


def _interrupt_at(monkeypatch: pytest.MonkeyPatch, save_number: int) -> None:
    real, calls = Checkpoints.save, iter(range(1, 100))

    def save(self: Checkpoints, *args: Any) -> None:
        real(self, *args)
        if next(calls) == save_number:
            raise _Interrupted

    monkeypatch.setattr(Checkpoints, "save", save)


@pytest.mark.parametrize(
    ("save_number", "precision"),  # in an epoch, at its end, in the next one, at the very end
    [(1, "fp32"), (3, "fp32"), (4, "fp32"), (6, "fp32"), (4, "fp16"), (4, "bf16")],
)
def test_a_training_resumed_from_any_checkpoint_ends_as_an_uninterrupted_one(
    save_number: int,
    precision: str,
    tmp_path: Path,
    preprocessing: Preprocessing,
    blobs: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = TrainingSettings(max_epochs=2, ema_decay=0.9, precision=precision)
    whole = _train(None, preprocessing, blobs, training=training)
    with monkeypatch.context() as patch:
        _interrupt_at(patch, save_number)
        with pytest.raises(_Interrupted):
            _train(tmp_path, preprocessing, blobs, training=training)
    heard: list[dict[str, Any]] = []
    torch.rand(3)  # whatever the process drew before has no say
    resumed = _train(tmp_path, preprocessing, blobs, training=training, on_epoch=heard.append)
    assert digest_state_dict(resumed.best_state) == digest_state_dict(whole.best_state)
    assert resumed.history == whole.history == heard
    assert (resumed.best_epoch, resumed.stopped_early) == (whole.best_epoch, whole.stopped_early)


def test_a_resumed_training_does_not_repeat_what_is_done(
    tmp_path: Path, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_core.training.engine import Engine

    _interrupt_at(monkeypatch, 4)
    with pytest.raises(_Interrupted):
        _train(tmp_path, preprocessing, blobs)
    steps: list[int] = []
    real = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self, *args: steps.append(1) or real(self, *args))
    _train(tmp_path, preprocessing, blobs)
    assert len(steps) == 2  # of six, four are in the checkpoint


@pytest.mark.slow
def test_a_training_killed_at_any_moment_ends_with_the_same_digest(tmp_path: Path) -> None:
    def start(folder: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(KILLABLE), str(tmp_path / folder), str(tmp_path / f"{folder}.txt")]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def wait_for_a_checkpoint(process: subprocess.Popen[str]) -> None:
        while process.poll() is None and not (tmp_path / "killed/checkpoint.pt").is_file():
            time.sleep(0.02)
        assert process.stderr
        next((line for line in process.stderr if "training" in line), "")  # under way: imports are done

    whole = start("whole")
    _, told = whole.communicate()
    assert whole.returncode == 0, told
    rng = np.random.default_rng(7)
    kills = 0
    for _ in range(4):
        process = start("killed")
        wait_for_a_checkpoint(process)
        try:
            process.wait(float(rng.uniform(0.1, 2.0)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills >= 1  # how many depends on the machine's speed
    last = start("killed")
    _, told = last.communicate()
    assert last.returncode == 0, told
    assert "resumed" in told
    assert (tmp_path / "killed.txt").read_text() == (tmp_path / "whole.txt").read_text()


def test_a_checkpoint_of_other_settings_data_or_weights_is_refused_with_the_difference_named(
    tmp_path: Path, preprocessing: Preprocessing, blobs: Any
) -> None:
    _train(tmp_path, preprocessing, blobs)
    with pytest.raises(CxrError, match=r"hyperparameters\.learning_rate was 0\.001, is 0\.002"):
        _train(tmp_path, preprocessing, blobs, rate=2e-3)
    with pytest.raises(CxrError, match=r"training\.max_epochs was 2, is 3"):
        _train(tmp_path, preprocessing, blobs, training=TrainingSettings(max_epochs=3, ema_decay=0.9))
    with pytest.raises(CxrError, match=r"data\.train_images was 24, is 21"):
        _train(tmp_path, preprocessing, blobs, films=21)
    other = Preprocessing(64, True, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(CxrError, match="preprocessing was"):
        _train(tmp_path, other, blobs)


def test_a_checkpoint_of_other_code_is_refused(
    tmp_path: Path, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_core.training import fingerprint

    _train(tmp_path, preprocessing, blobs)
    monkeypatch.setattr(fingerprint, "code_digest", lambda: "changed")
    with pytest.raises(CxrError, match=r"code was '[0-9a-f]{16}', is 'changed'"):
        _train(tmp_path, preprocessing, blobs)


def test_how_often_checkpoints_are_written_does_not_make_another_training(
    tmp_path: Path, preprocessing: Preprocessing, blobs: Any
) -> None:
    first = _train(tmp_path, preprocessing, blobs)
    often = TrainingSettings(max_epochs=2, ema_decay=0.9, checkpoint_minutes=0.1)
    assert _train(tmp_path, preprocessing, blobs, training=often).history == first.history


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path, preprocessing: Preprocessing, blobs: Any) -> None:
    _train(tmp_path, preprocessing, blobs)
    path = Checkpoints(tmp_path).path
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CxrError, match="delete it"):
        _train(tmp_path, preprocessing, blobs)
    torch.save({"state": 1}, path)
    with pytest.raises(CxrError, match="not a checkpoint"):
        _train(tmp_path, preprocessing, blobs)


def test_a_checkpoint_runs_no_code_when_it_is_read(tmp_path: Path, preprocessing: Preprocessing, blobs: Any) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"fingerprint": {}, "state": Evil()}, Checkpoints(tmp_path).path)
    with pytest.raises(CxrError, match="cannot be read"):
        _train(tmp_path, preprocessing, blobs)
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_holds_all_state_as_plain_tensors(
    tmp_path: Path, preprocessing: Preprocessing, blobs: Any
) -> None:
    _train(tmp_path, preprocessing, blobs)
    kept = torch.load(Checkpoints(tmp_path).path, weights_only=True)
    assert set(kept["state"]["engine"]) == {"model", "average", "optimizer", "scaler", "steps"}
    assert {"epoch", "step", "history", "kept_state", "kept_epoch", "waited", "sums"} <= set(kept["state"]["course"])


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path, preprocessing: Preprocessing, blobs: Any) -> None:
    with Checkpoints(tmp_path).held(), pytest.raises(CxrError, match="Another process trains"):
        _train(tmp_path, preprocessing, blobs)
    _train(tmp_path, preprocessing, blobs)  # the lock is free again


def test_differences_are_named_by_their_path() -> None:
    old = {"a": {"x": 1, "y": 2}, "b": 3, "gone": 0}
    new = {"a": {"x": 1, "y": 4}, "b": 3, "come": [1]}
    assert differences(old, new) == ["a.y was 2, is 4", "come was None, is [1]", "gone was 0, is None"]
    assert differences(old, old) == []


def test_a_checkpoint_is_due_after_its_minutes() -> None:
    assert Checkpoints(Path("unused"), minutes=1).due(time.monotonic() - 61)
    assert not Checkpoints(Path("unused"), minutes=1).due(time.monotonic() - 1)
