"""The trials of a search: the space they are drawn from, what came of each, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from cxr_core.settings_sections import TuningSettings
from cxr_core.training.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["COLUMNS", "PARAMETERS", "Outcome", "TrialState", "space_of", "table_of"]

TrialState = Literal["complete", "pruned", "diverged"]

PARAMETERS = tuple(field.name for field in fields(Hyperparameters))
COLUMNS = ("trial", *PARAMETERS, "state", "epochs", "log_loss", "macro_auc")


@dataclass(frozen=True)
class Outcome:
    """What came of one trial.

    Attributes:
        trial: its place among the finished ones, from 0.
        hyper: the point that was tried.
        state: ``complete``, ``pruned`` or ``diverged``.
        log_loss: validation log loss (nats) of the epoch that training kept, so far as it came; None where diverged.
        macro_auc: macro AUC (0-1) of the same epoch; None where diverged or a class is absent.
        history: one mapping an epoch, as training gives it.
    """

    trial: int
    hyper: Hyperparameters
    state: TrialState
    log_loss: float | None
    macro_auc: float | None
    history: list[dict[str, Any]]

    def row(self) -> dict[str, Any]:
        """The trial as a row of the table, see :data:`COLUMNS`."""
        measured = {"log_loss": self.log_loss, "macro_auc": self.macro_auc}
        return {
            "trial": self.trial,
            **self.hyper.to_dict(),
            "state": self.state,
            "epochs": len(self.history),
            **{name: math.nan if value is None else value for name, value in measured.items()},
        }


def space_of(tuning: TuningSettings) -> dict[str, BaseDistribution]:
    """The report's space (3.3) in Optuna's terms; at least one epoch of a trial is not frozen."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    freeze_high = min(tuning.freeze_epochs[1], tuning.epochs - 1)
    return {
        "learning_rate": FloatDistribution(*tuning.learning_rate, log=True),
        "weight_decay": FloatDistribution(*tuning.weight_decay, log=True),
        "dropout": FloatDistribution(*tuning.dropout),
        "batch_size": CategoricalDistribution(tuning.batch_size),
        "freeze_epochs": IntDistribution(min(tuning.freeze_epochs[0], freeze_high), freeze_high),
        "focal_gamma": FloatDistribution(*tuning.focal_gamma),
    }


def table_of(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row a trial, columns :data:`COLUMNS`."""
    return pd.DataFrame([outcome.row() for outcome in outcomes], columns=list(COLUMNS))
