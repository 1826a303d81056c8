"""A trained model on disk, as training hands it to evaluation: weights, how it was trained, and its preprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.export import state_dict_bytes
from cxr_core.modelling.network import Classifier, empty_classifier
from cxr_core.modelling.weights import read_state_dict

__all__ = ["SavedModel", "load_model", "save_model"]

_WEIGHTS = "weights.pt"
_RECORD = "training.json"


@dataclass(frozen=True)
class SavedModel:
    """A model read back.

    Attributes:
        model: the classifier in evaluation mode, on the CPU.
        preprocessing: what it was trained with.
        record: what :func:`save_model` was told, with ``weights_digest``.
        weights: the weights file's bytes.
    """

    model: Classifier
    preprocessing: Preprocessing
    record: dict[str, Any]
    weights: bytes


def save_model(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    backbone: str,
    dropout: float,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a model into a folder; equal arguments, equal bytes.

    Args:
        folder: an empty folder.
        state: state dict.
        backbone: timm name.
        dropout: that of the head.
        labels: class names in output order.
        preprocessing: what frames went through.
        training: how it came about; JSON values.

    Returns:
        The record that was written.
    """
    weights = state_dict_bytes(state)
    record = {
        "backbone": backbone,
        "dropout": dropout,
        "labels": list(labels),
        "preprocessing": asdict(preprocessing),
        "preprocessing_digest": preprocessing.digest,
        "weights_digest": digest_bytes(weights),
        "training": dict(training),
    }
    (folder / _WEIGHTS).write_bytes(weights)
    (folder / _RECORD).write_text(json.dumps(record, indent=1, sort_keys=True, allow_nan=False))
    return record


def load_model(folder: Path, preprocessing: Preprocessing) -> SavedModel:
    """Read a model back, for use with the given preprocessing.

    Raises:
        CxrError: the weights are not those of the record, or the model was trained with other preprocessing.
    """
    record = json.loads((folder / _RECORD).read_text())
    weights = (folder / _WEIGHTS).read_bytes()
    if digest_bytes(weights) != record["weights_digest"]:
        raise CxrError(f"{folder / _WEIGHTS} is not the file that training wrote: materialise trained_model again.")
    if record["preprocessing_digest"] != preprocessing.digest:
        raise CxrError(
            f"The model in {folder} was trained with preprocessing {record['preprocessing_digest'][:12]}, now it is "
            f"{preprocessing.digest[:12]}: materialise trained_model again."
        )
    model = empty_classifier(record["backbone"], len(record["labels"]), record["dropout"])
    model.load_state_dict(read_state_dict(folder / _WEIGHTS))
    return SavedModel(model.eval(), preprocessing, record, weights)
