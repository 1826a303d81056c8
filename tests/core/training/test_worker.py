import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_core.settings import Settings, load_settings
from cxr_core.store import Artefact
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.job import TrainingJob
from cxr_core.training.worker import main

HYPER = Hyperparameters(1e-3, 1e-4, 0.3, 8, 1, 2.0)
SPLITS = Artefact("splits", "table", "objects/splits/0.parquet", "0" * 64, 1)


def _settings(**changes: Any) -> Settings:
    return load_settings({"mlflow_uri": "postgresql://tracker:canary-word@db/mlflow", **changes})


def test_a_job_is_read_back_as_it_was_written() -> None:
    job = TrainingJob.place(_settings(**{"loss.alpha": [0.2, 0.3, 0.5]}), HYPER, SPLITS, {"a": "b"}, "trained_model")
    back = TrainingJob.read(job.write())
    assert (back.hyper, back.splits, back.data, back.folder, back.owner) == (
        job.hyper, job.splits, job.data, job.folder, os.getpid(),
    )  # fmt: skip
    assert back.settings.model_dump(exclude={"mlflow_uri"}) == job.settings.model_dump(exclude={"mlflow_uri"})


def test_a_job_file_holds_no_password_and_is_closed_to_others() -> None:
    path = TrainingJob.place(_settings(), HYPER, SPLITS, {}, "trained_model").write()
    assert "canary-word" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_the_folder_of_a_job_follows_from_all_that_it_depends_on_and_nothing_else() -> None:
    def folder(settings: Settings, hyper: Hyperparameters = HYPER, data: str = "1") -> Path:
        return TrainingJob.place(settings, hyper, SPLITS, {"pixel_cache": data}, "trained_model").folder

    first = folder(_settings())
    assert folder(_settings(**{"gates.min_macro_f1": 0.5, "workers": 7})) == first
    others = {
        folder(_settings(**{"training.max_epochs": 3})),
        folder(_settings(), Hyperparameters(2e-3, 1e-4, 0.3, 8, 1, 2.0)),
        folder(_settings(), data="2"),
    }
    assert len({first, *others}) == 4


def test_a_worker_says_in_one_sentence_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Name the job's file" in capsys.readouterr().err
    job = TrainingJob.place(_settings(), HYPER, SPLITS, {}, "trained_model")
    assert main([str(job.write())]) == 1
    assert "is gone from the store" in capsys.readouterr().err


def test_a_worker_ends_when_the_process_that_wanted_it_is_gone(tmp_path: Path) -> None:
    job = TrainingJob.place(_settings(), HYPER, SPLITS, {}, "trained_model")
    path = job.write()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps({**json.loads(path.read_text()), "owner": gone.pid}))
    script = (
        "import sys, time\n"
        "from cxr_core.training import job, worker\n"
        "job.run_job = lambda *args: time.sleep(120)\n"
        "sys.exit(worker.main(sys.argv[1:]))\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], timeout=90).returncode == 3


def test_an_unfinished_training_of_something_else_is_named_and_left_alone(tmp_path: Path) -> None:
    from cxr_core.training.job import _others

    for name, epochs in {"mine": 8, "other": 9}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "fingerprint.json").write_text(json.dumps({"training": {"max_epochs": epochs}}))
    (sentence,) = _others(tmp_path / "mine", {"training": {"max_epochs": 8}})
    assert "training.max_epochs was 9, is 8" in sentence
    assert str(tmp_path / "other") in sentence


def test_freed_memory_is_kept_where_the_c_library_can() -> None:
    from cxr_core.training.memory import keep_freed_memory

    kept = keep_freed_memory()
    array = np.ones(50_000_000, np.uint8)
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    heap = [[int(part, 16) for part in line[0].split("-")] for line in lines if line[-1] == "[heap]"]
    # By itself the C library would map so large a block anew, outside of the heap, and unmap it when it is freed.
    assert any(start <= array.ctypes.data < end for start, end in heap) == kept
