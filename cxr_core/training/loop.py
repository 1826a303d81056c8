"""Training: one loop, read from top to bottom (report 3.2)."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import predict_logits
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.losses import FocalLoss
from cxr_core.modelling.network import Classifier, resolve_device
from cxr_core.progress import Log, progress
from cxr_core.settings_sections import AugmentationSettings, LossSettings, TrainingSettings
from cxr_core.training.augmentation import Augmenter
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.schedule import cosine_rate
from cxr_core.training.validation import validation_measures

__all__ = ["DivergedError", "TrainingResult", "train"]

Epoch = dict[str, Any]
OnEpoch = Callable[[Epoch], None]
Rows = npt.NDArray[np.intp]
Batch = tuple[Tensor, Tensor]

_AHEAD = 2  # batches prepared while the network computes: one in hand, one in the making
_logger = logging.getLogger("cxr")


class DivergedError(CxrError):
    """The loss left the finite numbers."""


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        history: one dict per epoch: ``epoch`` (from 1), ``frozen``, ``learning_rate`` (of the first step),
            ``train_loss`` (mean over augmented images), ``grad_norm`` (mean over steps, before clipping), ``val_loss``,
            ``val_log_loss``, ``val_accuracy``, ``val_macro_auc``. It holds no times: equal trainings, equal histories.
        best_epoch: epoch (from 1) with the lowest validation loss, frozen ones included: whatever is best is kept.
        stopped_early: whether patience ended the training before the planned epochs.
        best_state: state dict of the best epoch, on the CPU.
    """

    history: list[Epoch]
    best_epoch: int
    stopped_early: bool
    best_state: dict[str, Tensor]

    @property
    def best(self) -> Epoch:
        """History of the best epoch."""
        return self.history[self.best_epoch - 1]


def train(
    model: Classifier,
    preprocessing: Preprocessing,
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    hyper: Hyperparameters,
    training: TrainingSettings,
    loss: LossSettings,
    augmentation: AugmentationSettings | None,
    device: torch.device | None = None,
    on_epoch: OnEpoch | None = None,
    log: Log | None = None,
) -> TrainingResult:
    """Train a classifier in place; on return it holds the best epoch's weights, in evaluation mode.

    On a CPU equal arguments give equal bits. Each epoch seeds its own random streams, and torch's global stream is
    given back as it was.

    Args:
        model: the classifier; ``hyper.dropout`` replaces its dropout.
        preprocessing: turns frames into network input.
        train_set: at least two images.
        val_set: at least one image.
        hyper: takes the place of the settings of the same names.
        training: epochs, Adam's betas, floor of the rate, clipping, patience, seed.
        loss: its ``alpha``; gamma is ``hyper.focal_gamma``.
        augmentation: None trains on the frames as they are.
        device: default the first CUDA device, else the CPU.
        on_epoch: called after each epoch with its history.
        log: where progress lines go.

    Raises:
        CxrError: too few images.
        DivergedError: the loss is no longer a number.
    """
    if len(train_set) < 2 or len(val_set) < 1:
        raise CxrError(f"{len(train_set)} training and {len(val_set)} validation images are too few: add images.")
    device = device or resolve_device()
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.dropout.p = hyper.dropout
    criterion = FocalLoss(loss.alpha, hyper.focal_gamma)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=hyper.learning_rate,
        betas=(training.beta1, training.beta2),
        weight_decay=hyper.weight_decay,
    )
    augmenter = Augmenter(augmentation, training.seed) if augmentation else None
    epochs = training.max_epochs
    steps = len(_batches(len(train_set), hyper.batch_size, training.seed, 1))

    history: list[Epoch] = []
    best_loss, best_epoch, best_state = math.inf, 0, _copy_state(model)
    waited, stopped_early = 0, False  # unfrozen epochs since the best one
    cuda = range(torch.cuda.device_count()) if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        for epoch in range(1, epochs + 1):
            torch.manual_seed(_epoch_seed(training.seed, epoch))  # of the dropout
            frozen = epoch <= hyper.freeze_epochs
            model.freeze_backbone(frozen)
            model.train()
            order = _batches(len(train_set), hyper.batch_size, training.seed, epoch)
            images = sum(len(rows) for rows in order)
            loss_sum = torch.zeros((), dtype=torch.float64, device=device)
            norm_sum = torch.zeros((), dtype=torch.float64, device=device)
            started = time.monotonic()
            with progress(images, f"epoch {epoch}/{epochs}", log=log) as advance:
                for step, (x, y) in enumerate(_prepared(train_set, order, preprocessing, augmenter, epoch)):
                    rate = cosine_rate(
                        (epoch - 1) * steps + step, epochs * steps, hyper.learning_rate, training.eta_min
                    )
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    x = x.to(device, memory_format=torch.channels_last)
                    batch_loss = criterion(model(x), y.to(device))
                    optimizer.zero_grad(set_to_none=True)
                    batch_loss.backward()
                    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
                    optimizer.step()
                    loss_sum += batch_loss.detach() * len(x)
                    norm_sum += norm
                    advance(len(x))
            seconds = time.monotonic() - started

            train_loss = float(loss_sum) / images
            logits = predict_logits(model, val_set.frames, preprocessing, device=device, log=log, what="validating")
            if not (math.isfinite(train_loss) and np.isfinite(logits).all()):
                raise DivergedError(f"The loss is no longer a number in epoch {epoch}: lower training.learning_rate.")
            row: Epoch = {
                "epoch": epoch,
                "frozen": frozen,
                "learning_rate": cosine_rate(
                    (epoch - 1) * steps, epochs * steps, hyper.learning_rate, training.eta_min
                ),
                "train_loss": train_loss,
                "grad_norm": float(norm_sum) / steps,
                **validation_measures(logits, val_set.labels, criterion),
            }
            history.append(row)
            _say(row, epochs, images / max(seconds, 1e-9), log)
            if on_epoch:
                on_epoch(dict(row))

            if row["val_loss"] < best_loss:
                best_loss, best_epoch, best_state, waited = row["val_loss"], epoch, _copy_state(model), 0
            elif not frozen:
                waited += 1
            if waited >= training.patience:
                stopped_early = epoch < epochs
                break
    model.freeze_backbone(False)
    model.load_state_dict(best_state)
    model.eval()
    return TrainingResult(history, best_epoch, stopped_early, best_state)


def _batches(n: int, size: int, seed: int, epoch: int) -> list[Rows]:
    """Shuffled rows in batches. A last batch of one is left out: BatchNorm has no variance of one value."""
    order = np.random.default_rng([seed, epoch]).permutation(n)
    batches = [order[start : start + size] for start in range(0, n, size)]
    return batches[:-1] if len(batches[-1]) == 1 else batches


def _prepared(
    data: LabelledFrames, order: Sequence[Rows], preprocessing: Preprocessing, augmenter: Augmenter | None, epoch: int
) -> Iterator[Batch]:
    """Batches in order, each made on one background thread while the network works on the one before."""

    def make(rows: Rows) -> Batch:
        frames = data.frames.take(rows)
        if augmenter:
            frames = augmenter.augment(frames, [data.keys[row] for row in rows], epoch)
        return torch.from_numpy(preprocessing.tensor(frames)), torch.from_numpy(data.labels[rows])

    with ThreadPoolExecutor(1, "cxr-batches") as pool:
        pending: deque[Future[Batch]] = deque()
        try:
            for rows in order:
                pending.append(pool.submit(make, rows))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _copy_state(model: Classifier) -> dict[str, Tensor]:
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _say(row: Epoch, epochs: int, rate: float, log: Log | None) -> None:
    auc = row["val_macro_auc"]
    text = (
        f"epoch {row['epoch']}/{epochs}{' (backbone frozen)' if row['frozen'] else ''}: "
        f"training loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, "
        f"log loss {row['val_log_loss']:.4f}, accuracy {row['val_accuracy']:.3f}, "
        f"macro AUC {'undefined' if auc is None else f'{auc:.3f}'}, {rate:.1f} images/s"
    )
    (log or _logger.info)(text)
