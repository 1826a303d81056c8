"""splits, pixel_cache, tuned_hyperparameters -> second_model: the same training with another seed."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, preprocessing_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "second_model"]

_SECTIONS = (
    "network", "loss", "training", "augmentation", "preprocessing", "labels",
    "faithfulness.second_seed", "faithfulness.second_epochs",
)  # fmt: skip


@dg.asset(
    group_name="explain",
    ins={"pixel_cache_manifest": dg.AssetIn("pixel_cache")},
    kinds={"pytorch"},
    pool="gpu",
    **versioned(1, load_settings(), *_SECTIONS),
    description="The classifier trained once more on the same films with the same recipe and another seed: whether its "
    "maps look at the same places is a question of the first one's.",
)
def second_model(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    tuned_hyperparameters: Artefact,
    splits: Artefact,
    pixel_cache_manifest: Artefact,
) -> dg.Output[Artefact]:
    """Train as trained_model is trained, but for the seed and, where the settings cap them, the epochs."""
    from cxr_assets.training.process import train_in_a_process
    from cxr_core.evaluation.figures import training_figure
    from cxr_core.explain.second_training import second_settings
    from cxr_core.plotting import png_bytes
    from cxr_core.training.job import TrainingJob
    from cxr_core.training.tuning import read_best

    now = settings.load()
    shelf = store.open()
    hyper = read_best(shelf, tuned_hyperparameters)
    again, hyper = second_settings(now, hyper)
    tags = {
        "splits": splits.digest,
        "pixel_cache": pixel_cache_manifest.digest,
        "preprocessing": preprocessing_of(now).digest,
    }
    job = TrainingJob.place(again, hyper, splits, tags, "second_model")
    train_in_a_process(context, job.write(), now.training.processes, lambda epoch: None)
    record = json.loads((job.model_folder / "training.json").read_text())["training"]
    curves = png_bytes(training_figure(record["history"], record["best_epoch"]))

    def fill(folder: Path) -> None:
        shutil.copytree(job.model_folder, folder, dirs_exist_ok=True)
        (folder / "training_curves.png").write_bytes(curves)

    model = shelf.write_tree("second_model", fill)
    job.clear()
    return artefact_output(
        model,
        now,
        _SECTIONS,
        seed=again.training.seed,
        epochs=len(record["history"]),
        planned_epochs=again.training.max_epochs,
        best_epoch=record["best_epoch"],
        history=table(pd.DataFrame(record["history"])),
        curves=figure(curves, "Training curves"),
    )


ASSETS = [second_model]
CHECKS: list[dg.AssetChecksDefinition] = []
