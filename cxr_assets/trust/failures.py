"""Failure modes: which errors, how many, on which films, and what those films have in common (report 6.2)."""

import dagster as dg
import numpy as np
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "failure_report"]

_SETTINGS = load_settings()
_SECTIONS = ("subgroups", "evaluation", "labels", "split", "preprocessing")
_WORST = ["image_id", "label", "predicted", "confidence", "label_probability", "margin", "flags", "source"]


@dg.asset(
    group_name="trust",
    deps=["pixel_cache"],
    kinds={"scipy", "matplotlib"},
    **versioned(1, _SETTINGS, *_SECTIONS),
    description="False positives and negatives, confusion pairs, the most confidently wrong test films, and what "
    "errors go with inside a class: quality, flags, source (report 6.2).",
)
def failure_report(
    settings: SettingsResource, store: StoreResource, predictions: Artefact, image_index: Artefact, splits: Artefact
) -> dg.Output[Artefact]:
    """Count, list, draw and explain the errors of the test films."""
    from cxr_core.evaluation.report import model_of
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.trust.failure_figures import association_figure, contact_sheet, pairs_figure
    from cxr_core.trust.failures import failure_report as judge

    now = settings.load()
    shelf = store.open()
    rows = shelf.read_table(predictions)
    index = shelf.read_table(image_index)
    report = judge(rows, index, now.labels, now.subgroups, now.split.seed, now.evaluation.resamples)
    report = {SAYS: model_of(rows), **report}
    dealt = shelf.read_table(splits, ["image_id", "sha256"]).set_index("image_id")["sha256"]
    worst = report["worst"]
    cached = pixel_cache(now).frames([dealt[film["image_id"]] for film in worst])
    frames = cached.take(np.arange(len(worst)))
    figures = {
        "confusion_pairs": png_bytes(pairs_figure(report)),
        "worst_films": png_bytes(contact_sheet(worst, frames)),
        "associations": png_bytes(association_figure(report)),
    }
    films = pd.DataFrame(worst, columns=_WORST)
    shown = ("outcome", "title", "measure", "value", "low", "high", "p", "holm", "q", "wrong", "right")
    found = pd.DataFrame([{key: entry[key] for key in shown} for entry in report["associations"]], columns=shown)
    return artefact_output(
        shelf.write_report(
            "failure_report", "failure_report.json", report, figures, {"worst_films": films, "associations": found}
        ),
        now,
        _SECTIONS,
        films=report["n"],
        errors=report["counts"]["errors"],
        counts=dg.MetadataValue.json(report["counts"]),
        worst=table(films),
        associations=table(found),
        sentences=dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in report["sentences"])),
        claims=dg.MetadataValue.json(report["claims"]),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


ASSETS = [failure_report]
CHECKS: list[dg.AssetChecksDefinition] = []
