"""How far a training has come, and the best that it has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from cxr_core.modelling.network import Classifier
from cxr_core.settings_sections import TrainingSettings

__all__ = ["Course", "Epoch", "EpochSums", "copy_state"]

Epoch = dict[str, Any]


@dataclass
class EpochSums:
    """Sums over the steps of the epoch under way, of this process; float64, on its device.

    Attributes:
        loss: of the images' losses.
        right: of the right answers.
        norm: of the finite gradient norms.
        norms: number of them: a step whose scaled gradient overflowed is skipped and has none.
    """

    loss: Tensor
    right: Tensor
    norm: Tensor
    norms: Tensor

    @classmethod
    def zero(cls, device: torch.device) -> EpochSums:
        """Nothing yet."""
        return cls(*(torch.zeros((), dtype=torch.float64, device=device) for _ in fields(cls)))

    def add(self, loss: Tensor, norm: Tensor, right: Tensor, images: int) -> None:
        """Add a step; nothing waits for the device."""
        fine = torch.isfinite(norm)
        self.loss += loss * images
        self.right += right
        self.norm += torch.where(fine, norm, torch.zeros_like(norm))
        self.norms += fine

    def stacked(self) -> Tensor:
        """The four sums, (4,) float64."""
        return torch.stack([self.loss, self.right, self.norm, self.norms])


@dataclass
class Course:
    """Position, history and best epoch of a training.

    Attributes:
        epoch: the epoch under way, from 1.
        step: steps of it that are done.
        history: finished epochs.
        best_loss: lowest validation loss so far.
        kept_epoch, kept_state: what training would end with now.
        waited: unfrozen epochs since the lowest validation loss.
        ended: whether the last epoch is done or patience is spent.
        sums: of the epoch under way.
    """

    sums: EpochSums
    kept_state: dict[str, Tensor]
    epoch: int = 1
    step: int = 0
    history: list[Epoch] = field(default_factory=list)
    kept_epoch: int = 0
    best_loss: float = math.inf
    waited: int = 0
    ended: bool = False

    def finish_epoch(self, row: Epoch, model: Classifier, training: TrainingSettings) -> None:
        """Take in a finished epoch: keep it or not, count patience in unfrozen epochs only (TRAPS 6)."""
        self.history.append(row)
        better = row["val_loss"] < self.best_loss
        if better:
            self.best_loss, self.waited = row["val_loss"], 0
        elif not row["frozen"]:
            self.waited += 1
        if better or training.keep == "last":
            self.kept_epoch, self.kept_state = row["epoch"], copy_state(model)
        self.ended = row["epoch"] >= training.max_epochs or self.waited >= training.patience
        self.epoch, self.step = row["epoch"] + 1, 0
        self.sums = EpochSums.zero(self.sums.loss.device)

    def state(self, every_sum: Tensor) -> dict[str, Any]:
        """Tensors and plain values.

        Args:
            every_sum: the sums of all processes added up, (4,) float64; a resumed training gives them to its first one.
        """
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "sums"}
        return {**plain, "sums": every_sum.cpu()}

    def restore(self, state: Mapping[str, Any], first: bool) -> None:
        """Take on a state; the sums so far go to the first process."""
        for item in fields(self):
            if item.name != "sums":
                setattr(self, item.name, state[item.name])
        device = self.sums.loss.device
        kept = state["sums"] if first else torch.zeros_like(state["sums"])
        self.sums = EpochSums(*kept.to(device))


def copy_state(model: Classifier) -> dict[str, Tensor]:
    """State dict of a model, copied to the CPU, contiguous."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
