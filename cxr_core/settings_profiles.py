"""The profiles: what each changes of the defaults, and why."""

from __future__ import annotations

from typing import Any

__all__ = ["PROFILES"]

_DEMO: dict[str, Any] = {
    "network": {"backbone": "tf_efficientnet_lite0"},  # its ImageNet weights come from the package index: no hub
    "training": {
        "max_epochs": 6,  # 16 images/s at 224 px on two cores: about 20 s an epoch of the phantoms
        "freeze_epochs": 1,  # same share of the epochs as the report's 5 of 35
        "patience": 3,  # same share of the epochs as the report's 15 of 35
    },
    "tuning": {
        "trials": 6,  # the first five are TPE's random start-up, so at least one is guided
        "epochs": 3,
        "image_side": 96,  # a proxy: trials see frames reduced to 96 px, seven times faster than 224
        "max_images": 240,  # a proxy: class shares kept
    },
}

PROFILES: dict[str, dict[str, Any]] = {"demo": _DEMO, "standard": {}}
