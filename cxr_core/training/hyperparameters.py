"""The six hyperparameters that tuning searches (report 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cxr_core.errors import CxrError
from cxr_core.settings import Settings
from cxr_core.settings_sections import ModelSettings

__all__ = ["Hyperparameters"]


@dataclass(frozen=True)
class Hyperparameters:
    """One point of the search space.

    Attributes:
        learning_rate: peak rate of Adam, > 0.
        weight_decay: L2 term of Adam, >= 0.
        dropout: probability before the head, 0 <= p < 1.
        batch_size: images of one step, >= 2: BatchNorm has no variance of one value.
        freeze_epochs: first epochs with the backbone frozen, >= 0.
        focal_gamma: focusing parameter of the loss, >= 0.
    """

    learning_rate: float
    weight_decay: float
    dropout: float
    batch_size: int
    freeze_epochs: int
    focal_gamma: float

    def __post_init__(self) -> None:
        fits = {
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "dropout": 0 <= self.dropout < 1,
            "batch_size": self.batch_size >= 2,
            "freeze_epochs": self.freeze_epochs >= 0,
            "focal_gamma": self.focal_gamma >= 0,
        }
        for name, fine in fits.items():
            if not fine:
                raise CxrError(f"Hyperparameter {name} = {getattr(self, name)} is out of range: choose another value.")

    @classmethod
    def from_settings(cls, settings: Settings) -> Hyperparameters:
        """Those of the settings: what training uses where nothing was tuned."""
        training = settings.training
        return cls(
            training.learning_rate,
            training.weight_decay,
            settings.network.dropout,
            training.batch_size,
            training.freeze_epochs,
            settings.loss.gamma,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Hyperparameters:
        """Inverse of :meth:`to_dict`.

        Raises:
            CxrError: a name is missing or unknown, or a value is out of range.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            wrong = sorted(names ^ set(values))
            raise CxrError(f"Hyperparameters {', '.join(wrong)} are missing or unknown: materialise the tuning again.")
        return cls(**values)

    def to_dict(self) -> dict[str, float | int]:
        """Names to plain numbers, in the order of declaration."""
        return asdict(self)

    def model_settings(self, model: ModelSettings) -> ModelSettings:
        """The model's settings with this dropout."""
        return model.model_copy(update={"dropout": self.dropout})
