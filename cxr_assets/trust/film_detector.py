"""The film detector: is a picture a chest film at all? Fitted here, tried on pictures that are none."""

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import embeddings_of, open_model
from cxr_assets.verdicts import verdict_result
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "film_detector", "not_a_chest_film"]

_SECTIONS = ("film_detector", "split", "preprocessing")
_SHOWN = ["title", "value", "low", "high", "films", "auc", "median_strangeness"]


@dg.asset(
    group_name="trust",
    deps=["pixel_cache"],
    kinds={"pytorch", "opencv", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="Detector of pictures that are no chest film, or one turned or inverted: distance of the embedding, "
    "picture statistics, orientation; threshold by the share of chest films that may be refused. With the share of "
    "test films that it does refuse, and of each kind of made pictures that it finds.",
)
def film_detector(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    embeddings: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Fit to training, validation and calibration films, measure on test films and on other pictures."""
    from cxr_core.dataset.frames import ArrayFrames
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.evaluation.embeddings import embedding_matrix
    from cxr_core.evaluation.predict import embed_frames
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.trust.chest_film_figures import pictures_figure, strangeness_figure
    from cxr_core.trust.chest_film_fit import Films, TooFewFilms, fit_chest_film_detector
    from cxr_core.trust.chest_film_report import REPORT_FILE, detector_report, measure_detector, no_detector

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    embedded = embeddings_of(shelf, trained_model, embeddings).set_index("image_id")
    dealt, cache = shelf.read_table(splits), pixel_cache(now)

    def films(split: str) -> Films:
        found = labelled_frames(cache, dealt, [split])
        return embedding_matrix(embedded.loc[list(found.keys)].reset_index()), found.frames

    def embed(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return embed_frames(saved.model, ArrayFrames(frames), saved.preprocessing)

    figures: dict[str, bytes] = {}
    records: dict[str, bytes] = {}
    try:
        fitted = fit_chest_film_detector(
            films("train"), films("val"), films("calibration"), trained_model.digest, now.film_detector
        )
        measured = measure_detector(
            fitted, films("test"), embed, saved.preprocessing, now.split.seed, now.film_detector
        )
    except TooFewFilms as error:  # the report says so, and the model is packaged without the part
        context.log.warning(str(error))
        report = no_detector(str(error))
    else:
        report, records = detector_report(measured, now.film_detector), measured.detector.files()
        figures = {
            "strangeness": png_bytes(strangeness_figure(measured)),
            "other_pictures": png_bytes(pictures_figure(measured)),
        }
    report = {SAYS: trained_model.digest, **report}
    return artefact_output(
        shelf.write_report("film_detector", REPORT_FILE, report, figures, files=records),
        now,
        _SECTIONS,
        verdict=report["verdict"]["sentence"],
        detection=table(pd.DataFrame(report["kinds"], columns=_SHOWN)),
        record_bytes=sum(map(len, records.values())),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


@dg.asset_check(
    asset="film_detector",
    name="film_detector",
    description="No more chest films are refused than promised, and each kind of other picture is found.",
)
def not_a_chest_film(store: StoreResource) -> dg.AssetCheckResult:
    """The verdict of the film detector's report."""
    return verdict_result(store.open(), "film_detector")


ASSETS = [film_detector]
CHECKS = [not_a_chest_film]
