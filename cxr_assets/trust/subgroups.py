"""Subgroups: where the model does worse than elsewhere (report 6.3)."""

from typing import Any

import dagster as dg

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model, predictions_of
from cxr_assets.verdicts import read_verdict
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "subgroup_gap", "subgroup_report"]

_SETTINGS = load_settings()
_SECTIONS = ("subgroups", "evaluation", "labels", "split", "preprocessing")


@dg.asset(
    group_name="trust",
    deps=["pixel_cache"],
    kinds={"pytorch", "matplotlib"},
    **versioned(1, _SETTINGS, *_SECTIONS),
    description="Test scores by resolution, source, exposure, shape, sharpness and patient: gaps to the rest at the "
    "same mix of classes, with intervals, permutation over groups and Holm's correction; recall beside class size; "
    "predictions on shifted and cropped frames (report 6.3).",
)
def subgroup_report(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    predictions: Artefact,
    image_index: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Judge every stratum of the test films; one pass of the model for each framing."""
    from cxr_core.dataset.frames import Frames
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.evaluation.metrics import logits_of
    from cxr_core.evaluation.predict import predict_logits
    from cxr_core.evaluation.report import model_of
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.trust.crop_figures import crop_figure, framing_gallery
    from cxr_core.trust.crop_sensitivity import crop_sensitivity
    from cxr_core.trust.subgroup_figures import class_size_figure, gap_figure
    from cxr_core.trust.subgroups import gap_table
    from cxr_core.trust.subgroups import subgroup_report as judge

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    rows = predictions_of(shelf, trained_model, predictions)
    dealt = shelf.read_table(splits)
    test = labelled_frames(pixel_cache(now), dealt, ["test"])
    own = rows.set_index("image_id").loc[list(test.keys)]
    centred = logits_of(own, len(now.labels))
    seed, resamples = now.split.seed, now.evaluation.resamples

    def predict(frames: Frames) -> Any:
        return predict_logits(saved.model, frames, saved.preprocessing, log=context.log.info, what="framing")

    crops = crop_sensitivity(
        predict, centred, test, own["group_id"].tolist(), now.labels, now.subgroups, seed, resamples
    )
    report = judge(rows, shelf.read_table(image_index), dealt, now.labels, now.subgroups, seed, resamples, crops=crops)
    report = {SAYS: model_of(rows), **report}
    figures = {
        "gaps": png_bytes(gap_figure(report)),
        "class_sizes": png_bytes(class_size_figure(report)),
        "crop_sensitivity": png_bytes(crop_figure(crops)),
        "framed_films": png_bytes(framing_gallery(test, now.subgroups, seed)),
    }
    strata = gap_table(report)
    return artefact_output(
        shelf.write_report("subgroup_report", "subgroup_report.json", report, figures, {"strata": strata}),
        now,
        _SECTIONS,
        verdict=report["verdict"]["sentence"],
        strata=table(strata),
        claims=dg.MetadataValue.json(report["claims"]),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


@dg.asset_check(asset="subgroup_report", description="No stratum is surely worse than the limit (report 6.3).")
def subgroup_gap(store: StoreResource) -> dg.AssetCheckResult:
    """Class-standardised gaps of all strata, after Holm."""
    verdict = read_verdict(store.open(), "subgroup_report")
    known = {key: verdict[key] for key in ("value", "low", "high") if verdict[key] is not None}
    return dg.AssetCheckResult(
        passed=verdict["passed"],
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict["sentence"],
        metadata={**known, "limit": verdict["limit"], "tested": verdict["tested"], "failing": verdict["failing"]},
    )


ASSETS = [subgroup_report]
CHECKS = [subgroup_gap]
