"""predictions -> calibrated_model: the temperature, fitted on the calibration films, measured on test."""

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource
from cxr_assets.verdicts import verdict_result
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SECTIONS = ("labels", "split", "calibration", "evaluation")


@dg.asset(
    group_name="evaluation",
    kinds={"numpy", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="Temperature and vector scaling, fitted on the calibration films alone; expected calibration error, "
    "pooled and class by class, before and after on test, each beside what chance alone would show (report 4.3).",
)
def calibrated_model(settings: SettingsResource, store: StoreResource, predictions: Artefact) -> dg.Output[Artefact]:
    """Fit on the rows of split calibration, measure on those of split test."""
    from cxr_core.evaluation.calibration_figures import class_reliability_figure, reliability_figure
    from cxr_core.evaluation.calibration_study import (
        REPORT_FILE,
        TEMPERATURE_FILE,
        VECTOR_FILE,
        study_calibration,
    )
    from cxr_core.evaluation.report import model_of
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS

    now = settings.load()
    shelf = store.open()
    rows = shelf.read_table(predictions)
    model = model_of(rows)
    limits = now.calibration
    temperature, vector, studied = study_calibration(
        rows, now.labels, now.split.seed, now.evaluation.resamples, limits.min_films, limits.bins
    )
    report = {SAYS: model, **studied}
    panels = {"before": report["before"], f"after, temperature {temperature.temperature:.3g}": report["after"]}
    figures = {
        "reliability": png_bytes(reliability_figure(panels, "Reliability of the predicted class, test films")),
        "reliability_classes": png_bytes(
            class_reliability_figure(
                {name: said["classwise"] for name, said in panels.items()},
                now.labels,
                "Reliability of each class, test films",
            )
        ),
    }

    records = {
        TEMPERATURE_FILE: temperature.model_dump_json(indent=1).encode(),
        VECTOR_FILE: vector.model_dump_json(indent=1).encode(),
    }
    return artefact_output(
        shelf.write_report("calibrated_model", REPORT_FILE, report, figures, files=records),
        now,
        _SECTIONS,
        temperature=temperature.temperature,
        fitted_on_films=temperature.films,
        verdict=report["verdict"]["sentence"],
        errors=table(pd.DataFrame(_rows(report))),
        differences=dg.MetadataValue.json(report["differences"]),
        **({"note": temperature.reason} if temperature.reason else {}),
        **{name: figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


def _rows(report: dict) -> list[dict]:
    """Calibration errors before and after, one row each."""
    found = []
    for way in ("before", "after", "after_vector"):
        entries = {
            "predicted class": (report[way]["expected_calibration_error"], report[way]["null"]),
            "mean over the classes": (report[way]["classwise"], report[way]["classwise"]["null"]),
            **{name: (entry, entry["null"]) for name, entry in report[way]["classwise"]["per_class"].items()},
        }
        for name, (error, null) in entries.items():
            numbers = {key: error[key] for key in ("value", "low", "high")}
            found.append({"scaling": way, "error of": name, **numbers, "by chance up to": null["high"]})
    return found


@dg.asset_check(asset="calibrated_model", description="Calibrated, the model errs no more than chance alone would.")
def calibration(store: StoreResource) -> dg.AssetCheckResult:
    """The calibration error on test lies within its null."""
    return verdict_result(store.open(), "calibrated_model")


ASSETS = [calibrated_model]
CHECKS = [calibration]
