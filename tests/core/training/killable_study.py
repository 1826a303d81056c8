"""A small search in a process of its own, for tests that kill it: ``python killable_study.py STUDIES OUT``.

Each finished epoch is a line ``trial T epoch E`` on standard output.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from killable import PREPROCESSING, films

from cxr_core.settings import Settings, load_settings
from cxr_core.store import write_atomically
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.tuning import tune


def settings() -> Settings:
    return load_settings(
        {
            "network.backbone": "test_efficientnet",
            "network.weights": "none",
            "training.checkpoint_minutes": 1e-9,
            "tuning.trials": 5,
            "tuning.startup_trials": 2,
            "tuning.epochs": 3,
            "tuning.image_side": 32,
            "tuning.batch_size": [4, 8],
        }
    )


class _Told:
    def __init__(self, number: int) -> None:
        self.number = number

    def epoch(self, row: Any) -> None:
        sys.stdout.write(f"trial {self.number} epoch {row['epoch']}\n")
        sys.stdout.flush()

    def ended(self, outcome: Any) -> None:
        pass


@contextmanager
def _on_trial(number: int, hyper: Hyperparameters) -> Iterator[_Told]:
    yield _Told(number)


def _log(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = tune(
        films(48, 1),
        films(12, 2),
        PREPROCESSING,
        settings(),
        torch.device("cpu"),
        Path(sys.argv[1]),
        _on_trial,
        _log,
    )
    write_atomically(Path(sys.argv[2]), f"{result.best}\n{result.trials.to_json(double_precision=15)}".encode())
