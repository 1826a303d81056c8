"""The one Definitions of the code location."""

from __future__ import annotations

import dagster as dg

from cxr_assets.dataset import assets as dataset
from cxr_assets.dataset import checks as dataset_checks
from cxr_assets.eda.assets import eda_assets
from cxr_assets.evaluation import assets as evaluation
from cxr_assets.evaluation import calibrated, embeddings, folds, points, uncertainty
from cxr_assets.explain import assets as explain
from cxr_assets.explain import faithfulness, lungs, second
from cxr_assets.inference.jobs import predict_folder
from cxr_assets.mlflow import MlflowResource
from cxr_assets.release import assets as release
from cxr_assets.release import bento, documents
from cxr_assets.release import checks as release_checks
from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource
from cxr_assets.robustness import assets as robustness
from cxr_assets.robustness import conditions, mitigation, shift
from cxr_assets.training import assets as training
from cxr_assets.training import study
from cxr_assets.trust import failures, film_detector, labels, shortcuts, subgroups

__all__ = ["CROSS_VALIDATION_JOB", "OBSERVE_JOB", "PIPELINE_JOB", "ROBUSTNESS_JOB", "defs"]

_settings = SettingsResource()
_store = StoreResource(settings=_settings)
_sources = [dataset.raw_images, *dataset.label_sources]  # observed, never made
# Modules that say what a model is worth: each lists its assets and its checks.
_evidence = (
    calibrated, points, uncertainty, shortcuts, labels, subgroups, failures, film_detector,
    conditions, robustness, shift, mitigation, lungs, second, faithfulness, documents,
)  # fmt: skip
_observed = dg.AssetSelection.assets(*(source.key for source in _sources))

OBSERVE_JOB = "observe_raw_images"
PIPELINE_JOB = "pipeline"
CROSS_VALIDATION_JOB = "cross_validate"
ROBUSTNESS_JOB = "robustness_sweep"

_swept = dg.AssetSelection.assets(*(asset.key for asset in conditions.ASSETS))  # a run for each partition

defs = dg.Definitions(
    assets=[
        *_sources,
        dataset.image_index,
        dataset.quarantine,
        dataset.pixel_cache_manifest,
        dataset.splits,
        *eda_assets,
        study.tuned_hyperparameters,
        training.trained_model,
        embeddings.embeddings,
        embeddings.pretrained_features,
        evaluation.predictions,
        evaluation.evaluation,
        *(asset for module in _evidence for asset in module.ASSETS),
        folds.out_of_fold,
        explain.gradcam_gallery,
        release.release_candidate,
        bento.bento,
    ],
    asset_checks=[
        dataset_checks.image_index_checks,
        dataset_checks.splits_checks,
        *(check for module in _evidence for check in module.CHECKS),
        release_checks.release_checks,
    ],
    resources={
        "settings": _settings,
        "store": _store,
        "mlflow": MlflowResource(settings=_settings),
        "io_manager": ArtefactIOManager(store=_store),
    },
    jobs=[
        predict_folder,
        dg.define_asset_job(
            OBSERVE_JOB,
            selection=_sources,
            description="Look whether the raw images, or the labels of readers, changed; makes nothing.",
        ),
        dg.define_asset_job(
            PIPELINE_JOB,
            selection=dg.AssetSelection.all() - _observed - dg.AssetSelection.assets("out_of_fold") - _swept,
            description="Everything from raw images to the packaged model, but for the partitions of robustness_sweep.",
        ),
        dg.define_asset_job(
            ROBUSTNESS_JOB,
            selection=_swept,
            description="The model's answers under one corruption: a run for each, so that a backfill spreads.",
        ),
        dg.define_asset_job(
            CROSS_VALIDATION_JOB,
            selection=dg.AssetSelection.assets("out_of_fold").upstream() - _observed,
            description="Out-of-fold evidence, and what it needs. Trains a model for each fold and way of sampling.",
        ),
    ],
    # In one process: a step in a process of its own costs seconds of imports, and one machine gains nothing from it.
    executor=dg.in_process_executor,
)
