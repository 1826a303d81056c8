"""Every report about a model -> model_card and evidence_report: what is known of it, to be read by people."""

from typing import Any

import dagster as dg

from cxr_assets.outputs import artefact_output, versioned
from cxr_assets.resources import SettingsResource, StoreResource
from cxr_core.release.document import Document
from cxr_core.release.document_files import counted
from cxr_core.release.documents import DOCUMENTS, SETTINGS, DocumentKind, make_document, record_settings
from cxr_core.release.report_markdown import markdown
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS"]

_SETTINGS = load_settings()
_PREVIEW = 30_000  # letters of Markdown that go into the event log; the whole is in the artefact


def _document_asset(kind: DocumentKind, description: str) -> dg.AssetsDefinition:
    """The asset of one document; what it tells comes from its inputs alone, so it reads no settings."""

    @dg.asset(
        name=kind.name,
        ins={name: dg.AssetIn(name) for name in kind.inputs},
        group_name="release",
        kinds={"html"},
        **versioned(1, _SETTINGS),
        description=description,
    )
    def build(
        context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource, **inputs: Artefact
    ) -> dg.Output[Artefact]:
        now, shelf = settings.load(), store.open()
        artefact, document = make_document(kind, shelf, {**inputs, SETTINGS: record_settings(shelf, now)})
        found = counted(document)
        context.log.info(
            f"{kind.name}: {found['sections']} sections, {found['figures']} figures, {found['numbers_available']} "
            f"numbers, {found['numbers_not_available']} not available"
        )
        return artefact_output(artefact, now, (), preview=_preview(document), **_shown(found, artefact))

    return build


def _shown(found: dict[str, int], artefact: Artefact) -> dict[str, Any]:
    return {
        **{f"document_{name}": count for name, count in found.items()},
        "page": dg.MetadataValue.path(f"{artefact.path}/{artefact.name}.html"),
    }


def _preview(document: Document) -> dg.MetadataValue:
    """The document's Markdown without its figures, cut at the end of a line."""
    text = markdown(document, figures=False)
    if len(text) > _PREVIEW:
        text = f"{text[:_PREVIEW].rpartition(chr(10))[0]}\n\nThe whole document is in the artefact."
    return dg.MetadataValue.md(text)


ASSETS = [
    _document_asset(
        DOCUMENTS["model_card"],
        "What the model is for and is not for, what it was made from, how well it does and where it fails; one offline "
        "HTML file, and Markdown.",
    ),
    _document_asset(
        DOCUMENTS["evidence_report"],
        "Everything the stored reports say of data, model, limits and the promotion gate's decision, each number with "
        "its source; one offline HTML file, and Markdown.",
    ),
]
CHECKS: list[dg.AssetChecksDefinition] = []
