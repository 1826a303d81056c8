"""Gallery of heat maps (report 6.1)."""

import dagster as dg

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model, predictions_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_SECTIONS = ("explain", "labels", "preprocessing", "evaluation", "split")
_DPI = 90  # of the figure: at 110 it is too large for the event log


@dg.asset(
    group_name="explain",
    deps=["pixel_cache"],
    kinds={"pytorch", "matplotlib"},
    **versioned(4, _SETTINGS, *_SECTIONS),
    description="Grad-CAM and occlusion maps of correct, wrong and least certain test films of each class, and how far "
    "the two agree: to look at, proof of nothing.",
)
def gradcam_gallery(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    predictions: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Choose, explain, compare and draw."""
    from cxr_core import NOTICE
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.explain.gallery import gradcam_gallery as build
    from cxr_core.explain.gallery_agreement import gallery_agreement
    from cxr_core.explain.gallery_figure import draw_gallery
    from cxr_core.explain.methods import METHODS
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import REPORTS, SAYS

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    test = labelled_frames(pixel_cache(now), shelf.read_table(splits), ["test"])
    rows = predictions_of(shelf, trained_model, predictions)
    rows = rows[rows["split"] == "test"]
    gallery = build(saved.model, saved.preprocessing, test, rows, len(now.labels), now.explain)
    groups = rows.set_index("image_id")["group_id"]
    agreement, films = gallery_agreement(gallery, groups, now.labels, now.split.seed, now.evaluation.resamples)
    context.log.info(f"{len(films)} films explained by {len(METHODS)} methods")
    png = png_bytes(draw_gallery(gallery, now.labels, now.explain.films_per_class, now.explain.alpha), _DPI)
    report = {
        SAYS: trained_model.digest,
        "notice": NOTICE,
        "films": len(films),
        "methods": {name: method.title for name, method in METHODS.items()},
        "agreement": agreement,
    }
    return artefact_output(
        shelf.write_report(
            "gradcam_gallery",
            REPORTS["gradcam_gallery"],
            report,
            {"gallery": png},
            files={"films.csv": films.to_csv(index=False).encode()},
        ),
        now,
        _SECTIONS,
        films=table(films),
        agreement="  ".join(entry["sentence"] for entry in agreement.values()),
        gallery=figure(png, "gallery of heat maps"),
    )
