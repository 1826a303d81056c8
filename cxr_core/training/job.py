"""A training as a file: what a process of its own is told, and what it does with it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxr_core.dataset.manifest import labelled_frames
from cxr_core.dataset.opening import pixel_cache, preprocessing_of
from cxr_core.digests import digest_json
from cxr_core.modelling.network import build_classifier
from cxr_core.progress import Log
from cxr_core.settings import Settings
from cxr_core.store import Artefact, ArtefactStore, write_atomically
from cxr_core.training.checkpoints import Checkpoints, differences
from cxr_core.training.fingerprint import code_digest, training_fingerprint
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import train
from cxr_core.training.ranks import Ranks
from cxr_core.training.recipe import Recipe
from cxr_core.training.saved_model import save_model

__all__ = ["TrainingJob", "run_job"]

_SECRET = {"mlflow_uri"}  # may hold a password, and training does not need it
_SECTIONS = ("network", "loss", "training", "augmentation", "preprocessing", "labels")
_JOB, _MODEL, _FINGERPRINT = "job.json", "model", "fingerprint.json"


@dataclass(frozen=True)
class TrainingJob:
    """One training.

    Attributes:
        settings: all settings.
        hyper: take the place of the settings of the same names.
        splits: table of the splits, in the settings' store.
        data: digests of the data, recorded with the model.
        folder: of this job alone: its file, its checkpoint, and in the end the model.
        owner: process on whose behalf it runs; when that is gone, so is the training (its checkpoint stays).
    """

    settings: Settings
    hyper: Hyperparameters
    splits: Artefact
    data: dict[str, str]
    folder: Path
    owner: int | None = None

    @classmethod
    def place(
        cls, settings: Settings, hyper: Hyperparameters, splits: Artefact, data: dict[str, str], name: str
    ) -> TrainingJob:
        """A job for this process, in the folder that follows from all it depends on: so a killed one is found again."""
        assert settings.checkpoint_dir is not None  # load_settings makes every path absolute
        depends = {
            "sections": settings.section_digest(*_SECTIONS),
            "hyper": hyper.to_dict(),
            "data": {**data, "splits": splits.digest},
            "code": code_digest(),
        }
        folder = settings.checkpoint_dir / name / digest_json(depends)[:16]
        return cls(settings, hyper, splits, data, folder, os.getpid())

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / _JOB

    @property
    def model_folder(self) -> Path:
        """Where the trained model lies once it is done."""
        return self.folder / _MODEL

    def write(self) -> Path:
        """Write the file; returns its path."""
        said = {
            "settings": self.settings.model_dump(mode="json", exclude=_SECRET),
            "hyper": self.hyper.to_dict(),
            "splits": asdict(self.splits),
            "data": self.data,
            "owner": self.owner,
        }
        write_atomically(self.path, json.dumps(said, indent=1).encode())
        return self.path

    @classmethod
    def read(cls, path: Path) -> TrainingJob:
        """Read a file that :meth:`write` wrote."""
        said = json.loads(path.read_text())
        hyper = Hyperparameters.from_dict(said["hyper"])
        splits = Artefact(**said["splits"])
        return cls(Settings(**said["settings"]), hyper, splits, said["data"], path.parent, said["owner"])

    def clear(self) -> None:
        """Remove the job's folder, once its model is stored."""
        shutil.rmtree(self.folder, ignore_errors=True)


def run_job(
    job: TrainingJob,
    ranks: Ranks,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    log: Log | None = None,
) -> None:
    """Train, or go on training, and leave the model in the job's folder.

    Args:
        job: what to do.
        ranks: the processes that do it together.
        on_epoch, log: as :func:`cxr_core.training.loop.train`.

    Raises:
        CxrError: as training.
    """
    now = job.settings
    store = ArtefactStore(now.store)
    preprocessing, cache = preprocessing_of(now), pixel_cache(now)
    dealt = store.read_table(job.splits)
    train_set, val_set = (labelled_frames(cache, dealt, [name]) for name in ("train", "val"))
    recipe = Recipe.from_settings(now, job.hyper)
    built = build_classifier(job.hyper.model_settings(now.network), len(now.labels), now.training.seed)
    fingerprint = training_fingerprint(built.model, preprocessing, train_set, val_set, recipe, ranks)
    if ranks.first:
        if log:
            for sentence in _others(job.folder, fingerprint):
                log(sentence)
        write_atomically(job.folder / _FINGERPRINT, json.dumps(fingerprint).encode())
    checkpoints = Checkpoints(job.folder, now.training.checkpoint_minutes)
    result = train(
        built.model, preprocessing, train_set, val_set, recipe,
        checkpoints=checkpoints, ranks=ranks, on_epoch=on_epoch, log=log,
    )  # fmt: skip
    if not ranks.first:
        return
    training = {
        **recipe.describe(),
        "history": result.history,
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "initial_weights": asdict(built.weights),
        "data": job.data,
        "processes": ranks.world,
    }
    staging = Path(tempfile.mkdtemp(dir=job.folder, prefix=".tmp-"))
    save_model(
        staging, result.best_state, backbone=now.network.backbone, dropout=job.hyper.dropout, labels=now.labels,
        preprocessing=preprocessing, training=training,
    )  # fmt: skip
    shutil.rmtree(job.model_folder, ignore_errors=True)
    staging.replace(job.model_folder)


def _others(folder: Path, fingerprint: dict[str, Any]) -> list[str]:
    """A sentence for each unfinished training beside this one, with what it was of."""
    sentences = []
    for other in sorted(folder.parent.glob(f"*/{_FINGERPRINT}")):
        if other.parent != folder:
            unlike = differences(json.loads(other.read_text()), fingerprint)
            sentences.append(
                f"an unfinished training of something else is left alone in {other.parent} "
                f"({'; '.join(unlike[:3]) or 'same data, code and settings'}): delete it if it is not wanted"
            )
    return sentences
