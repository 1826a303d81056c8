"""predictions, calibrated_model -> operating_points -> operating_point_report: thresholds fixed, then judged."""

from pathlib import Path

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource
from cxr_assets.trained import calibrated, temperature_of
from cxr_assets.verdicts import verdict_result
from cxr_core.errors import CxrError
from cxr_core.evaluation.operating_points_record import OperatingPoints
from cxr_core.settings import load_settings
from cxr_core.store import Artefact, ArtefactStore

_SETTINGS = load_settings()
_SECTIONS = ("labels", "split", "calibration", "evaluation")
_POINTS_FILE = "operating_points.json"
_REPORT_FILE = "operating_point_report.json"


@dg.asset(
    group_name="evaluation",
    kinds={"numpy", "matplotlib"},
    **versioned(1, _SETTINGS, *_SECTIONS),
    description="Thresholds fixed on validation films, under a digest, before any test film is looked at: tuberculosis "
    "at sensitivity 90 % (WHO) and 95 %, Youden for each class; threshold analysis (report figure 7).",
)
def operating_points(
    settings: SettingsResource, store: StoreResource, predictions: Artefact, calibrated_model: Artefact
) -> dg.Output[Artefact]:
    """Choose thresholds; no row of another split than validation is read."""
    from cxr_core.evaluation.metrics import probabilities_of
    from cxr_core.evaluation.operating_points import fit_operating_points
    from cxr_core.evaluation.report import model_of
    from cxr_core.evaluation.threshold_figures import threshold_figure
    from cxr_core.plotting import png_bytes

    now = settings.load()
    shelf = store.open()
    rows = shelf.read_table(predictions, where={"split": "val"}).sort_values("image_id")
    if rows.empty:
        raise CxrError("The predictions table holds no validation film: materialise predictions again.")
    temperature = temperature_of(shelf, calibrated_model, model_of(rows))
    probabilities = probabilities_of(calibrated(rows, temperature, len(now.labels)), len(now.labels))
    labels = rows["label_index"].to_numpy("int64")
    points = fit_operating_points(
        probabilities,
        labels,
        rows["group_id"].to_numpy(object),
        now.labels,
        now.split.seed,
        temperature=temperature.temperature,
        trained_model=model_of(rows),
        sensitivities=now.calibration.tb_sensitivities,
        min_films=now.calibration.min_positives,
        resamples=now.evaluation.resamples,
    )
    analysis = png_bytes(threshold_figure(probabilities, labels, points))

    def fill(folder: Path) -> None:
        (folder / _POINTS_FILE).write_bytes(points.content)
        (folder / "threshold_analysis.png").write_bytes(analysis)

    return artefact_output(
        shelf.write_tree("operating_points", fill),
        now,
        _SECTIONS,
        films=points.films,
        digest=points.digest,
        points=table(pd.DataFrame([_row(point.model_dump()) for point in points.points])),
        threshold_analysis=figure(analysis, "threshold analysis"),
    )


@dg.asset(
    group_name="evaluation",
    kinds={"numpy", "matplotlib"},
    **versioned(1, _SETTINGS, *_SECTIONS),
    description="Sensitivity, specificity and predictive values of the fixed thresholds on test films, with intervals, "
    "pooled and inside each source; whether tuberculosis reaches what the WHO asks of a triage test.",
)
def operating_point_report(
    settings: SettingsResource, store: StoreResource, predictions: Artefact, operating_points: Artefact
) -> dg.Output[Artefact]:
    """Judge the thresholds, once their record is seen to be what was fixed."""
    from cxr_core import NOTICE
    from cxr_core.evaluation.metrics import probabilities_of
    from cxr_core.evaluation.operating_point_report import judge_operating_points, points_table
    from cxr_core.evaluation.report import model_of
    from cxr_core.evaluation.temperature import TemperatureScaling
    from cxr_core.evaluation.threshold_figures import judged_points_figure
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS

    now = settings.load()
    shelf = store.open()
    points = fixed_points(shelf, operating_points)
    rows = shelf.read_table(predictions, where={"split": "test"}).sort_values("image_id")
    if rows.empty:
        raise CxrError("The predictions table holds no test film: materialise predictions again.")
    if points.trained_model != model_of(rows):
        raise CxrError("The operating points are of another model than predictions: materialise operating_points.")
    scaling = TemperatureScaling(temperature=points.temperature, films=0, groups=0)
    judged = judge_operating_points(
        points,
        probabilities_of(calibrated(rows, scaling, len(now.labels)), len(now.labels)),
        rows["label_index"].to_numpy("int64"),
        rows["group_id"].to_numpy(object),
        rows["source"].to_numpy(object),
        now.split.seed,
        now.evaluation.resamples,
        now.calibration.tb_specificity,
    )
    report = {SAYS: points.trained_model, "notice": NOTICE, "split": "test", **judged}
    figures = {"operating_points": png_bytes(judged_points_figure(report))}
    return artefact_output(
        shelf.write_report("operating_point_report", _REPORT_FILE, report, figures),
        now,
        _SECTIONS,
        films=report["films"],
        digest=points.digest,
        verdict=report["verdict"]["sentence"],
        scores=table(pd.DataFrame(points_table(report)), rows=200),
        operating_points=figure(figures["operating_points"], "operating points"),
    )


def fixed_points(shelf: ArtefactStore, operating_points: Artefact) -> OperatingPoints:
    """The record of an artefact, seen to be the very one that was fixed.

    Raises:
        cxr_core.errors.CxrError: the record or its folder was changed since.
    """
    from cxr_core.digests import digest_tree
    from cxr_core.evaluation.operating_points_record import read_operating_points

    folder = shelf.local_tree(operating_points)
    points = read_operating_points(folder / _POINTS_FILE)
    if digest_tree(folder) != operating_points.digest:
        raise CxrError(f"{folder} was changed after the operating points were fixed: materialise operating_points.")
    return points


def _row(point: dict) -> dict:
    shares = {
        f"validation {name}{end}": point[name][key]
        for name in ("sensitivity", "specificity")
        for key, end in (("value", ""), ("low", " from"), ("high", " to"))
    }
    return {**{key: point[key] for key in ("name", "label", "threshold", "positives", "reason")}, **shares}


@dg.asset_check(
    asset="operating_point_report",
    description="Tuberculosis reaches the sensitivity and specificity that the WHO asks of a triage test, on test.",
)
def who_minimum(store: StoreResource) -> dg.AssetCheckResult:
    """The point of 90 % sensitivity keeps it, at a specificity of 70 % or more."""
    return verdict_result(store.open(), "operating_point_report")


ASSETS = [operating_points, operating_point_report]
CHECKS = [who_minimum]
