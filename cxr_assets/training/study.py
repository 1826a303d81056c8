"""splits, pixel_cache -> tuned_hyperparameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SECTIONS = ("tuning", "network", "loss", "training", "augmentation", "preprocessing", "labels")
_TITLES = {
    "history": "Tuning history",
    "importance": "Importance of each parameter",
    "parallel_coordinate": "Parallel coordinates",
    "slice": "Slices",
}


@dg.asset(
    group_name="training",
    ins={"pixel_cache_manifest": dg.AssetIn("pixel_cache")},
    kinds={"optuna", "mlflow"},
    pool="gpu",
    **versioned(2, load_settings(), *_SECTIONS),
    description="The six hyperparameters of report 3.3, by TPE on validation log loss; every trial is an MLflow run, "
    "and a killed study goes on where it stood.",
)
def tuned_hyperparameters(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    mlflow: MlflowResource,
    splits: Artefact,
    pixel_cache_manifest: Artefact,
) -> dg.Output[Artefact]:
    """Search."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.training.hyperparameters import Hyperparameters
    from cxr_core.training.study_figures import importances, study_pngs
    from cxr_core.training.tuning import REPORT_FILE, tune

    now = settings.load()
    assert now.checkpoint_dir is not None  # load_settings makes every path absolute
    shelf = store.open()
    dealt, cache = shelf.read_table(splits), pixel_cache(now)
    train, val = (labelled_frames(cache, dealt, [name]) for name in ("train", "val"))
    tags = {"splits": splits.digest, "pixel_cache": pixel_cache_manifest.digest}
    with mlflow.run(context, "tuned_hyperparameters", tags) as (tracker, study):

        @contextmanager
        def on_trial(number: int, hyper: Hyperparameters) -> Iterator["_TrialRun"]:
            with tracker.run(f"trial-{number}", {"trial": str(number)}, study) as run:
                run.params(hyper.to_dict())
                yield _TrialRun(context, number, run)

        result = tune(
            train, val, preprocessing_of(now), now,
            studies=now.checkpoint_dir / "studies", on_trial=on_trial, log=context.log.info,
        )  # fmt: skip
        side = min(now.tuning.image_side, now.preprocessing.size)
        trials = result.trials.astype(object).where(result.trials.notna(), None)
        weighed = importances(result.trials, now.tuning)
        best = result.best.to_dict()
        proxy = side < now.preprocessing.size or now.tuning.max_images < len(train)
        report = {
            "best": best,
            "log_loss": result.log_loss,
            "trials": trials.to_dict("records"),
            "metric": "validation log loss of the softmax probabilities",
            "importance": weighed,
            "image_side": side,
            "training_images": min(len(train), now.tuning.max_images),
            "proxy": proxy,
        }
        pngs = study_pngs(result.trials, now.tuning)
        artefact = shelf.write_report("tuned_hyperparameters", REPORT_FILE, report, pngs)
        study.params(best)
        study.metrics({"log_loss": result.log_loss})
        study.folder(shelf.local_tree(artefact), "tuning")
    return artefact_output(
        artefact,
        now,
        _SECTIONS,
        log_loss=result.log_loss,
        proxy=proxy,
        best=dg.MetadataValue.json(best),
        states=dg.MetadataValue.json({str(k): int(n) for k, n in result.trials["state"].value_counts().items()}),
        trials=table(result.trials),
        **{name: figure(png, _TITLES[name]) for name, png in pngs.items()},
    )


class _TrialRun:
    """Tells MLflow and Dagster of one trial as it goes."""

    def __init__(self, context: dg.AssetExecutionContext, number: int, run: Any) -> None:
        self._context = context
        self._number = number
        self._run = run

    def epoch(self, row: Mapping[str, Any]) -> None:
        """One finished epoch."""
        self._run.history([row])
        self._context.log.info(
            f"trial {self._number}, epoch {row['epoch']}: log loss {row['val_log_loss']:.4f}, "
            f"accuracy {row['val_accuracy']:.3f}"
        )

    def ended(self, outcome: Any) -> None:
        """The end of the trial."""
        self._run.tags({"state": outcome.state})
        self._run.metrics({"log_loss": outcome.log_loss, "macro_auc": outcome.macro_auc})
