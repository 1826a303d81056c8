"""The second training, by which the first one's maps are judged: its settings, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cxr_core.errors import CxrError
from cxr_core.settings import Settings
from cxr_core.training.hyperparameters import Hyperparameters

__all__ = ["second_record", "second_settings"]


def second_settings(settings: Settings, hyper: Hyperparameters) -> tuple[Settings, Hyperparameters]:
    """Settings and hyperparameters of the second training: another seed, and at most ``faithfulness.second_epochs``.

    Where the epochs are cut, those with a frozen backbone are cut to the same share of them.

    Raises:
        CxrError: the second seed is the first one.
    """
    seed, planned = settings.faithfulness.second_seed, settings.training.max_epochs
    if seed == settings.training.seed:
        raise CxrError(f"faithfulness.second_seed is training.seed, {seed}: give the second training another one.")
    epochs = min(planned, settings.faithfulness.second_epochs or planned)
    training = settings.training.model_copy(update={"seed": seed, "max_epochs": epochs})
    frozen = hyper.freeze_epochs if epochs == planned else hyper.freeze_epochs * epochs // planned
    return settings.model_copy(update={"training": training}), replace(hyper, freeze_epochs=frozen)


def second_record(first: Mapping[str, Any], second: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """What a report says of the second training.

    Args:
        first, second: records of :func:`~cxr_core.training.saved_model.save_model`.
        digest: of the second model.

    Returns:
        ``digest``, ``seed``, ``first_seed``, ``epochs`` and ``first_epochs`` (those planned), ``shortened``.
    """
    plans = [record["training"].get("training", {}) for record in (first, second)]
    epochs = [plan.get("max_epochs") for plan in plans]
    seeds = [plan.get("seed") for plan in plans]
    shortened = None not in epochs and epochs[1] < epochs[0]
    return {
        "digest": digest,
        "seed": seeds[1],
        "first_seed": seeds[0],
        "epochs": epochs[1],
        "first_epochs": epochs[0],
        "shortened": shortened,
    }
