"""What a training depends on, name by name: a checkpoint of anything else is refused."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import cxr_core
from cxr_core.dataset.frames import LabelledFrames
from cxr_core.digests import digest_array, digest_bytes, digest_json
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.training.ranks import Ranks
from cxr_core.training.recipe import Recipe

__all__ = ["code_digest", "films_digest", "training_fingerprint"]

_CODE = {  # what decides the weights that a training makes; a test compares it with what the loop imports
    "training": (
        "augmentation", "batches", "checkpoints", "corruption_draws", "course", "engine", "hyperparameters", "loop",
        "memory", "ranks", "recipe", "sampling", "schedule", "validation",
    ),
    "modelling": ("backbones", "losses", "network", "weights"),
    "imaging": ("preprocess",),
    "dataset": ("frames",),
    "evaluation": ("predict", "probabilities"),
    "robustness": (
        "corruption_blur", "corruption_cover", "corruption_entry", "corruption_geometry", "corruption_grey",
        "corruption_noise", "corruptions",
    ),
}  # fmt: skip
_LIBRARIES = ("torch", "timm", "albumentations", "numpy")
_DIGITS = 16


def films_digest(data: LabelledFrames) -> str:
    """Digest of the films by their keys, which follow from their content, with class, source and side; in order."""
    said = [list(data.keys), digest_array(data.labels), list(data.sources), data.frames.side]
    return digest_json(said)[:_DIGITS]


def code_digest() -> str:
    """Digest of the source files that decide what a training makes."""
    root = Path(cxr_core.__file__).parent
    files = [root / room / f"{name}.py" for room, names in sorted(_CODE.items()) for name in sorted(names)]
    return digest_json([(path.name, digest_bytes(path.read_bytes())) for path in files])[:_DIGITS]


def training_fingerprint(
    model: Classifier,
    preprocessing: Preprocessing,
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    recipe: Recipe,
    ranks: Ranks,
) -> dict[str, Any]:
    """What a training that is about to begin depends on; JSON values.

    Args:
        model: with its initial weights.
        preprocessing, train_set, val_set, recipe, ranks: of the training.
    """
    return {
        "data": {
            "train": films_digest(train_set),
            "train_images": len(train_set),
            "val": films_digest(val_set),
            "val_images": len(val_set),
        },
        "preprocessing": preprocessing.digest[:_DIGITS],
        "network": {
            "backbone": model.backbone_name,
            "initial_weights": digest_state_dict(model.state_dict())[:_DIGITS],
        },
        **recipe.describe(),
        "code": code_digest(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "machine": {"device": ranks.device.type, "processes": ranks.world},
    }
