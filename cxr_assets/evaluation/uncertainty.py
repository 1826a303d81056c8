"""predictions, embeddings -> uncertainty: prediction sets, dropout, and what it buys to let a human read the rest."""

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource
from cxr_assets.trained import embeddings_of, open_model, predictions_of, temperature_of
from cxr_assets.verdicts import verdict_result
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SECTIONS = ("labels", "split", "uncertainty", "evaluation", "preprocessing")


@dg.asset(
    group_name="evaluation",
    kinds={"numpy", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="Conformal prediction sets, fitted on the calibration films alone, and their coverage on test; Monte "
    "Carlo dropout over the head; risk-coverage curves; what it buys to send the least certain films to a human, with "
    "the report's low-confidence flag beside it (report 6.4).",
)
def uncertainty(
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    embeddings: Artefact,
    predictions: Artefact,
    calibrated_model: Artefact,
) -> dg.Output[Artefact]:
    """Fit on the rows of split calibration, measure on those of split test."""
    from cxr_core.evaluation.dropout import head_of
    from cxr_core.evaluation.embeddings import embedding_matrix
    from cxr_core.evaluation.metrics import logits_of
    from cxr_core.evaluation.prediction_sets import RECORD
    from cxr_core.evaluation.uncertainty_figures import (
        coverage_figure,
        policy_figure,
        risk_coverage_figure,
        set_size_figure,
    )
    from cxr_core.evaluation.uncertainty_report import REPORT_FILE, film_uncertainties, sets_of, uncertainty_report
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS

    now = settings.load()
    shelf = store.open()
    head = head_of(open_model(now, shelf, trained_model).model)
    rows = predictions_of(shelf, trained_model, predictions)
    seen = embeddings_of(shelf, trained_model, embeddings).set_index("image_id")
    temperature = temperature_of(shelf, calibrated_model, trained_model.digest)
    fitted = sets_of(rows, now.labels, now.uncertainty.level)
    test = rows[rows["split"] == "test"].sort_values("image_id", ignore_index=True)
    calibrated = temperature.probabilities(logits_of(test, len(now.labels)))
    inputs = embedding_matrix(seen.loc[test["image_id"]])
    films = film_uncertainties(test, calibrated, inputs, head, fitted, now.uncertainty.passes, now.split.seed)
    report = {
        SAYS: trained_model.digest,
        "temperature": temperature.temperature,
        **uncertainty_report(
            films, fitted, now.uncertainty, head.rate, now.split.seed, now.evaluation.resamples
        ),
    }  # fmt: skip
    figures = {
        "risk_coverage": png_bytes(risk_coverage_figure(report)),
        "coverage": png_bytes(coverage_figure(report)),
        "set_sizes": png_bytes(set_size_figure(report)),
        "referral": png_bytes(policy_figure(report)),
    }

    records = {RECORD: fitted.model_dump_json(indent=1).encode()}
    return artefact_output(
        shelf.write_report("uncertainty", REPORT_FILE, report, figures, {"films": films}, records),
        now,
        _SECTIONS,
        fitted_on_films=fitted.films,
        fitted_on_groups=fitted.groups,
        verdict=report["verdict"]["sentence"],
        flag=report["flag"]["sentence"],
        assumes=report["assumes"],
        quantiles=table(pd.DataFrame(_quantiles(fitted.model_dump()))),
        coverage_of_sets=table(pd.DataFrame(_coverage(report["prediction_sets"]))),
        areas=table(pd.DataFrame(_areas(report["selective"]["areas"]))),
        policies=table(pd.DataFrame(_policies(report["selective"]["policies"]))),
        **{name: figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


def _quantiles(fitted: dict) -> list[dict]:
    """Quantile of the marginal sets and of each class, one row each."""
    said = ("quantile", "reason", "films", "groups")
    rows = [("all films", fitted), *((one["label"], one) for one in fitted["classes"])]
    return [{"of": name, **{key: row[key] for key in said}} for name, row in rows]


def _coverage(said: dict) -> list[dict]:
    """Coverage of both kinds of sets, overall, in each class and in each source, one row each."""
    found = []
    for kind in ("marginal", "class_conditional"):
        strata = {"all films": said[kind]["all"], **said[kind]["per_class"], **said[kind]["per_source"]}
        for name, entry in strata.items():
            numbers = {key: entry["coverage"][key] for key in ("value", "low", "high")}
            once = entry["each_group_once"]["value"]
            found.append({"sets": kind, "of": name, "films": entry["films"], **numbers, "each group once": once})
    return found


def _areas(areas: dict) -> list[dict]:
    """Area under each risk-coverage curve, one row each."""
    rows = {"perfect": areas["perfect"], **{m: entry["area"] for m, entry in areas["measures"].items()}}
    rows["random"] = areas["random"]
    return [{"ordering": name, **{key: row[key] for key in ("value", "low", "high")}} for name, row in rows.items()]


def _policies(policies: list) -> list[dict]:
    """Each policy with its scores and their intervals as text, one row each."""
    scores = ("accuracy", "accuracy_gained", "macro_f1", "sensitivity", "errors_caught")
    return [
        {"measure": row["measure"], "referred": row["referred"], **{score: _said(row[score]) for score in scores}}
        for row in policies
    ]


def _said(entry: dict) -> str:
    if entry["value"] is None:
        return f"not available: {entry['reason']}"
    if entry["low"] is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


@dg.asset_check(asset="uncertainty", description="Prediction sets hold the true class on test as often as promised.")
def coverage(store: StoreResource) -> dg.AssetCheckResult:
    """The interval of the marginal sets' coverage reaches the promised level."""
    return verdict_result(store.open(), "uncertainty")


ASSETS = [uncertainty]
CHECKS = [coverage]
