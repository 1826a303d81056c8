"""Everything that decides how a network is trained, beside the network and the films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cxr_core.settings import Settings
from cxr_core.settings_sections import AugmentationSettings, LossSettings, TrainingSettings
from cxr_core.training.hyperparameters import Hyperparameters

__all__ = ["Recipe"]

_OF_THE_MACHINE = {"checkpoint_minutes"}  # settings that change no bit of the result


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        hyper: takes the place of the settings of the same names.
        training: epochs, optimiser, sampling, precision, patience, seed.
        loss: kind, weights, smoothing; its gamma is ``hyper.focal_gamma``.
        augmentation: None trains on the frames as they are.
    """

    hyper: Hyperparameters
    training: TrainingSettings
    loss: LossSettings
    augmentation: AugmentationSettings | None

    @classmethod
    def from_settings(cls, settings: Settings, hyper: Hyperparameters | None = None, **training: Any) -> Recipe:
        """The settings' recipe.

        Args:
            settings: all settings.
            hyper: default those of the settings.
            training: entries of the training section that take the place of the settings'.
        """
        hyper = hyper or Hyperparameters.from_settings(settings)
        return cls(hyper, settings.training.model_copy(update=training), settings.loss, settings.augmentation)

    def describe(self) -> dict[str, Any]:
        """JSON values of all that the result depends on."""
        taken = set(self.hyper.to_dict()) | _OF_THE_MACHINE
        return {
            "hyperparameters": self.hyper.to_dict(),
            "training": self.training.model_dump(mode="json", exclude=taken),
            "loss": self.loss.model_dump(mode="json", exclude={"gamma"}),
            "augmentation": self.augmentation.model_dump(mode="json") if self.augmentation else None,
        }
