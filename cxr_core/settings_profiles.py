"""The profiles: what each changes of the defaults, and why."""

from __future__ import annotations

from typing import Any

__all__ = ["PROFILES"]

_DEMO: dict[str, Any] = {
    "network": {"backbone": "tf_efficientnet_lite0"},  # its ImageNet weights come from the package index: no hub
    "training": {
        "max_epochs": 8,  # 22 images/s at 224 px on two cores: about 20 s an epoch of the phantoms
        "freeze_epochs": 1,  # same share of the epochs as the report's 5 of 35
        "patience": 3,  # same share of the epochs as the report's 15 of 35
    },
    "tuning": {
        "trials": 6,
        "startup_trials": 3,  # half of them at random, the rest guided
        "epochs": 4,
        "freeze_epochs": (0, 1),  # same share of the epochs as the report's 10 of 35
        "image_side": 112,  # a proxy: trials see frames reduced to half, three times faster
        "max_images": 450,  # a proxy for larger folders: class shares kept; all of the phantoms
    },
    "mitigation": {
        "epochs": 2,  # about 10 s an epoch of each of two arms
        "frozen_stages": 5,  # the late stages alone learn twice as fast on a CPU
        "conditions": ("clinical", "severe", "gamma-3", "gaussian_noise-3", "motion_blur-3", "jpeg-3"),
    },
    # Half a minute of maps; a second training of half the epochs, about 80 s, which the report says.
    "faithfulness": {
        "films": 6,
        "occlusion_films": 2,
        "steps": 10,
        "random_maps": 2,
        "draws": 1,
        "second_epochs": 4,
    },
    # 540 clean films: 56 each in validation, calibration and test; twelve are filed wrongly, for the label audit.
    "phantom": {"patients_per_class": 120, "wrong_labels": 12},
}

# A few thousand films are learnt better by the late stages of a pretrained network than by all of it (one fold of three
# of 1,483 public films, inside each of three sources), and twice as fast on a CPU.
_SMALL_DATA: dict[str, Any] = {
    "network": {"backbone": "tf_efficientnet_lite0", "dropout": 0.3},
    "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
    "training": {
        "max_epochs": 10,
        "patience": 10,  # none: the cosine has come to its end when the epochs have
        "keep": "last",
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "warmup_epochs": 1.0,
        "freeze_epochs": 0,
        "frozen_stages": 5,  # the stem and four stages of blocks, of seven
        "sampling": "source_balanced",
        "ema_decay": 0.99,
    },
    "tuning": {
        "trials": 6,
        "startup_trials": 3,
        "epochs": 6,
        "learning_rate": (3e-4, 3e-3),
        "weight_decay": (1e-3, 1e-1),
        "dropout": (0.1, 0.5),
        "batch_size": (16, 32),
        "freeze_epochs": (0, 2),
    },
    "mitigation": {"epochs": 3, "frozen_stages": 5},  # the same stages as in training
    "crossval": {"val_fraction": 0.02},  # nothing is chosen by it: nearly all films of a fold are learnt from
}

PROFILES: dict[str, dict[str, Any]] = {"demo": _DEMO, "small_data": _SMALL_DATA, "standard": {}}
