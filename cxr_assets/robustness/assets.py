"""What the report's corruptions, and fourteen single ones, cost (report 5.1, 5.2)."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.robustness.conditions import conditions_of
from cxr_assets.trained import predictions_of, temperature_of
from cxr_assets.verdicts import verdict_result
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "robustness", "robustness_check"]

_SETTINGS = load_settings()
_SECTIONS = ("robustness", "preprocessing", "labels", "evaluation", "calibration")
_ERRORS = ("error", "excess_error", "error_over_clean", "excess_error_over_clean")


@dg.asset(
    group_name="robustness",
    deps=["pixel_cache"],
    ins={"robustness_conditions": dg.AssetIn(partition_mapping=dg.AllPartitionMapping())},
    kinds={"numpy", "matplotlib"},
    **versioned(4, _SETTINGS, *_SECTIONS),
    description="Test scores of the calibrated probabilities under every corruption and severity and under the "
    "report's presets: paired differences from clean with intervals, order of the severities, mean corruption error, "
    "and confidence that rises while accuracy falls (report 5.1, 5.2).",
)
def robustness(
    settings: SettingsResource,
    store: StoreResource,
    robustness_conditions: dict[str, Artefact],
    predictions: Artefact,
    calibrated_model: Artefact,
    trained_model: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Compare every condition with the clean films."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.robustness.assess import REPORT_FILE, assess, conditions_table
    from cxr_core.robustness.corruptions import presets
    from cxr_core.robustness.figures import conditions_figure, confidence_figure, corruption_gallery
    from cxr_core.robustness.figures_degradation import degradation_figure, loss_figure
    from cxr_core.robustness.figures_sheet import severity_sheet

    now = settings.load()
    shelf = store.open()
    rows = predictions_of(shelf, trained_model, predictions)
    logits = [f"l_{place}" for place in range(len(now.labels))]
    columns = ["image_id", "label_index", "condition", "severity", *logits]
    swept = conditions_of(shelf, trained_model, robustness_conditions, columns)
    answered = temperature_of(shelf, calibrated_model, trained_model.digest).probabilities
    limits = now.robustness
    report = assess(
        rows[rows["split"] == "test"], swept, answered, now.labels, limits, now.evaluation.resamples,
        now.calibration.bins,
    )  # fmt: skip
    report[SAYS] = trained_model.digest
    test = labelled_frames(pixel_cache(now), shelf.read_table(splits), ["test"])
    figures = {
        "scores": png_bytes(conditions_figure(report)),
        "confidence": png_bytes(confidence_figure(report)),
        "degradation": png_bytes(degradation_figure(report)),
        "accuracy_loss": png_bytes(loss_figure(report)),
        "corrupted_films": png_bytes(corruption_gallery(test, presets(limits), limits.seed)),
        "severities": png_bytes(severity_sheet(test, limits.seed)),
    }

    scores = conditions_table(report)
    return artefact_output(
        shelf.write_report("robustness", REPORT_FILE, report, figures, {"conditions": scores}),
        now,
        _SECTIONS,
        verdict=report["verdict"]["sentence"],
        order=report["monotonicity"]["sentence"],
        mean_corruption_error=table(pd.DataFrame(_errors(report))),
        scores=table(scores, len(scores)),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


def _errors(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Errors over the severities of all corruptions and of each, one row each, worst first."""
    each = sorted(report["corruptions"].items(), key=lambda item: -item[1]["error"]["value"])
    rows = {"mean of the corruptions": report["mean_corruption_error"], **dict(each)}
    return [{"corruption": name, **{key: entry[key]["value"] for key in _ERRORS}} for name, entry in rows.items()]


@dg.asset_check(
    asset="robustness",
    name="robustness",
    description="The clinical preset costs no more accuracy than the limit, and confidence does not rise while "
    "accuracy falls.",
)
def robustness_check(store: StoreResource) -> dg.AssetCheckResult:
    """The verdict of the robustness report."""
    return verdict_result(store.open(), "robustness")


ASSETS = [robustness]
CHECKS = [robustness_check]
