"""A training in a process of its own, from its inputs to the stored model: for the assets that train a network."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from cxr_assets.resources import preprocessing_of
from cxr_core.settings import Settings
from cxr_core.store import Artefact, ArtefactStore

if TYPE_CHECKING:
    from cxr_core.training.job import TrainingJob

__all__ = ["Fitted", "fit_and_store", "fitting_tags"]


@dataclass(frozen=True)
class Fitted:
    """What came of a training.

    Attributes:
        model: the stored folder.
        record: how it went, ``training`` of its ``training.json``: history, best epoch, whether it stopped early.
        curves: PNG of the training curves, which lies in the folder too.
    """

    model: Artefact
    record: dict[str, Any]
    curves: bytes


def fitting_tags(settings: Settings, splits: Artefact, pixel_cache: Artefact) -> dict[str, str]:
    """Digests of the data that a training learns from, which are recorded with its model."""
    return {
        "splits": splits.digest,
        "pixel_cache": pixel_cache.digest,
        "preprocessing": preprocessing_of(settings).digest,
    }


def fit_and_store(
    context: dg.AssetExecutionContext,
    store: ArtefactStore,
    job: "TrainingJob",
    name: str,
    on_epoch: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Fitted:
    """Run a job to its end and store its model with the curves; the caller clears the job when all is recorded.

    Args:
        context: of the asset.
        store: where the model goes.
        job: the training.
        name: of the artefact.
        on_epoch: told of each epoch.
    """
    from cxr_assets.training.process import train_in_a_process
    from cxr_core.evaluation.figures import training_figure
    from cxr_core.plotting import png_bytes

    train_in_a_process(context, job.write(), job.settings.training.processes, on_epoch)
    record = json.loads((job.model_folder / "training.json").read_text())["training"]
    curves = png_bytes(training_figure(record["history"], record["best_epoch"]))
    (job.model_folder / "training_curves.png").write_bytes(curves)

    def fill(folder: Path) -> None:
        shutil.copytree(job.model_folder, folder, dirs_exist_ok=True)

    return Fitted(store.write_tree(name, fill), record, curves)
