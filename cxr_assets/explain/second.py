"""splits, pixel_cache, tuned_hyperparameters -> second_model: the same training with another seed."""

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource
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
    from cxr_assets.training.fitting import fit_and_store, fitting_tags
    from cxr_core.explain.second_training import second_settings
    from cxr_core.training.job import TrainingJob
    from cxr_core.training.tuning import read_best

    now = settings.load()
    shelf = store.open()
    again, hyper = second_settings(now, read_best(shelf, tuned_hyperparameters))
    tags = fitting_tags(now, splits, pixel_cache_manifest)
    job = TrainingJob.place(again, hyper, splits, tags, "second_model")
    fitted = fit_and_store(context, shelf, job, "second_model")
    job.clear()
    history = fitted.record["history"]
    return artefact_output(
        fitted.model,
        now,
        _SECTIONS,
        seed=again.training.seed,
        epochs=len(history),
        planned_epochs=again.training.max_epochs,
        best_epoch=fitted.record["best_epoch"],
        history=table(pd.DataFrame(history)),
        curves=figure(fitted.curves, "Training curves"),
    )


ASSETS = [second_model]
CHECKS: list[dg.AssetChecksDefinition] = []
