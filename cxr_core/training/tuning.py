"""Hyperparameter search: Optuna's TPE over the report's six parameters (report 3.3), judged free of gamma (TRAPS 5)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.digests import digest_json
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier, resolve_device
from cxr_core.progress import Log
from cxr_core.settings import Settings
from cxr_core.store import Artefact, ArtefactStore
from cxr_core.training.checkpoints import Checkpoints
from cxr_core.training.fingerprint import training_fingerprint
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import DivergedError, train
from cxr_core.training.ranks import Ranks
from cxr_core.training.recipe import Recipe
from cxr_core.training.study import OpenTrial, PrunedError, Study, open_study
from cxr_core.training.trials import Outcome, TrialState, table_of

__all__ = ["REPORT_FILE", "OnTrial", "TrialListener", "TuningResult", "read_best", "stratified_rows", "tune"]

REPORT_FILE = "tuning.json"  # of the artefact of a search

_DIGITS = 16  # of the digest that names a study's folder, as in the store
# Settings of the search that are no part of a study: more trials go on with it, and of the others the films speak.
_NOT_OF_THE_STUDY = {"trials", "image_side", "max_images"}
_logger = logging.getLogger("cxr")


class TrialListener(Protocol):
    """Hears of one trial while it runs."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch has ended; when a trial is resumed, the epochs before come again first."""

    def ended(self, outcome: Outcome) -> None:
        """The trial has ended."""


OnTrial = Callable[[int, Hyperparameters], AbstractContextManager[TrialListener]]


@dataclass(frozen=True)
class TuningResult:
    """What came of a search.

    Attributes:
        best: the point with the lowest validation log loss among the complete trials; the earlier one of equals.
        log_loss: that log loss, nats.
        trials: one row per trial: ``trial``, the six parameters, ``state`` (complete, pruned, diverged), ``epochs``
            (those run), ``log_loss``, ``macro_auc``; a pruned trial has the values it had come to, a diverged one none.
    """

    best: Hyperparameters
    log_loss: float
    trials: pd.DataFrame


def tune(
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    preprocessing: Preprocessing,
    settings: Settings,
    device: torch.device | None = None,
    studies: Path | None = None,
    on_trial: OnTrial | None = None,
    log: Log | None = None,
) -> TuningResult:
    """Search the space of ``settings.tuning``.

    Each trial trains on frames reduced to ``image_side`` and on at most ``max_images`` training images, class shares
    kept; its value is the log loss of the plain softmax on all validation images at the trial's best epoch. A killed
    search that is started again ends with the table of one that was not: see :mod:`cxr_core.training.study`.

    Args:
        train_set: training images.
        val_set: validation images.
        preprocessing: turns frames into network input.
        settings: ``tuning``, and what training uses beside it.
        device: default the first CUDA device, else the CPU.
        studies: folder in which each study has a folder of its own, named by all that it depends on but the number
            of trials; default a temporary one, so that nothing outlasts the call.
        on_trial: given number and parameters when a trial starts, makes what listens to it; trials that a study
            already holds are told again, so that a listener hears of every trial.
        log: where progress lines go.

    Raises:
        CxrError: every trial diverged, training cannot start, or another process works on the same study.
    """
    tuning, device = settings.tuning, device or resolve_device()
    rows = stratified_rows(train_set.labels, tuning.max_images, tuning.seed)
    films = train_set.subset(rows).reduced(tuning.image_side), val_set.reduced(tuning.image_side)
    about = _depends_on(*films, preprocessing, settings, device)
    say = log or _logger.info

    def run(trial: OpenTrial, listener: TrialListener | None) -> TrialState:
        def on_epoch(row: dict[str, Any]) -> None:
            if listener:
                listener.epoch(row)
            trial.report(row)

        recipe = _recipe(settings, trial.seed, trial.hyper)
        model = build_classifier(trial.hyper.model_settings(settings.network), len(settings.labels), trial.seed).model
        checkpoints = Checkpoints(trial.folder, settings.training.checkpoint_minutes)
        try:
            train(model, preprocessing, *films, recipe, device, checkpoints, on_epoch=on_epoch, log=log)
        except DivergedError:
            return "diverged"
        except PrunedError:
            return "pruned"
        return "complete"

    with ExitStack() as stack:
        parent = studies or Path(stack.enter_context(TemporaryDirectory(prefix="cxr-study-")))
        study = stack.enter_context(open_study(parent / digest_json(about)[:_DIGITS], tuning, about))
        outcomes = study.outcomes()[: tuning.trials]
        if outcomes:
            say(f"study of {len(outcomes)} finished trials found: going on with it")
        for outcome in outcomes:
            _tell_again(outcome, on_trial)
        while len(outcomes) < tuning.trials:
            outcomes.append(_one_trial(study, run, on_trial))
            say(_line(outcomes, tuning.trials))
    return _result(outcomes)


def read_best(store: ArtefactStore, artefact: Artefact) -> Hyperparameters:
    """The point that a search found best.

    Args:
        store: where the search was written.
        artefact: of the search: a tree with ``tuning.json``.

    Raises:
        CxrError: it is gone, or of another version.
    """
    path = store.local_tree(artefact) / REPORT_FILE
    if not path.is_file():
        raise CxrError(f"{path} is not there: materialise {artefact.name} again.")
    return Hyperparameters.from_dict(json.loads(path.read_bytes())["best"])


def stratified_rows(labels: npt.NDArray[np.int64], at_most: int, seed: int) -> npt.NDArray[np.intp]:
    """Sorted rows of a random subset that keeps the class shares.

    Quotas are rounded by largest remainder, and every class keeps at least one row.

    Args:
        labels: (n,) class indices.
        at_most: size of the subset, >= the number of classes; all rows where n is not larger.
        seed: of the draw.
    """
    if len(labels) <= at_most:
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * at_most / len(labels)
    quota = np.maximum(1, np.floor(exact).astype(int))
    for index in np.argsort(quota - exact, kind="stable"):
        if quota.sum() < at_most:
            quota[index] += 1
    while quota.sum() > at_most:
        quota[np.argmax(quota)] -= 1
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), size, replace=False)
        for label, size in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _recipe(settings: Settings, seed: int, hyper: Hyperparameters | None = None) -> Recipe:
    """How trials train; one process each, whatever the training has."""
    return Recipe.from_settings(settings, hyper, max_epochs=settings.tuning.epochs, seed=seed, processes=1)


def _depends_on(
    train_set: LabelledFrames,
    val_set: LabelledFrames,
    preprocessing: Preprocessing,
    settings: Settings,
    device: torch.device,
) -> dict[str, Any]:
    """What every trial of a study depends on, JSON values: that of a training, less what is searched."""
    seed = settings.tuning.seed
    model = build_classifier(settings.network, len(settings.labels), seed).model
    of_training = training_fingerprint(
        model, preprocessing, train_set, val_set, _recipe(settings, seed), Ranks(device=device)
    )
    del of_training["hyperparameters"]
    return {
        **of_training,
        "tuning": settings.tuning.model_dump(mode="json", exclude=_NOT_OF_THE_STUDY),
        "optuna": version("optuna"),
    }


def _one_trial(
    study: Study, run: Callable[[OpenTrial, TrialListener | None], TrialState], on_trial: OnTrial | None
) -> Outcome:
    trial = study.begin()
    with on_trial(trial.number, trial.hyper) if on_trial else nullcontext() as listener:
        outcome = study.finish(trial, run(trial, listener))
        if listener:
            listener.ended(outcome)
    return outcome


def _tell_again(outcome: Outcome, on_trial: OnTrial | None) -> None:
    if on_trial:
        with on_trial(outcome.trial, outcome.hyper) as listener:
            for row in outcome.history:
                listener.epoch(row)
            listener.ended(outcome)


def _line(outcomes: list[Outcome], planned: int) -> str:
    last, best = outcomes[-1], _best(outcomes)
    value = "" if last.log_loss is None else f", log loss {last.log_loss:.4f}"
    so_far = f"; best so far {best.log_loss:.4f} (trial {best.trial})" if best else ""
    return f"trial {last.trial + 1}/{planned}: {last.state} after {len(last.history)} epochs{value}{so_far}"


def _best(outcomes: list[Outcome]) -> Outcome | None:
    complete = [(outcome.log_loss, outcome.trial) for outcome in outcomes if outcome.state == "complete"]
    return outcomes[min(complete)[1]] if complete else None


def _result(outcomes: list[Outcome]) -> TuningResult:
    best = _best(outcomes)
    if best is None or best.log_loss is None:
        raise CxrError("Every tuning trial diverged: lower the upper end of tuning.learning_rate.")
    return TuningResult(best.hyper, best.log_loss, table_of(outcomes))
