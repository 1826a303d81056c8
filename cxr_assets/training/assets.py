"""splits, pixel_cache, tuned_hyperparameters -> trained_model."""

from pathlib import Path

import dagster as dg
import pandas as pd

from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, preprocessing_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_GROUP = "training"
_TRAINING = ("network", "loss", "training", "augmentation", "preprocessing", "labels")


@dg.asset(
    group_name=_GROUP,
    ins={"pixel_cache_manifest": dg.AssetIn("pixel_cache")},
    kinds={"pytorch", "mlflow"},
    pool="gpu",
    **versioned(2, _SETTINGS, *_TRAINING),
    description="The classifier (report 3): pretrained backbone, focal loss, Adam, cosine, freezing, early stopping; "
    "trained in processes of its own, resumed where it was killed.",
)
def trained_model(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    mlflow: MlflowResource,
    tuned_hyperparameters: Artefact,
    splits: Artefact,
    pixel_cache_manifest: Artefact,
) -> dg.Output[Artefact]:
    """Train with the tuned hyperparameters; keep the best epoch."""
    import json
    import shutil

    from cxr_assets.training.process import train_in_a_process
    from cxr_core.evaluation.figures import training_figure
    from cxr_core.plotting import png_bytes
    from cxr_core.training.job import TrainingJob
    from cxr_core.training.tuning import read_best

    now = settings.load()
    shelf = store.open()
    hyper = read_best(shelf, tuned_hyperparameters)
    preprocessing = preprocessing_of(now)
    tags = {"splits": splits.digest, "pixel_cache": pixel_cache_manifest.digest, "preprocessing": preprocessing.digest}
    job = TrainingJob.place(now, hyper, splits, tags, "trained_model")

    def fill(folder: Path) -> None:
        shutil.copytree(job.model_folder, folder, dirs_exist_ok=True)

    with mlflow.run(context, "trained_model", tags) as (_, run):
        run.params({"backbone": now.network.backbone, **hyper.to_dict()})
        train_in_a_process(context, job.write(), now.training.processes, lambda epoch: run.history([epoch]))
        record = json.loads((job.model_folder / "training.json").read_text())["training"]
        history, best_epoch = record["history"], record["best_epoch"]
        curves = png_bytes(training_figure(history, best_epoch))
        (job.model_folder / "training_curves.png").write_bytes(curves)
        model = shelf.write_tree("trained_model", fill)
        run.metrics({"best_epoch": best_epoch})
        run.folder(shelf.local_tree(model), "model")
    job.clear()
    best = {
        f"best_{name}": value
        for name, value in history[best_epoch - 1].items()
        if name.startswith("val_") and value is not None
    }
    return artefact_output(
        model,
        now,
        _TRAINING,
        epochs=len(history),
        best_epoch=best_epoch,
        stopped_early=record["stopped_early"],
        **best,
        history=table(pd.DataFrame(history)),
        curves=figure(curves, "Training curves"),
    )
