"""Training: one loop, read from top to bottom (report 3.2)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import predict_logits
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.losses import build_loss
from cxr_core.modelling.network import Classifier, resolve_device
from cxr_core.progress import Log, progress
from cxr_core.training.augmentation import Augmenter
from cxr_core.training.batches import prepared
from cxr_core.training.checkpoints import Checkpoints
from cxr_core.training.course import Course, Epoch, EpochSums, copy_state
from cxr_core.training.engine import Engine
from cxr_core.training.fingerprint import training_fingerprint
from cxr_core.training.memory import keep_freed_memory
from cxr_core.training.ranks import Ranks
from cxr_core.training.recipe import Recipe
from cxr_core.training.sampling import epoch_batches, weights_of
from cxr_core.training.schedule import cosine_rate
from cxr_core.training.validation import validation_measures

__all__ = ["DivergedError", "TrainingResult", "train"]

OnEpoch = Callable[[Epoch], None]

_logger = logging.getLogger("cxr")


class DivergedError(CxrError):
    """The loss left the finite numbers."""


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        history: one dict per epoch: ``epoch`` (from 1), ``frozen``, ``learning_rate`` (of the first step),
            ``train_loss`` (mean over augmented images), ``train_accuracy`` (of the same), ``grad_norm`` (mean over
            steps, before clipping), ``val_loss``, ``val_log_loss``, ``val_accuracy``, ``val_macro_auc``. It holds no
            times: equal trainings, equal histories.
        best_epoch: epoch (from 1) that is kept: that of the lowest validation loss, frozen ones included, or the last
            one where ``training.keep`` says so.
        stopped_early: whether patience ended the training before the planned epochs.
        best_state: state dict of that epoch, on the CPU; averaged weights where ``ema_decay`` asks for them.
    """

    history: list[Epoch]
    best_epoch: int
    stopped_early: bool
    best_state: dict[str, Tensor]

    @property
    def best(self) -> Epoch:
        """History of the epoch that is kept."""
        return self.history[self.best_epoch - 1]


def train(
    model: Classifier,
    preprocessing: Preprocessing,
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    recipe: Recipe,
    device: torch.device | None = None,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks | None = None,
    on_epoch: OnEpoch | None = None,
    log: Log | None = None,
) -> TrainingResult:
    """Train a classifier in place; on return it holds the weights of the epoch that is kept, in evaluation mode.

    On a CPU equal arguments give equal bits, however often the training was killed and resumed. Every draw is seeded
    by where it is made (epoch and step, process, image), so no generator has state that could be lost; torch's global
    stream is given back as it was.

    Args:
        model: the classifier with its initial weights; the recipe's dropout replaces its own.
        preprocessing: turns frames into network input.
        train_set: at least two images a process.
        val_set: at least one image.
        recipe: how to train.
        device: default the first CUDA device, else the CPU; ``ranks`` has its own.
        checkpoints: where state is kept and found again; default nowhere.
        ranks: the processes that share each batch; default this one alone. All must be given the same arguments.
        on_epoch: called after each epoch with its history, in the first process; when a training is resumed, for the
            epochs before it too.
        log: where progress lines go.

    Raises:
        CxrError: too few images, or a checkpoint of another training.
        DivergedError: the loss is no longer a number.
    """
    ranks = ranks or Ranks(device=device or resolve_device())
    if len(train_set) < 2 * ranks.world or len(val_set) < 1:
        raise CxrError(f"{len(train_set)} training and {len(val_set)} validation images are too few: add images.")
    if ranks.device.type == "cpu":
        keep_freed_memory()
    hyper, training = recipe.hyper, recipe.training
    fingerprint = training_fingerprint(model, preprocessing, train_set, val_set, recipe, ranks) if checkpoints else {}
    criterion = build_loss(recipe.loss, hyper.focal_gamma, train_set.labels, model.head.out_features)
    model.freeze_stages(training.frozen_stages)
    engine = Engine(model, hyper, training, criterion, ranks)
    course = Course(EpochSums.zero(ranks.device), copy_state(model))
    weights = weights_of(train_set, training.sampling)
    augmenter = Augmenter(recipe.augmentation, training.seed) if recipe.augmentation else None
    epochs, size = training.max_epochs, max(hyper.batch_size, 2 * ranks.world)

    def batches_of(epoch: int) -> list[Any]:
        return epoch_batches(len(train_set), size, training.seed, epoch, weights, ranks.world)

    steps = len(batches_of(1))
    warmup = round(training.warmup_epochs * steps)

    def rate_at(epoch: int, step: int) -> float:
        number = (epoch - 1) * steps + step
        return cosine_rate(number, epochs * steps, hyper.learning_rate, training.eta_min, warmup)

    def save() -> None:
        if checkpoints:
            every_sum = ranks.total(course.sums.stacked())
            if ranks.first:
                checkpoints.save(fingerprint, {"engine": engine.state(), "course": course.state(every_sum)})

    cuda = range(torch.cuda.device_count()) if ranks.device.type == "cuda" else []
    held = checkpoints.held() if checkpoints and ranks.first else nullcontext()
    with held, torch.random.fork_rng(devices=cuda):
        if checkpoints and (kept := checkpoints.load(fingerprint)):
            engine.restore(kept["engine"])
            course.restore(kept["course"], ranks.first)
            _say(f"resumed in epoch {min(course.epoch, epochs)}/{epochs} after {engine.steps} steps", ranks, log)
            for past in course.history:
                _tell(past, ranks, on_epoch)
        while not course.ended:
            epoch = course.epoch
            frozen = epoch <= hyper.freeze_epochs
            engine.begin(frozen)
            batches = batches_of(epoch)
            images = sum(len(rows) for rows in batches)
            started = saved = time.monotonic()
            seen = 0
            with progress(images, f"epoch {epoch}/{epochs}", log=log if ranks.first else _nobody) as advance:
                done = sum(len(rows) for rows in batches[: course.step])
                advance(done)
                for x, y in prepared(train_set, batches, preprocessing, augmenter, epoch, course.step, ranks.part):
                    torch.manual_seed(_step_seed(training.seed, epoch, course.step, ranks.rank))  # of the dropout
                    whole = len(batches[course.step])
                    loss, norm, right = engine.step(x, y, len(x) * ranks.world / whole, rate_at(epoch, course.step))
                    course.sums.add(loss, norm, right, len(x))
                    course.step += 1
                    seen += whole
                    advance(whole)
                    if checkpoints and course.step < len(batches) and ranks.agreed(checkpoints.due(saved)):
                        save()
                        saved = time.monotonic()
            speed = seen / max(time.monotonic() - started, 1e-9)

            loss_sum, right_sum, norm_sum, norms = ranks.total(course.sums.stacked()).tolist()
            engine.settle()
            logits = _validate(engine, val_set, preprocessing, log)
            if not (math.isfinite(loss_sum) and np.isfinite(logits).all()):
                raise DivergedError(f"The loss is no longer a number in epoch {epoch}: lower training.learning_rate.")
            row: Epoch = {
                "epoch": epoch,
                "frozen": frozen,
                "learning_rate": rate_at(epoch, 0),
                "train_loss": loss_sum / images,
                "train_accuracy": right_sum / images,
                "grad_norm": norm_sum / max(1.0, norms),
                **validation_measures(logits, val_set.labels, engine.criterion),
            }
            course.finish_epoch(row, engine.judged, training)
            save()
            _say(_sentence(row, epochs, speed), ranks, log)
            _tell(row, ranks, on_epoch)
    model.freeze_stages(0)
    model.freeze_backbone(False)
    model.load_state_dict(course.kept_state)
    model.eval()
    return TrainingResult(course.history, course.kept_epoch, len(course.history) < epochs, course.kept_state)


def _validate(engine: Engine, val_set: LabelledFrames, preprocessing: Preprocessing, log: Log | None) -> Any:
    """Logits of every validation film, (n, classes) float32, the work shared among the processes."""
    ranks = engine.ranks
    mine = val_set.subset(np.arange(len(val_set))[ranks.part])
    with engine.autocast():
        logits = predict_logits(
            engine.judged,
            mine.frames,
            preprocessing,
            device=ranks.device,
            log=log if ranks.first else _nobody,
            what="validating",
        )
    return ranks.woven(logits, len(val_set))


def _step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    state = np.random.SeedSequence([seed, epoch, step, rank]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _tell(row: Epoch, ranks: Ranks, on_epoch: OnEpoch | None) -> None:
    if on_epoch and ranks.first:
        on_epoch(dict(row))


def _nobody(_: str) -> None:
    """The log of the processes that do not speak."""


def _say(text: str, ranks: Ranks, log: Log | None) -> None:
    if ranks.first:
        (log or _logger.info)(text)


def _sentence(row: Epoch, epochs: int, speed: float) -> str:
    auc = row["val_macro_auc"]
    return (
        f"epoch {row['epoch']}/{epochs}{' (backbone frozen)' if row['frozen'] else ''}: "
        f"training loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, "
        f"log loss {row['val_log_loss']:.4f}, accuracy {row['train_accuracy']:.3f} and {row['val_accuracy']:.3f}, "
        f"macro AUC {'undefined' if auc is None else f'{auc:.3f}'}, {speed:.1f} images/s"
    )
