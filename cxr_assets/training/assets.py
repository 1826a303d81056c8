"""splits, pixel_cache, tuned_hyperparameters -> trained_model."""

import dagster as dg
import pandas as pd

from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource
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
    from cxr_assets.training.fitting import fit_and_store, fitting_tags
    from cxr_core.training.job import TrainingJob
    from cxr_core.training.tuning import read_best

    now = settings.load()
    shelf = store.open()
    hyper = read_best(shelf, tuned_hyperparameters)
    tags = fitting_tags(now, splits, pixel_cache_manifest)
    job = TrainingJob.place(now, hyper, splits, tags, "trained_model")
    with mlflow.run(context, "trained_model", tags) as (_, run):
        run.params({"backbone": now.network.backbone, **hyper.to_dict()})
        fitted = fit_and_store(context, shelf, job, "trained_model", lambda epoch: run.history([epoch]))
        history, best_epoch = fitted.record["history"], fitted.record["best_epoch"]
        run.metrics({"best_epoch": best_epoch})
        run.folder(shelf.local_tree(fitted.model), "model")
    job.clear()
    best = {
        f"best_{name}": value
        for name, value in history[best_epoch - 1].items()
        if name.startswith("val_") and value is not None
    }
    return artefact_output(
        fitted.model,
        now,
        _TRAINING,
        epochs=len(history),
        best_epoch=best_epoch,
        stopped_early=fitted.record["stopped_early"],
        **best,
        history=table(pd.DataFrame(history)),
        curves=figure(fitted.curves, "Training curves"),
    )
