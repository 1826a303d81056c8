"""splits, pixel_cache, tuned_hyperparameters -> trained_model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
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
    **versioned(1, _SETTINGS, *_TRAINING),
    description="The classifier (report 3): pretrained backbone, focal loss, Adam, cosine, freezing, early stopping.",
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
    from dataclasses import asdict

    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.evaluation.figures import training_figure
    from cxr_core.modelling.network import build_classifier
    from cxr_core.plotting import png_bytes
    from cxr_core.training.loop import train
    from cxr_core.training.recipe import Recipe
    from cxr_core.training.saved_model import save_model
    from cxr_core.training.tuning import read_best

    now = settings.load()
    shelf = store.open()
    hyper = read_best(shelf, tuned_hyperparameters)
    dealt, cache, preprocessing = shelf.read_table(splits), pixel_cache(now), preprocessing_of(now)
    train_set, val_set = (labelled_frames(cache, dealt, [name]) for name in ("train", "val"))
    built = build_classifier(hyper.model_settings(now.network), len(now.labels), now.training.seed)
    tags = {"splits": splits.digest, "pixel_cache": pixel_cache_manifest.digest, "preprocessing": preprocessing.digest}
    with mlflow.run(context, "trained_model", tags) as (_, run):
        run.params({"backbone": now.network.backbone, **hyper.to_dict()})

        def on_epoch(epoch: Mapping[str, Any]) -> None:
            context.log.info(
                f"epoch {epoch['epoch']}: validation loss {epoch['val_loss']:.4f}, accuracy {epoch['val_accuracy']:.3f}"
            )
            run.history([epoch])

        result = train(
            built.model, preprocessing, train_set, val_set, Recipe.from_settings(now, hyper),
            on_epoch=on_epoch, log=context.log.info,
        )  # fmt: skip
        run.metrics({"best_epoch": result.best_epoch})
    curves = png_bytes(training_figure(result.history, result.best_epoch))
    training = {
        "hyperparameters": hyper.to_dict(),
        "history": result.history,
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "initial_weights": asdict(built.weights),
        "data": tags,
        "settings": {name: getattr(now, name).model_dump(mode="json") for name in ("training", "loss", "augmentation")},
    }

    def fill(folder: Path) -> None:
        save_model(
            folder, result.best_state, backbone=now.network.backbone, dropout=hyper.dropout, labels=now.labels,
            preprocessing=preprocessing, training=training,
        )  # fmt: skip
        (folder / "training_curves.png").write_bytes(curves)

    best = {
        f"best_{name}": value for name, value in result.best.items() if name.startswith("val_") and value is not None
    }
    return artefact_output(
        shelf.write_tree("trained_model", fill),
        now,
        _TRAINING,
        epochs=len(result.history),
        best_epoch=result.best_epoch,
        stopped_early=result.stopped_early,
        **best,
        history=table(pd.DataFrame(result.history)),
        curves=figure(curves, "Training curves"),
    )
