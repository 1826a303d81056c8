"""splits, pixel_cache -> out_of_fold: evidence from models that never saw the patient. Hours, so a job of its own."""

import dagster as dg
import pandas as pd

from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SECTIONS = ("crossval", "network", "loss", "training", "augmentation", "preprocessing", "labels")


@dg.asset(
    group_name="evaluation",
    ins={"pixel_cache_manifest": dg.AssetIn("pixel_cache")},
    kinds={"pytorch", "parquet"},
    pool="gpu",
    **versioned(1, load_settings(), *_SECTIONS),
    description="Cross-validation by whole patients with the settings' hyperparameters: every film scored by a model "
    "that never saw its patient, once for each way of sampling; scores inside each source, side by side.",
)
def out_of_fold(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    mlflow: MlflowResource,
    splits: Artefact,
    pixel_cache_manifest: Artefact,
) -> dg.Output[Artefact]:
    """Train and predict each fold, for each way of sampling; go on where a killed run stood."""
    from dataclasses import asdict

    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.dataset.splits import SPLITS
    from cxr_core.evaluation.comparison import REPORT_FILE, check_source_groups, inside_table, out_of_fold_report
    from cxr_core.evaluation.fold_figures import fold_losses_figure, inside_figure
    from cxr_core.evaluation.folds import sparse_strata
    from cxr_core.plotting import png_bytes
    from cxr_core.training.cross_validation import CrossValidation, Fold, cross_validate

    now = settings.load()
    assert now.checkpoint_dir is not None  # load_settings makes every path absolute
    shelf, crossval, preprocessing = store.open(), now.crossval, preprocessing_of(now)
    dealt = shelf.read_table(splits).sort_values("image_id", ignore_index=True)
    data = labelled_frames(pixel_cache(now), dealt, SPLITS)
    check_source_groups(dealt["source"], crossval.source_groups)
    tags = {"splits": splits.digest, "pixel_cache": pixel_cache_manifest.digest, "preprocessing": preprocessing.digest}
    found: dict[str, CrossValidation] = {}
    with mlflow.run(context, "out_of_fold", tags) as (tracker, run):
        run.params({"backbone": now.network.backbone, "folds": crossval.folds, "seed": crossval.seed})
        for sampling in dict.fromkeys(crossval.samplings):

            def on_fold(fold: Fold, sampling: str = sampling) -> None:
                marks = {"sampling": sampling, "fold": str(fold.fold)}
                with tracker.run(f"{sampling}-fold-{fold.fold}", marks, run) as child:
                    child.history(fold.history)
                    child.metrics({"best_epoch": fold.best_epoch})

            found[sampling] = cross_validate(
                data, dealt["group_id"].tolist(), preprocessing, now, sampling, now.checkpoint_dir / "folds",
                on_fold=on_fold, log=context.log.info,
            )  # fmt: skip
        predictions = {sampling: result.predictions for sampling, result in found.items()}
        folds = {sampling: [asdict(fold) for fold in result.folds] for sampling, result in found.items()}
        report = {
            **out_of_fold_report(predictions, now.labels, crossval.seed, crossval.source_groups),
            "folds": folds,
            "sparse": sparse_strata(dealt, crossval.folds),
            "data": tags,
            "settings": {name: value for name, value in now.model_dump(mode="json").items() if name in _SECTIONS},
        }
        pngs = {
            "inside_sources": png_bytes(inside_figure(report)),
            "losses": png_bytes(fold_losses_figure(folds)),
        }
        tables = {f"predictions_{sampling}": table_ for sampling, table_ in predictions.items()}
        artefact = shelf.write_report("out_of_fold", REPORT_FILE, report, pngs, tables)
        run.folder(shelf.local_tree(artefact), "out_of_fold")
    for result in found.values():
        result.clear()
    numbers = {
        f"{sampling}_{name}": way["overall"][name]
        for sampling, way in report["ways"].items()
        for name in ("accuracy", "macro_auc")
        if way["overall"][name] is not None
    }
    return artefact_output(
        artefact,
        now,
        _SECTIONS,
        films=len(dealt),
        folds=crossval.folds,
        **numbers,
        inside_sources=table(inside_table(report)),
        differences=dg.MetadataValue.json(report["differences"]),
        sparse=table(pd.DataFrame(report["sparse"], columns=["label", "source", "groups", "films"])),
        inside_figure=figure(pngs["inside_sources"], "Inside each source"),
        losses=figure(pngs["losses"], "Loss of every fold"),
    )
