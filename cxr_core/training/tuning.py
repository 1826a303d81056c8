"""Hyperparameter search: Optuna's TPE over the report's six parameters (report 3.3), judged free of gamma (TRAPS 5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.progress import Log, progress
from cxr_core.settings import Settings
from cxr_core.settings_sections import TuningSettings
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import DivergedError, train
from cxr_core.training.recipe import Recipe

if TYPE_CHECKING:
    import optuna

__all__ = ["OnTrial", "TuningResult", "stratified_rows", "tune"]

OnTrial = Callable[[int, Hyperparameters, dict[str, float | None], list[dict[str, Any]]], None]

_STUDY = "cxr"


@dataclass(frozen=True)
class TuningResult:
    """What came of a search.

    Attributes:
        best: the point with the lowest validation log loss.
        log_loss: that log loss.
        trials: one row per trial: ``trial``, the six parameters, ``log_loss``, ``macro_auc``; a diverged trial has
            missing values there.
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
    on_trial: OnTrial | None = None,
    log: Log | None = None,
    storage: str | None = None,
) -> TuningResult:
    """Search the space of ``settings.tuning``.

    Each trial trains on frames reduced to ``image_side`` and on at most ``max_images`` training images, class shares
    kept; its value is the log loss of the plain softmax on all validation images at the trial's best epoch.

    Args:
        train_set: training images.
        val_set: validation images.
        preprocessing: turns frames into network input.
        settings: ``tuning``, and what training uses beside it.
        device: default the first CUDA device, else the CPU.
        on_trial: called after each finished trial with its number, parameters, ``{"log_loss", "macro_auc"}``, history.
        log: where progress lines go.
        storage: Optuna storage URL; default in memory.

    Raises:
        CxrError: every trial diverged, or training cannot start.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuning = settings.tuning
    rows = stratified_rows(train_set.labels, tuning.max_images, tuning.seed)
    small_train = train_set.subset(rows).reduced(tuning.image_side)
    small_val = val_set.reduced(tuning.image_side)

    def objective(trial: optuna.Trial) -> float:
        hyper = _suggest(trial, tuning)
        seed = _trial_seed(tuning.seed, trial.number)
        training = settings.training.model_copy(update={"max_epochs": tuning.epochs, "seed": seed})
        model = build_classifier(hyper.model_settings(settings.network), len(settings.labels), seed).model
        try:
            recipe = Recipe(hyper, training, settings.loss, settings.augmentation)
            result = train(model, preprocessing, small_train, small_val, recipe, device, log=log)
        except DivergedError as error:
            raise optuna.TrialPruned(str(error)) from error
        values = {"log_loss": result.best["val_log_loss"], "macro_auc": result.best["val_macro_auc"]}
        trial.set_user_attr("macro_auc", values["macro_auc"])
        if on_trial:
            on_trial(trial.number, hyper, values, result.history)
        return float(result.best["val_log_loss"])

    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=tuning.startup_trials, seed=tuning.seed),
        storage=storage,
        study_name=_STUDY,
        load_if_exists=storage is not None,
    )
    with progress(tuning.trials, "tuning", unit="trials", log=log) as advance:
        study.optimize(objective, n_trials=tuning.trials, callbacks=[lambda _study, _trial: advance(1)])
    return _result(study)


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


def _suggest(trial: optuna.Trial, space: TuningSettings) -> Hyperparameters:
    """One point of the report's space (3.3); at least one epoch of a trial is not frozen."""
    freeze_high = min(space.freeze_epochs[1], space.epochs - 1)
    freeze_low = min(space.freeze_epochs[0], freeze_high)
    return Hyperparameters(
        learning_rate=trial.suggest_float("learning_rate", *space.learning_rate, log=True),
        weight_decay=trial.suggest_float("weight_decay", *space.weight_decay, log=True),
        dropout=trial.suggest_float("dropout", *space.dropout),
        batch_size=int(trial.suggest_categorical("batch_size", list(space.batch_size))),
        freeze_epochs=trial.suggest_int("freeze_epochs", freeze_low, freeze_high),
        focal_gamma=trial.suggest_float("focal_gamma", *space.focal_gamma),
    )


def _trial_seed(seed: int, trial: int) -> int:
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])


def _result(study: optuna.Study) -> TuningResult:
    import optuna

    rows = []
    for trial in study.get_trials(deepcopy=False):
        value = trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None
        auc = trial.user_attrs.get("macro_auc")
        measured = {"log_loss": math.nan if value is None else value, "macro_auc": math.nan if auc is None else auc}
        rows.append({"trial": trial.number, **trial.params, **measured})
    table = pd.DataFrame(rows)
    if table["log_loss"].isna().all():
        raise CxrError("Every tuning trial diverged: lower the upper end of tuning.learning_rate.")
    return TuningResult(Hyperparameters.from_dict(study.best_params), study.best_value, table)
