import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killable import run
from two_processes import gradients

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_sections import TrainingSettings
from cxr_core.training.engine import resolve_precision
from cxr_core.training.ranks import Ranks, joined_ranks

HERE = Path(__file__).parent


def _torchrun(script: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(HERE / script), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "frozen"), [("test_convnext", "free"), ("test_efficientnet", "frozen")])
def test_two_processes_have_the_gradients_of_one(backbone: str, frozen: str, tmp_path: Path) -> None:
    # A network without BatchNorm as it is, one with BatchNorm while its statistics are frozen: gloo has no BatchNorm
    # over several processes, CUDA has.
    _torchrun("two_processes.py", backbone, frozen, str(tmp_path / "two.pt"))
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    one = gradients(backbone, frozen == "frozen", Ranks())
    assert set(one) == set(two)
    largest = max(float(value.abs().max()) for value in one.values())
    assert largest > 1e-4
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6 * largest, msg=name)


@pytest.mark.slow
def test_a_training_of_two_processes_learns_and_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    for name in ("first", "second"):
        _torchrun("killable.py", str(tmp_path / name), str(tmp_path / f"{name}.txt"))
    told = (tmp_path / "first.txt.0").read_text()
    assert told == (tmp_path / "first.txt.1").read_text()  # one model, whichever process is asked
    assert told == (tmp_path / "second.txt.0").read_text()
    history = ast.literal_eval(told.partition(" ")[2])
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    # The finished checkpoint is taken up again by two processes, and refused for one.
    _torchrun("killable.py", str(tmp_path / "first"), str(tmp_path / "again.txt"))
    assert (tmp_path / "again.txt.0").read_text() == told
    settings = TrainingSettings(max_epochs=4, ema_decay=0.9, sampling="source_balanced")
    with pytest.raises(CxrError, match=r"machine\.processes was 2, is 1"):
        run(tmp_path / "first", settings)


def test_the_parts_of_a_batch_cover_it_and_are_woven_together_again() -> None:
    rows = np.arange(7)
    parts = [rows[Ranks(rank, 2).part] for rank in range(2)]
    assert sorted(np.concatenate(parts)) == rows.tolist()
    assert [len(part) for part in parts] == [4, 3]
    alone = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert Ranks().woven(alone, 3) is alone
    assert float(Ranks().total(torch.tensor(3.0))) == 3.0


def test_without_torchrun_a_process_is_alone() -> None:
    with joined_ranks("cpu") as ranks:
        assert (ranks.rank, ranks.world, ranks.first, ranks.device.type) == (0, 1, True, "cpu")


def test_each_process_needs_two_images(preprocessing: Preprocessing, blobs: Any) -> None:
    from cxr_core.modelling.network import build_classifier
    from cxr_core.settings_sections import LossSettings, ModelSettings
    from cxr_core.training.hyperparameters import Hyperparameters
    from cxr_core.training.loop import train
    from cxr_core.training.recipe import Recipe

    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    recipe = Recipe(Hyperparameters(1e-3, 0, 0, 8, 0, 2.0), TrainingSettings(max_epochs=1), LossSettings(), None)
    with pytest.raises(CxrError, match="3 training"):
        train(model, preprocessing, blobs(3, 48, 1), blobs(3, 48, 2), recipe, ranks=Ranks(0, 2))


def test_precision_follows_the_device_unless_it_is_set() -> None:
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"
    assert resolve_precision("auto", torch.device("cuda")) == "fp16"  # report 3.2
    assert resolve_precision("bf16", torch.device("cuda")) == "bf16"
