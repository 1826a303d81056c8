"""Grad-CAM gallery (report 6.1)."""

import json
from pathlib import Path

import dagster as dg

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model, predictions_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_SECTIONS = ("explain", "labels", "preprocessing")


@dg.asset(
    group_name="explain",
    deps=["pixel_cache"],
    kinds={"pytorch", "matplotlib"},
    **versioned(3, _SETTINGS, *_SECTIONS),
    description="Grad-CAM of correct, wrong and least certain test films of each class: to look at, proof of nothing.",
)
def gradcam_gallery(
    settings: SettingsResource, store: StoreResource, trained_model: Artefact, predictions: Artefact, splits: Artefact
) -> dg.Output[Artefact]:
    """Choose and draw."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.explain.gallery import gradcam_gallery as build
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import REPORTS, SAYS

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    test = labelled_frames(pixel_cache(now), shelf.read_table(splits), ["test"])
    rows = predictions_of(shelf, trained_model, predictions)
    gallery = build(saved.model, saved.preprocessing, test, rows[rows["split"] == "test"], now.labels, now.explain)
    png = png_bytes(gallery.figure)

    def fill(folder: Path) -> None:
        (folder / "gallery.png").write_bytes(png)
        gallery.table.to_csv(folder / "films.csv", index=False)
        (folder / REPORTS["gradcam_gallery"]).write_text(json.dumps({SAYS: trained_model.digest}))

    return artefact_output(
        shelf.write_tree("gradcam_gallery", fill),
        now,
        _SECTIONS,
        films=table(gallery.table),
        gallery=figure(png, "Grad-CAM gallery"),
    )
