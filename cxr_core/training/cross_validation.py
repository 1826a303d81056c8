"""Cross-validation: every film is scored by a model that saw no film of its patient, neither to learn nor to stop."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.digests import digest_json
from cxr_core.errors import CxrError
from cxr_core.evaluation.folds import SPLIT, deal_folds, deal_validation
from cxr_core.evaluation.predict import predict_logits, softmax
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier, resolve_device
from cxr_core.progress import Log
from cxr_core.settings import Settings
from cxr_core.training.checkpoints import Checkpoints
from cxr_core.training.fingerprint import films_digest, training_fingerprint
from cxr_core.training.loop import train
from cxr_core.training.ranks import Ranks
from cxr_core.training.recipe import Recipe

__all__ = ["CrossValidation", "Fold", "cross_validate", "films_of"]

Rows = npt.NDArray[np.intp]

_FINISHED = "finished"
_KEPT = ("history", "best_epoch", "stopped_early", "initial_weights")  # of a finished fold, beside its logits
_DIGITS = 16

_logger = logging.getLogger("cxr")


@dataclass(frozen=True)
class Fold:
    """One fold, trained and predicted.

    Attributes:
        fold: its number, from 0.
        films: films for ``train``, for ``val`` (early stopping), and kept apart for ``test``.
        history: one dict an epoch, as :class:`cxr_core.training.loop.TrainingResult` has it.
        best_epoch: epoch whose weights predicted.
        stopped_early: whether patience ended the training.
        initial_weights: where the backbone's weights came from: origin, licence, digest.
    """

    fold: int
    films: dict[str, int]
    history: list[dict[str, Any]]
    best_epoch: int
    stopped_early: bool
    initial_weights: dict[str, str]


@dataclass(frozen=True)
class CrossValidation:
    """What came of a cross-validation.

    Attributes:
        predictions: one row a film, sorted by image_id: image_id, split (``out_of_fold``), fold, label_index, source,
            group_id, p_0 ... , predicted_index.
        folds: how each fold was trained.
        folders: where the folds are kept; :meth:`clear` removes them.
    """

    predictions: pd.DataFrame
    folds: list[Fold]
    folders: list[Path]

    def clear(self) -> None:
        """Remove what was kept for resuming, once the result is stored."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def films_of(data: LabelledFrames, groups: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """One row a film in the order of ``data``: image_id, label, label_index, source, group_id.

    Args:
        data: n films.
        groups: n names of patient groups.
        labels: class names in output order.
    """
    if len(groups) != len(data):
        raise CxrError(f"{len(data)} films and {len(groups)} patient groups do not match.")
    return pd.DataFrame(
        {
            "image_id": list(data.keys),
            "label": [labels[index] for index in data.labels],
            "label_index": data.labels,
            "source": list(data.sources) or [""] * len(data),
            "group_id": list(groups),
        }
    )


def cross_validate(
    data: LabelledFrames,
    groups: Sequence[str],
    preprocessing: Preprocessing,
    settings: Settings,
    sampling: str,
    folder: Path,
    device: torch.device | None = None,
    on_fold: Callable[[Fold], None] | None = None,
    log: Log | None = None,
) -> CrossValidation:
    """Train a model for each fold on the other folds and predict the fold with it.

    The hyperparameters are those of the settings: nothing is tuned here, so no film is judged by a model that its own
    score has helped to choose. Every fold starts from the same weights. A finished fold is kept in ``folder`` under all
    that it depends on (films, settings, code), and so is the checkpoint of an unfinished one: called again after a
    kill, with the same arguments, this goes on where it was and gives the same table.

    Args:
        data: all films.
        groups: patient group of each film.
        preprocessing: turns frames into network input.
        settings: ``crossval``, and what training uses beside it.
        sampling: how an epoch draws its films; takes the place of ``settings.training.sampling``.
        folder: where folds are kept until :meth:`CrossValidation.clear`.
        device: default the first CUDA device, else the CPU.
        on_fold: called with each fold when it is finished, or found finished, in order.
        log: where progress lines go.

    Raises:
        CxrError: too few patient groups, or training cannot start.
    """
    crossval = settings.crossval
    films = films_of(data, groups, settings.labels)
    dealt = deal_folds(films, crossval.folds, crossval.seed)
    logits = np.empty((len(data), len(settings.labels)), np.float32)
    work = _Work(data, preprocessing, settings, sampling, folder, Ranks(device=device or resolve_device()), log)
    folds, folders = [], []
    for number in range(crossval.folds):
        test, rest = np.flatnonzero(dealt == number), np.flatnonzero(dealt != number)
        aside = deal_validation(films.iloc[rest], crossval.val_fraction, crossval.seed)
        fold, logits[test], home = work.do(number, {"train": rest[~aside], "val": rest[aside], "test": test})
        folds.append(fold)
        folders.append(home)
        if on_fold:
            on_fold(fold)
    return CrossValidation(_predictions(films, dealt, logits), folds, folders)


@dataclass(frozen=True)
class _Work:
    """What the folds have in common."""

    data: LabelledFrames
    preprocessing: Preprocessing
    settings: Settings
    sampling: str
    folder: Path
    ranks: Ranks
    log: Log | None

    def do(self, number: int, rows: dict[str, Rows]) -> tuple[Fold, npt.NDArray[np.float32], Path]:
        """Train and predict one fold, or find it done; the fold, logits of its test films, and where it is kept."""
        now = self.settings
        recipe = Recipe.from_settings(now, sampling=self.sampling)
        sets = {name: self.data.subset(chosen) for name, chosen in rows.items()}
        sizes = {name: len(films) for name, films in sets.items()}
        built = build_classifier(recipe.hyper.model_settings(now.network), len(now.labels), now.training.seed)
        depends = {
            **training_fingerprint(built.model, self.preprocessing, sets["train"], sets["val"], recipe, self.ranks),
            "test": films_digest(sets["test"]),
        }
        home = self.folder / digest_json(depends)[:_DIGITS]
        finished = Checkpoints(home / _FINISHED)
        kept = finished.load(depends)

        def say(line: str) -> None:
            (self.log or _logger.info)(f"{self.sampling}, fold {number + 1}/{now.crossval.folds}: {line}")

        if kept is None:
            say(f"{sizes['train']} films to train, {sizes['val']} to stop, {sizes['test']} kept apart")
            checkpoints = Checkpoints(home, now.training.checkpoint_minutes)
            result = train(
                built.model, self.preprocessing, sets["train"], sets["val"], recipe,
                checkpoints=checkpoints, ranks=self.ranks, log=say,
            )  # fmt: skip
            scores = predict_logits(
                built.model, sets["test"].frames, self.preprocessing, device=self.ranks.device, log=say
            )
            kept = {
                "logits": torch.from_numpy(scores),
                "history": result.history,
                "best_epoch": result.best_epoch,
                "stopped_early": result.stopped_early,
                "initial_weights": asdict(built.weights),
            }
            finished.save(depends, kept)
            checkpoints.clear()
        else:
            say("found finished")
        logits: npt.NDArray[np.float32] = kept["logits"].numpy()
        return Fold(number, sizes, **{name: kept[name] for name in _KEPT}), logits, home


def _predictions(films: pd.DataFrame, folds: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> pd.DataFrame:
    probabilities = softmax(logits)
    table = films[["image_id", "label_index", "source", "group_id"]].assign(
        **{f"p_{k}": probabilities[:, k] for k in range(probabilities.shape[1])},
        predicted_index=probabilities.argmax(axis=1).astype(np.int64),
    )
    table.insert(1, "split", SPLIT)
    table.insert(2, "fold", folds)
    return table.sort_values("image_id", ignore_index=True)
