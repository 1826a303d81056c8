"""A document as the files of an artefact: HTML, Markdown with its figures, and JSON with each number's source."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cxr_core import NOTICE
from cxr_core.release.document import Document, Number, Section, numbers_of
from cxr_core.release.evidence import SAYS
from cxr_core.release.report_html import html_page
from cxr_core.release.report_markdown import figure_files, markdown
from cxr_core.release.report_sources import Sources

__all__ = ["counted", "document_files", "evidence_document", "outdated"]

_MODEL = "trained_model"
_PACKAGE = "release_candidate"


def evidence_document(sources: Sources, sections: Sequence[Section]) -> Document:
    """The evidence report: its sections under a head that names the model by its digests.

    Args:
        sources: what the sections were read from.
        sections: in the order of reading.
    """
    named = {title: sources.find(_PACKAGE, pointer) for title, pointer in (("Model", "/name"), ("Version", "/version"))}
    meta = {title: str(found) for title, found in named.items() if found}
    for title, asset in (("Trained model, SHA-256", _MODEL), ("Package, SHA-256", _PACKAGE)):
        meta[title] = sources.digest(asset) or f"not available: no {asset} is stored"
    subtitle = "What the stored reports say of the data, the model, its limits and the promotion gate's decision."
    return Document("Evidence report", subtitle, tuple(sections), meta)


def document_files(document: Document, sources: Sources, name: str) -> dict[str, bytes]:
    """Content of each file by its name: ``<name>.html``, ``.md``, ``.json``, and the figures of the Markdown.

    Args:
        document: what to write.
        sources: what it was read from; their digests go into the JSON.
        name: of the artefact.
    """
    record = {
        "notice": NOTICE,
        SAYS: sources.digest(_MODEL),
        "inputs": {asset: sources.digest(asset) for asset in sources.names},
        "numbers": [_entry(number) for number in numbers_of(document)],
        **counted(document),
    }
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
    pages = {
        f"{name}.html": html_page(document).encode(),
        f"{name}.md": markdown(document).encode(),
        f"{name}.json": text.encode(),
    }
    return {**pages, **figure_files(document)}


def counted(document: Document) -> dict[str, int]:
    """How many sections and figures a document has, and how many of its numbers are there and are not."""
    kinds = Counter(type(block).__name__ for section in document.sections for block in section.blocks)
    there = Counter(number.value is not None for number in numbers_of(document))
    return {
        "sections": len(document.sections),
        "figures": kinds["Picture"],
        "numbers_available": there[True],
        "numbers_not_available": there[False],
    }


def outdated(record: dict[str, Any], sources: Sources) -> list[str]:
    """Names of the artefacts that are others than those that a stored document was written from.

    Args:
        record: the JSON of :func:`document_files`.
        sources: the present artefacts.
    """
    then, now = record.get("inputs", {}), {asset: sources.digest(asset) for asset in sources.names}
    return sorted(asset for asset in then.keys() | now.keys() if then.get(asset) != now.get(asset))


def _entry(number: Number) -> dict[str, Any]:
    more = {"unit": number.unit, "reason": number.reason, "bounds": number.bounds}
    ends = {"low": number.low, "high": number.high}
    return {"source": number.source, "value": number.value, **ends, **{key: said for key, said in more.items() if said}}
