"""A search that survives kills: the study on disk, each trial with a sampler, a seed and a folder of its own (TRAPS 7).

What trial k tries follows from the seed, k and the results of the trials before it, and from nothing else. So a trial
that a kill cut short needs no memory of its own: asked again, it gets the same parameters.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.errors import CxrError
from cxr_core.settings_sections import TuningSettings
from cxr_core.store import write_atomically
from cxr_core.training.checkpoints import Checkpoints
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.trials import Outcome, TrialState, space_of

if TYPE_CHECKING:
    import optuna

__all__ = ["OpenTrial", "PrunedError", "Study", "open_study"]

Epoch = Mapping[str, Any]

_NAME = "cxr"
_FILE = "study.db"
_ABOUT = "about.json"
_TRIALS = "trials"


class PrunedError(Exception):
    """Raised out of a training whose trial is not worth its remaining epochs."""


class OpenTrial:
    """A trial at work.

    Attributes:
        number: its place among the finished trials, from 0.
        hyper: the point to try.
        seed: of its training.
        folder: its own, for checkpoints.
    """

    def __init__(self, trial: optuna.Trial, number: int, seed: int, folder: Path, epochs: int) -> None:
        self.number = number
        self.hyper = Hyperparameters.from_dict(trial.params)
        self.seed = seed
        self.folder = folder
        self._trial = trial
        self._epochs = epochs
        self._history: list[dict[str, Any]] = []
        self._kept: dict[str, Any] | None = None
        self._unfrozen = 0

    def report(self, epoch: Epoch) -> None:
        """Hear of a finished epoch, in order.

        The pruner sees the log loss of the epoch that training would keep if it ended now, against the number of
        epochs with the backbone unfrozen: frozen ones say little of what is to come, and trials freeze for different
        times (TRAPS 6).

        Raises:
            PrunedError: the trial is worse than the median of the earlier ones; never after the last planned epoch.
        """
        row = dict(epoch)
        self._history.append(row)
        if self._kept is None or row["val_loss"] < self._kept["val_loss"]:
            self._kept = row
        if row["frozen"]:
            return
        self._trial.report(self._kept["val_log_loss"], self._unfrozen)
        self._unfrozen += 1
        if row["epoch"] < self._epochs and self._trial.should_prune():
            raise PrunedError(f"Trial {self.number} was pruned after epoch {row['epoch']}.")

    def outcome(self, state: TrialState) -> Outcome:
        """What came of it."""
        kept = None if state == "diverged" else self._kept
        log_loss = kept["val_log_loss"] if kept else None
        return Outcome(self.number, self.hyper, state, log_loss, kept["val_macro_auc"] if kept else None, self._history)


class Study:
    """Finished trials on disk, and the next one to try; made by :func:`open_study`."""

    def __init__(self, folder: Path, tuning: TuningSettings) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder = folder
        self._tuning = tuning
        # SQLite rather than Optuna's journal file: a kill in the middle of a write is rolled back, where a journal
        # keeps half a line, which makes it unreadable, and a lock file, which holds the next run up for half a minute.
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{folder / _FILE}")
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_NAME,
            direction="minimize",
            pruner=_pruner(tuning),
            load_if_exists=True,
        )
        for trial in self._study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            self._storage.set_trial_user_attr(trial._trial_id, "state", "interrupted")
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        for outcome in self.outcomes():
            self._clear(outcome.trial)

    def outcomes(self) -> list[Outcome]:
        """The finished trials in order; those that a kill cut short are none."""
        from optuna.trial import TrialState as Kept

        trials = self._study.get_trials(deepcopy=False, states=[Kept.COMPLETE, Kept.PRUNED])
        return [_outcome(number, trial) for number, trial in enumerate(trials)]

    def begin(self) -> OpenTrial:
        """The next trial."""
        from optuna.samplers import TPESampler

        number = len(self.outcomes())
        seed = self._tuning.seed + number  # the first trial is that of a plain sampler with the report's seed
        self._study.sampler = TPESampler(n_startup_trials=self._tuning.startup_trials, seed=seed)
        trial = self._study.ask(space_of(self._tuning))
        training_seed = int(np.random.SeedSequence([self._tuning.seed, number]).generate_state(1)[0])
        return OpenTrial(trial, number, training_seed, self._trial_folder(number), self._tuning.epochs)

    def finish(self, trial: OpenTrial, state: TrialState) -> Outcome:
        """Write a trial's outcome down, and clear its folder.

        To the sampler a diverged trial is a pruned one: it ranks below every complete trial.
        """
        from optuna.trial import TrialState as Kept

        outcome = trial.outcome(state)
        for name in ("state", "log_loss", "macro_auc", "history"):
            trial._trial.set_user_attr(name, getattr(outcome, name))
        if state == "complete":
            self._study.tell(trial._trial, outcome.log_loss)
        else:
            self._study.tell(trial._trial, state=Kept.PRUNED)
        self._clear(outcome.trial)
        return outcome

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _trial_folder(self, number: int) -> Path:
        return self._folder / _TRIALS / f"{number:04}"

    def _clear(self, number: int) -> None:
        shutil.rmtree(self._trial_folder(number), ignore_errors=True)


@contextmanager
def open_study(folder: Path, tuning: TuningSettings, about: Mapping[str, Any]) -> Iterator[Study]:
    """A study kept in a folder, for this process alone; one that is there already goes on where it stood.

    Args:
        folder: of this study.
        tuning: space, pruner, startup trials, seed.
        about: what the study depends on, JSON values; left beside it for people to read.

    Raises:
        CxrError: another process works on it, or it cannot be read.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    with Checkpoints(folder).held():
        write_atomically(folder / _ABOUT, json.dumps(about, indent=1, sort_keys=True).encode())
        try:
            with closing(Study(folder, tuning)) as study:
                yield study
        except (SQLAlchemyError, StorageInternalError) as error:
            raise CxrError(
                f"The study {folder / _FILE} cannot be used ({type(error).__name__}): free some space if the disk is "
                "full, else delete its folder to begin anew."
            ) from error


def _pruner(tuning: TuningSettings) -> optuna.pruners.BasePruner:
    import optuna

    if tuning.pruner == "none":
        return optuna.pruners.NopPruner()
    # Optuna counts steps from 0: with a warm-up of n, step n is the first that is judged, when n + 1 are finished.
    return optuna.pruners.MedianPruner(n_startup_trials=tuning.startup_trials, n_warmup_steps=tuning.prune_after_epochs)


def _outcome(number: int, trial: optuna.trial.FrozenTrial) -> Outcome:
    kept = trial.user_attrs
    hyper = Hyperparameters.from_dict(trial.params)
    return Outcome(number, hyper, kept["state"], kept["log_loss"], kept["macro_auc"], kept["history"])
