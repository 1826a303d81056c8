"""The shortcut audit: how much of the score is explained without lungs (TRAPS 1, 4)."""

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
from cxr_assets.verdicts import verdict_result
from cxr_core.settings import Settings, load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "shortcut", "shortcut_audit"]

_SECTIONS = ("shortcuts", "evaluation", "labels", "split", "network", "preprocessing", "quality")


@dg.asset(
    group_name="trust",
    deps=["pixel_cache"],
    kinds={"pytorch", "scipy", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="The label told from file metadata, grey levels, marks, border and lung-blanked films, each with its "
    "interval and its null; source told from embeddings; label against source; the model pooled and inside sources; "
    "white boxes, letters, tint and black borders by class; and the share of the model's score that needs no lungs.",
)
def shortcut_audit(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    predictions: Artefact,
    embeddings: Artefact,
    pretrained_features: Artefact,
    image_index: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Look at every accepted film without its lungs, then at the test films with the model."""
    from cxr_core.dataset.frames import Frames
    from cxr_core.evaluation.predict import embed_frames
    from cxr_core.evaluation.report import model_of
    from cxr_core.modelling.network import build_classifier
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.trust.shortcut_audit import REPORT_FILE, audited_films
    from cxr_core.trust.shortcut_audit import shortcut_audit as audit
    from cxr_core.trust.shortcut_features import look
    from cxr_core.trust.shortcut_figures import inside_figure, marks_figure, source_figure, views_figure

    now = settings.load()
    shelf = store.open()
    rows = shelf.read_table(predictions)
    seed, resamples, limits = now.split.seed, now.evaluation.resamples, now.shortcuts
    films = audited_films(shelf.read_table(splits), limits, seed)
    index = shelf.read_table(image_index).drop_duplicates("image_id").set_index("image_id")
    index = index.loc[films["image_id"]].reset_index()

    def embed(blanked: Frames) -> npt.NDArray[np.float32]:
        built = build_classifier(now.network, len(now.labels), now.training.seed)
        return embed_frames(built.model, blanked, preprocessing_of(now), log=context.log.info)

    pretrained = _rows_of(shelf.read_table(pretrained_features), films)
    trained = shelf.read_table(embeddings)
    if model_of(trained) != model_of(rows):
        raise dg.Failure("embeddings and predictions are of different models: materialise both again.")
    seen = look(
        index,
        pixel_cache(now).frames(films["sha256"].tolist()),
        now.quality.tint_levels,
        pretrained=pretrained,
        embed=embed if limits.blanked_pretrained else None,
    )
    told = {"the trained model's embedding": _rows_of(trained, films), "pretrained features": pretrained}
    report = {SAYS: model_of(rows), **audit(films, seen, now.labels, limits, seed, resamples, rows, told)}
    figures = {
        "views": png_bytes(views_figure(report, limits.max_lung_free_auc)),
        "inside_sources": png_bytes(inside_figure(report)),
        "label_by_source": png_bytes(source_figure(report)),
        "marks": png_bytes(marks_figure(report)),
    }
    return artefact_output(
        shelf.write_report("shortcut_audit", REPORT_FILE, report, figures),
        now,
        _SECTIONS,
        verdict=report["verdict"]["sentence"],
        films=report["films"],
        views=table(_views(report)),
        marks=table(_marks(report, now)),
        source=dg.MetadataValue.json(report["source"]),
        model=dg.MetadataValue.json(report["model"]),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


def _rows_of(embedded: pd.DataFrame, films: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Embeddings of the films, in their order."""
    from cxr_core.evaluation.embeddings import embedding_matrix

    chosen = embedded.set_index("image_id").loc[films["image_id"]].reset_index()
    return embedding_matrix(chosen).astype(np.float64)


def _views(report: dict) -> pd.DataFrame:
    """What each classifier sees and reaches, one row each."""
    found = []
    for view in report["views"]:
        area, null = view["macro_auc"], view.get("null", {})
        found.append(
            {
                "what the classifier sees": view["title"],
                "without lungs": view["lung_free"],
                "macro AUC": area["value"],
                "low": area["low"],
                "high": area["high"],
                "accuracy": view["accuracy"]["value"],
                "macro F1": view["macro_f1"]["value"],
                "by chance up to": null.get("high"),
                "p": null.get("p_value"),
                "not available": area.get("reason", ""),
            }
        )
    return pd.DataFrame(found)


def _marks(report: dict, settings: Settings) -> pd.DataFrame:
    """Films of each class that carry each mark, one row a mark."""
    found = []
    for mark in report["marks"]:
        by_class = {label: mark["by_class"][label]["marked"] for label in settings.labels}
        found.append({"mark": mark["title"], **by_class, "p (Holm)": mark["label"]["p_holm"]})
    return pd.DataFrame(found)


@dg.asset_check(
    asset="shortcut_audit", description="The score is not to be had without lungs: by files, borders, marks (TRAPS 1)."
)
def shortcut(store: StoreResource) -> dg.AssetCheckResult:
    """The verdict of the shortcut audit."""
    return verdict_result(store.open(), "shortcut_audit", dg.AssetCheckSeverity.ERROR)


ASSETS = [shortcut_audit]
CHECKS = [shortcut]
