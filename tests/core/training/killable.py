"""A small training in a process of its own, for tests that kill it: ``python killable.py FOLDER OUT``."""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import AugmentationSettings, LossSettings, ModelSettings, TrainingSettings
from cxr_core.store import write_atomically
from cxr_core.training.checkpoints import Checkpoints
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import TrainingResult, train
from cxr_core.training.ranks import joined_ranks
from cxr_core.training.recipe import Recipe

HYPER = Hyperparameters(1e-3, 1e-4, 0.3, 8, 1, 2.0)
PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def films(n: int, seed: int) -> LabelledFrames:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    frames = rng.integers(0, 120, (n, 64, 64)).astype(np.uint8)
    for frame, label in zip(frames, labels, strict=True):
        frame[8 : 20 + 12 * label, 8 : 20 + 12 * label] += 100
    return LabelledFrames(ArrayFrames(frames), labels.astype(np.int64), [f"{seed}-{i}" for i in range(n)], ["a"] * n)


def run(folder: Path | None, training: TrainingSettings) -> TrainingResult:
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    recipe = Recipe(HYPER, training, LossSettings(), AugmentationSettings())
    # A checkpoint after every step: a kill may come in the midst of writing one.
    checkpoints = Checkpoints(folder, minutes=1e-9) if folder else None
    with joined_ranks("cpu") as ranks:
        return train(
            model, PREPROCESSING, films(96, 1), films(12, 2), recipe, checkpoints=checkpoints, ranks=ranks, log=_say
        )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    _say("training")
    torch.set_num_threads(1)
    result = run(Path(sys.argv[1]), TrainingSettings(max_epochs=4, ema_decay=0.9, sampling="source_balanced"))
    text = f"{digest_state_dict(result.best_state)} {result.history}"
    name = sys.argv[2] + (f".{os.environ['RANK']}" if "RANK" in os.environ else "")  # each process under torchrun
    write_atomically(Path(name), text.encode())
