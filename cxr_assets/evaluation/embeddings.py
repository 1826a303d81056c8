"""trained_model -> embeddings, and pixel_cache -> pretrained_features: one pass of a network over every film."""

import dagster as dg

from cxr_assets.outputs import artefact_output, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
from cxr_assets.trained import open_model
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_GROUP = "evaluation"
_PRETRAINED = ("network", "preprocessing", "labels")


@dg.asset(
    group_name=_GROUP,
    deps=["pixel_cache"],
    kinds={"pytorch", "parquet"},
    **versioned(1, _SETTINGS, "preprocessing"),
    description="What the trained model's head sees of every accepted film: the pooled embedding, from the one pass "
    "that predictions, prediction sets, audits and the film detector share.",
)
def embeddings(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Embed every film with the trained model."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.dataset.splits import SPLITS
    from cxr_core.evaluation.embeddings import embedding_table
    from cxr_core.evaluation.predict import embed_frames
    from cxr_core.release.evidence import SAYS

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    dealt = shelf.read_table(splits)
    films = labelled_frames(pixel_cache(now), dealt, SPLITS)
    found = embed_frames(saved.model, films.frames, saved.preprocessing, log=context.log.info)
    table = embedding_table(dealt, list(films.keys), found).assign(**{SAYS: trained_model.digest})
    return artefact_output(
        shelf.write_table("embeddings", table), now, ("preprocessing",), films=len(table), size=found.shape[1]
    )


@dg.asset(
    group_name=_GROUP,
    deps=["pixel_cache"],
    kinds={"pytorch", "parquet"},
    **versioned(1, _SETTINGS, *_PRETRAINED),
    description="What the backbone sees of every accepted film before it has learnt from any label: for the audits of "
    "shortcuts and labels, which a trained network would have learnt by heart.",
)
def pretrained_features(
    context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource, splits: Artefact
) -> dg.Output[Artefact]:
    """Embed every film with the pretrained backbone."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.dataset.splits import SPLITS
    from cxr_core.evaluation.embeddings import embedding_table
    from cxr_core.evaluation.predict import embed_frames
    from cxr_core.modelling.network import build_classifier

    now = settings.load()
    shelf = store.open()
    built = build_classifier(now.network, len(now.labels), now.training.seed)
    dealt = shelf.read_table(splits)
    films = labelled_frames(pixel_cache(now), dealt, SPLITS)
    found = embed_frames(built.model, films.frames, preprocessing_of(now), log=context.log.info)
    table = embedding_table(dealt, list(films.keys), found)
    return artefact_output(
        shelf.write_table("pretrained_features", table),
        now,
        _PRETRAINED,
        films=len(table),
        size=found.shape[1],
        backbone=now.network.backbone,
        weights=built.weights.origin,
        licence=built.weights.licence or "none",
    )
