"""One optimisation step: precision, gradients, clipping, weights and their average."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from cxr_core.errors import CxrError
from cxr_core.modelling.network import Classifier
from cxr_core.settings_sections import TrainingSettings
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.ranks import Ranks

__all__ = ["Engine", "resolve_precision"]

_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` is fp16 on CUDA (report 3.2) and fp32 elsewhere; other names stand."""
    return name if name != "auto" else "fp16" if device.type == "cuda" else "fp32"


class Engine:
    """Everything of a training that has state and changes with each step.

    Args:
        model: the classifier; moved to the device, channels last.
        hyper: rates, decay and dropout.
        training: optimiser, precision, averaging, compilation.
        criterion: scalar loss of logits and classes.
        ranks: the processes that share the work.

    Attributes:
        model: the network that learns.
        average: the network of averaged weights and statistics, or None where ``ema_decay`` is 0.
        steps: optimisation steps done.
    """

    def __init__(
        self,
        model: Classifier,
        hyper: Hyperparameters,
        training: TrainingSettings,
        criterion: nn.Module,
        ranks: Ranks,
    ) -> None:
        self.device, self.ranks, self.training = ranks.device, ranks, training
        if ranks.world > 1 and self.device.type == "cuda":
            # Statistics over the whole batch, as one process would take them; torch has this for CUDA alone.
            model = convert_sync_batchnorm(model)
        self.model = model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.dropout.p = hyper.dropout
        self.criterion = criterion.to(self.device)
        kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            self.model.parameters(),
            lr=hyper.learning_rate,
            betas=(training.beta1, training.beta2),
            weight_decay=hyper.weight_decay,
        )
        precision = resolve_precision(training.precision, self.device)
        self._type = _TYPES.get(precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.average = copy.deepcopy(self.model) if training.ema_decay else None
        self.steps = 0
        self._network: nn.Module | None = None

    @property
    def judged(self) -> Classifier:
        """The network that validation judges and that is kept: the averaged one where there is one."""
        return self.average or self.model

    def begin(self, frozen: bool) -> None:
        """Begin an epoch with the backbone frozen or not (TRAPS 6)."""
        if self._network is None or frozen != self.model.frozen:
            self.model.freeze_backbone(frozen)
            self._network = self._wrapped()
        self._network.train()
        self.model.train()

    def autocast(self) -> AbstractContextManager[Any]:
        """Reduced precision of the forward pass, where it is wanted."""
        return torch.autocast(self.device.type, self._type) if self._type else nullcontext()

    def step(self, x: Tensor, y: Tensor, share: float, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """Learn from this process's part of one batch.

        Args:
            x, y: input (n, 3, side, side) float32 and classes (n,) int64, on any device.
            share: images of this part times processes over images of the batch: makes the mean over processes, which
                DDP takes, the mean over the batch's images.
            rate: learning rate.

        Returns:
            Loss of the part (its mean), gradient norm before clipping, and the number of right answers; on the device.
        """
        assert self._network is not None, "begin an epoch first"
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        x = x.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        y = y.to(self.device, non_blocking=True)
        with self.autocast():
            logits = self._forward(x)
        loss = self.criterion(logits, y)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss * share if share != 1 else loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.steps += 1
        if self.average:
            self._follow()
        return loss.detach(), norm, (logits.detach().argmax(dim=1) == y).sum()

    def _forward(self, x: Tensor) -> Tensor:
        assert self._network is not None
        if not self.training.compile:
            logits: Tensor = self._network(x)
            return logits
        from torch._dynamo.exc import TorchDynamoException

        try:
            logits = self._network(x)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise CxrError(f"torch.compile failed ({reason}): set training.compile to false.") from error
        return logits

    @torch.no_grad()
    def settle(self) -> None:
        """Make the judged network one and the same on every process: each took BatchNorm statistics of its own part."""
        self.ranks.share(self.judged.buffers())

    def state(self) -> dict[str, Any]:
        """All state, as tensors and plain values."""
        return {
            "model": dict(self.model.state_dict()),
            "average": dict(self.average.state_dict()) if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state that :meth:`state` gave."""
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.steps = state["steps"]

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average by 1 - decay; the decay rises from .18 so that the first weights are soon forgotten.

        Exponential moving average as TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``; BatchNorm's
        statistics are averaged like the weights.
        """
        assert self.average is not None
        decay = min(self.training.ema_decay, (1 + self.steps) / (10 + self.steps))
        for kept, new in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def _wrapped(self) -> nn.Module:
        network: nn.Module = self.model
        if self.training.compile:
            network = torch.compile(network)  # type: ignore[assignment]
        if self.ranks.world > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            network = nn.parallel.DistributedDataParallel(network, device_ids=devices)
        return network
