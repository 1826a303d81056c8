"""One step of two processes under torchrun: ``torchrun ... two_processes.py BACKBONE frozen|free OUT``."""

import sys
from pathlib import Path

import torch
from killable import PREPROCESSING, films

from cxr_core.modelling.losses import FocalLoss
from cxr_core.modelling.network import build_classifier
from cxr_core.settings_sections import ModelSettings, TrainingSettings
from cxr_core.training.engine import Engine
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.ranks import Ranks, joined_ranks

IMAGES = 7  # four for one process, three for the other
NEVER_CLIPPED = 1e9


def gradients(backbone: str, frozen: bool, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Gradients of one step on the same seven images, whoever computes them."""
    model = build_classifier(ModelSettings(backbone=backbone, weights="none"), 3, 1).model
    training = TrainingSettings(clip_norm=NEVER_CLIPPED)
    engine = Engine(model, Hyperparameters(1e-3, 0.0, 0.0, 8, 0, 2.0), training, FocalLoss(1.0, 2.0), ranks)
    engine.begin(frozen)
    data = films(IMAGES, 1)
    rows = list(range(IMAGES))[ranks.part]
    x = torch.from_numpy(PREPROCESSING.tensor(data.frames.take(rows)))
    engine.step(x, torch.from_numpy(data.labels[rows]), len(rows) * ranks.world / IMAGES, 1e-3)
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined_ranks("cpu") as ranks:
        found = gradients(sys.argv[1], sys.argv[2] == "frozen", ranks)
        if ranks.first:
            torch.save(found, Path(sys.argv[3]))
