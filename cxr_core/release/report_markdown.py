"""A document as Markdown (GitHub's dialect), its figures as files beside it or as their alternative text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cxr_core import NOTICE
from cxr_core.release.document import (
    Block,
    Cell,
    Document,
    Facts,
    Heading,
    Missing,
    Number,
    Paragraph,
    Picture,
    Table,
    pieces,
)
from cxr_core.release.document_numbers import NOT_AVAILABLE, clean, shown

__all__ = ["figure_files", "markdown"]

_MARKS = re.compile(r"([\\`*_{}\[\]#|~!$])")
_LEADING = re.compile(r"^([-+=:]|\d+(?=[.)]))")  # what would begin a list, a rule or a table
_NOTHING = "–"


def figure_files(document: Document) -> dict[str, bytes]:
    """PNG bytes of a document's figures by the names that :func:`markdown` links: ``<section>-<place>.png``."""
    return {f"{name}.png": block.png for name, block in _named(document) if isinstance(block, Picture)}


def markdown(document: Document, *, figures: bool = True) -> str:
    """The document as text; equal documents give equal text.

    Args:
        document: what to write.
        figures: link the files of :func:`figure_files`; without, a figure is its alternative text, for a reader that
            has no folder.
    """
    parts = [f"# {_text(document.title)}", f"**{_text(NOTICE)}**"]
    parts += [_text(document.subtitle)] if document.subtitle.strip() else []
    if document.meta:
        parts.append("\n".join(f"- {_text(name)}: {_text(value)}" for name, value in document.meta.items()))
    if not document.sections:
        parts.append(_missing("the report has no section"))
    named = list(_named(document))
    for section in document.sections:
        parts.append(f"## {_text(section.title)}")
        blocks = named[: len(section.blocks)]
        named = named[len(section.blocks) :]
        parts += [_block(block, name, figures) for name, block in blocks] or [_missing("the section is empty")]
    return "\n\n".join([*parts, "---", f"**{_text(NOTICE)}**"]) + "\n"


def _named(document: Document) -> Iterator[tuple[str, Block]]:
    for section in document.sections:
        for place, block in enumerate(section.blocks, 1):
            yield f"{section.key}-{place}", block


def _block(block: Block, name: str, figures: bool) -> str:
    if isinstance(block, Heading):
        return f"### {_text(block.text)}"
    if isinstance(block, Paragraph):
        said = "".join(_number(piece) if isinstance(piece, Number) else piece for piece in _pieces(block))
        return _LEADING.sub(r"\\\1", said.strip()) or _NOTHING
    if isinstance(block, Facts):
        rows = [f"- {_text(row.name)}: {_cell(row.value)}" for row in block.rows]
        return "\n".join(rows) if rows else _missing("there are no facts")
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Picture):
        alt = _text(block.alt)
        return f"![{alt}]({name}.png)\n\n*{_text(block.caption)}*" if figures else f"*Figure: {alt}*"
    assert isinstance(block, Missing)
    return _missing(block.reason)


def _pieces(paragraph: Paragraph) -> Iterator[Cell]:
    for piece in pieces(paragraph):
        if isinstance(piece, Number):
            yield piece
        else:
            tail = " " if piece[-1:].isspace() and piece.strip() else ""
            yield f"{' ' if piece[:1].isspace() else ''}{_escaped(piece)}{tail}"


def _table(table: Table) -> str:
    if not table.rows or not table.columns:
        return f"{_text(table.caption)}: {_missing(table.empty)}"
    numeric = [any(isinstance(row[at], Number) for row in table.rows) for at in range(len(table.columns))]
    lines = [
        _line([_text(title) for title in table.columns]),
        _line(["---:" if number else "---" for number in numeric]),
        *(_line([_cell(cell) for cell in row]) for row in table.rows),
    ]
    return f"**{_text(table.caption)}**\n\n" + "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return _number(cell) if isinstance(cell, Number) else _text(cell)


def _number(number: Number) -> str:
    return _escaped(shown(number))


def _missing(reason: str) -> str:
    return _escaped(NOT_AVAILABLE + clean(reason))


def _text(text: str) -> str:
    return _LEADING.sub(r"\\\1", _escaped(text)) or _NOTHING


def _escaped(text: str) -> str:
    """Text that no reader of Markdown takes for markup, a tag, an entity or a link."""
    safe = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    marked = _MARKS.sub(r"\\\1", safe)
    return marked.replace("://", ":\\//").replace("www.", "www\\.")
