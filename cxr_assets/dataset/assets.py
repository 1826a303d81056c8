"""raw_images, and the labels of readers where they are set -> image_index -> quarantine, pixel_cache, splits."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, filled, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
from cxr_core.errors import CxrError
from cxr_core.settings import Settings, load_settings
from cxr_core.store import Artefact

if TYPE_CHECKING:
    from cxr_core.dataset.label_corrections import LabelCorrections

_SETTINGS = load_settings()
_GROUP = "dataset"
_INDEX = ("labels", "preprocessing", "quality", "duplicates", "label_corrections")
_SPLITS = ("split",)


@dg.observable_source_asset(
    group_name=_GROUP,
    description="Class folders of chest films, as they lie on disk; observed by content, never changed.",
    tags={"dagster/kind/jpeg": "", "dagster/kind/png": ""},
)
def raw_images(context: dg.AssetExecutionContext, settings: SettingsResource) -> dg.ObserveResult:
    """Version of the raw folder: every path with its content, and the sidecar."""
    from cxr_core.dataset.hashing import version_of

    raw_dir, hashed = _look(settings.load(), context)
    return dg.ObserveResult(
        data_version=dg.DataVersion(version_of(raw_dir, hashed)),
        metadata={
            "folder": dg.MetadataValue.path(str(raw_dir)),
            "files": len(hashed),
            "bytes": int(hashed["size"].sum()),
        },
    )


@dg.observable_source_asset(
    group_name=_GROUP,
    description="Labels that readers gave in review, by the content of the film; the latest version that was exported.",
    tags={"dagster/kind/csv": ""},
)
def review_labels(settings: SettingsResource) -> dg.ObserveResult:
    """Version of the labels: the digest of their table. A table that is malformed stops the observation."""
    from cxr_core.dataset.label_corrections import read_corrections

    now = settings.load()
    if now.label_corrections is None:  # this run takes none
        return dg.ObserveResult(data_version=dg.DataVersion("none"))
    found = read_corrections(now.label_corrections, now.labels)
    return dg.ObserveResult(
        data_version=dg.DataVersion(found.table.version),
        metadata={
            "table": dg.MetadataValue.path(str(found.table.path)),
            "number": found.table.number,
            "films": len(found.labels),
        },
    )


# A part of the graph only where the settings of the code location name such labels.
label_sources = [review_labels] if _SETTINGS.label_corrections else []


@dg.asset(
    group_name=_GROUP,
    deps=[raw_images, *label_sources],
    kinds={"parquet", "opencv"},
    **versioned(1, _SETTINGS, *_INDEX),
    description="Every file with its verdict, label, source, group and statistics, from one pass over the pixels.",
)
def image_index(
    context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource
) -> dg.Output[Artefact]:
    """Decode what is new, judge everything, find copies."""
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.label_corrections import read_corrections
    from cxr_core.dataset.sidecar import rows_without_file

    now = settings.load()
    corrections = None
    if now.label_corrections is not None:
        if not label_sources:
            raise CxrError(
                "Set CXR_LABEL_CORRECTIONS in the environment, and not for one run: the graph has to show the labels."
            )
        corrections = read_corrections(now.label_corrections, now.labels)
    cache = pixel_cache(now)
    raw_dir, hashed = _look(now, context)
    decoded = ingest(raw_dir, hashed, cache, preprocessing_of(now), now.quality, now.workers, context.log.info)
    index = build_index(raw_dir, hashed, cache, now.labels, now.quality, now.duplicates, context.log.info, corrections)
    counts = index["status"].value_counts()
    verdicts = index.groupby(["label", "status"]).size().unstack(fill_value=0).reset_index()
    return artefact_output(
        store.open().write_table("image_index", index),
        now,
        _INDEX,
        **filled(cache.folder),
        files=len(index),
        decoded_now=decoded,
        sidecar_rows_without_file=rows_without_file(raw_dir, hashed["file"]),
        **{status: int(counts.get(status, 0)) for status in ("accepted", "quarantined", "duplicate")},
        groups=int(index["group_id"].nunique()),
        **(_read_by(index, corrections) if corrections else {}),
        verdicts=table(verdicts),
    )


@dg.asset(
    group_name=_GROUP,
    kinds={"parquet"},
    **versioned(1, _SETTINGS),
    description="Files that are kept out of the data set, each with its reason and what to do.",
)
def quarantine(settings: SettingsResource, store: StoreResource, image_index: Artefact) -> dg.Output[Artefact]:
    """The quarantined rows of the index."""
    from cxr_core.dataset.index import quarantine_of

    shelf = store.open()
    rows = quarantine_of(shelf.read_table(image_index))
    reasons = rows["reason_code"].value_counts().rename_axis("reason_code").reset_index(name="files")
    return artefact_output(
        shelf.write_table("quarantine", rows),
        settings.load(),
        (),
        files=len(rows),
        reasons=table(reasons),
        rows=table(rows),
    )


@dg.asset(
    group_name=_GROUP,
    name="pixel_cache",
    kinds={"numpy"},
    **versioned(2, _SETTINGS, "preprocessing"),
    description="The canonical frame of each accepted film by its digest; the pixels lie in the memory-mapped cache.",
)
def pixel_cache_manifest(
    settings: SettingsResource, store: StoreResource, image_index: Artefact
) -> dg.Output[Artefact]:
    """Manifest of the frames; its digest covers their pixels."""
    from cxr_core.dataset.manifest import frame_manifest

    now = settings.load()
    cache = pixel_cache(now)
    shelf = store.open()
    index = shelf.read_table(image_index, ["sha256", "image_id", "status"])
    manifest = frame_manifest(cache, index)
    return artefact_output(
        shelf.write_table("pixel_cache", manifest),
        now,
        ("preprocessing",),
        **filled(cache.folder),
        frames=len(manifest),
        side=cache.size,
        bytes=len(manifest) * cache.size**2,
    )


@dg.asset(
    group_name=_GROUP,
    kinds={"parquet"},
    **versioned(2, _SETTINGS, *_SPLITS),
    description="Train, validation, calibration and test: stratified by class and source, a patient or copy never on "
    "two sides.",
)
def splits(settings: SettingsResource, store: StoreResource, image_index: Artefact) -> dg.Output[Artefact]:
    """Deal the accepted films."""
    from cxr_core.dataset.splits import SPLITS, make_splits

    now = settings.load()
    shelf = store.open()
    columns = ["image_id", "sha256", "label", "label_index", "source", "group_id", "status"]
    dealt = make_splits(shelf.read_table(image_index, columns), now.split)
    counts = pd.crosstab(dealt["label"], dealt["split"]).reset_index()
    sizes = dealt["split"].value_counts()
    return artefact_output(
        shelf.write_table("splits", dealt),
        now,
        _SPLITS,
        films=len(dealt),
        **{split: int(sizes.get(split, 0)) for split in SPLITS},
        counts=table(counts),
    )


def _read_by(index: pd.DataFrame, corrections: "LabelCorrections") -> dict[str, Any]:
    """Numbers about the labels that readers gave."""
    by_reader = index["label_source"] == "review"
    return {
        "label_table": f"{corrections.table.path.name} ({corrections.table.version})",
        "labels_by_reader": int(by_reader.sum()),
        "labels_changed": int((index["label"] != index["original_label"]).sum()),
        "reader_labels_without_film": len(corrections.labels.keys() - set(index["sha256"])),
    }


def _look(now: Settings, context: dg.AssetExecutionContext) -> tuple[Path, pd.DataFrame]:
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.scan import scan

    assert now.raw_dir is not None  # load_settings makes every path absolute
    assert now.cache_dir is not None
    files = scan(now.raw_dir, now.labels)
    return now.raw_dir, hash_files(now.raw_dir, files, now.cache_dir, now.workers, context.log.info)
