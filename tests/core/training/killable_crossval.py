"""A small cross-validation in a process of its own, for tests that kill it: ``killable_crossval.py FOLDER OUT``."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import Settings, load_settings
from cxr_core.store import write_atomically
from cxr_core.training.cross_validation import CrossValidation, cross_validate

PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SAMPLING = "source_balanced"


def settings(**changes: Any) -> Settings:
    quick = {
        "network.backbone": "test_efficientnet",
        "network.weights": "none",
        "training.max_epochs": 2,
        "training.freeze_epochs": 0,
        "training.batch_size": 8,
        "training.checkpoint_minutes": 1e-9,  # after every step: a kill may come in the midst of writing one
        "crossval.folds": 3,
    }
    return load_settings({**quick, **changes})


def films(n: int = 72) -> tuple[LabelledFrames, list[str]]:
    """Films of two sources, a brighter corner tells the class; every fourth patient has two films."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    frames = rng.integers(0, 120, (n, 64, 64)).astype(np.uint8)
    for frame, label in zip(frames, labels, strict=True):
        frame[8 : 20 + 12 * label, 8 : 20 + 12 * label] += 100
    groups = [f"p{k % 3}-{k // 3 - (k // 3 % 4 == 1)}" for k in range(n)]
    sources = ["north" if k // 3 % 8 < 4 else "south" for k in range(n)]
    return LabelledFrames(ArrayFrames(frames), labels.astype(np.int64), [f"i{k:03}" for k in range(n)], sources), groups


def run(folder: Path, now: Settings, **arguments: Any) -> CrossValidation:
    data, groups = films()
    return cross_validate(data, groups, PREPROCESSING, now, SAMPLING, folder, torch.device("cpu"), **arguments)


def said(result: CrossValidation) -> str:
    return json.dumps([result.predictions.to_dict("list"), [asdict(fold) for fold in result.folds]])


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_atomically(Path(sys.argv[2]), said(run(Path(sys.argv[1]), settings(), log=_say)).encode())
