"""The two documents about a model: the card that travels with it, and the report of all the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr_core.release.document import Document
from cxr_core.release.document_files import document_files, evidence_document
from cxr_core.release.evidence import REPORTS
from cxr_core.release.report_sources import Sources
from cxr_core.settings import Settings
from cxr_core.settings_sections import Section
from cxr_core.store import Artefact, ArtefactStore

__all__ = ["DOCUMENTS", "SETTINGS", "DocumentKind", "make_document", "record_settings"]

# What describes the films.
_DATA: tuple[str, ...] = (
    "eda_class_distribution",
    "eda_duplicates_found",
    "eda_edges",
    "eda_exposure",
    "eda_image_properties",
    "eda_quality_table",
    "eda_samples",
    "eda_source_by_class",
    "image_index",
    "quarantine",
    "splits",
)
# What describes the model: how it came about, and every report about it.
_MODEL: tuple[str, ...] = (
    "operating_points",
    "trained_model",
    "tuned_hyperparameters",
    *(name for name in REPORTS if name != "model_card"),
)
# Reports that no rule of the promotion gate needs.
_BESIDE: tuple[str, ...] = ("lung_segmentation", "second_model")


SETTINGS = "settings"  # name under which the settings of the pipeline stand beside a document's inputs


@dataclass(frozen=True)
class DocumentKind:
    """One document.

    Attributes:
        name: of its artefact.
        inputs: names of the artefacts that it is written from, sorted.
        build: writes it.
    """

    name: str
    inputs: tuple[str, ...]
    build: Callable[[Sources], Document]


def _card(sources: Sources) -> Document:
    from cxr_core.release.model_card import model_card

    return model_card(sources)


def _report(sources: Sources) -> Document:
    from cxr_core.release.report_sections import SECTIONS

    return evidence_document(sources, [build(sources) for build in SECTIONS])


_EVIDENCE = tuple(sorted({*_DATA, *_MODEL, *_BESIDE}))

# The card is written before the package is judged, and travels with it; the report after, to tell how it was judged.
DOCUMENTS: Mapping[str, DocumentKind] = {
    "model_card": DocumentKind("model_card", _EVIDENCE, _card),
    "evidence_report": DocumentKind("evidence_report", tuple(sorted({*_EVIDENCE, "release_candidate"})), _report),
}


def record_settings(store: ArtefactStore, settings: Settings) -> Artefact:
    """Keep what a document says of the settings: the profile, and the digest of all sections but the service's own."""
    own = {name for name, field in Settings.model_fields.items() if isinstance(field.default, Section)} - {"service"}
    record = store.write_json(
        SETTINGS, {"profile": settings.profile, "digest": settings.section_digest("labels", *sorted(own))}
    )
    store.set_ref(SETTINGS, record)
    return record


def make_document(
    kind: DocumentKind, store: ArtefactStore, artefacts: Mapping[str, Artefact]
) -> tuple[Artefact, Document]:
    """Write a document and store its files as one folder; equal artefacts give equal bytes.

    Args:
        kind: an entry of :data:`DOCUMENTS`.
        store: where the artefacts lie, and where the folder goes.
        artefacts: of the kind's inputs, by name; what is not there is said in the document.
    """
    sources = Sources.open(store, artefacts)
    document = kind.build(sources)
    files = document_files(document, sources, kind.name)

    def fill(folder: Path) -> None:
        for name, data in files.items():
            (folder / name).write_bytes(data)

    return store.write_tree(kind.name, fill), document
