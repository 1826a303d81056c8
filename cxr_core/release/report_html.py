"""A document as one HTML file that needs nothing else: no script, no network, its style and figures inside."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import struct

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
    Section,
    Table,
    pieces,
)
from cxr_core.release.document_numbers import NOT_AVAILABLE, clean, shown
from cxr_core.release.report_html_style import STYLE

__all__ = ["html_page"]

_NOTHING = "–"  # for text that is empty
_LONG, _WORD = 60, 24  # letters of a cell, and of a word, from which on its column is kept wide enough to read
_LONG_COLUMN = ' class="long"'
_JOINTS = re.compile(r"(?<=[^\W\d])[_/](?=\w)")  # where a name or a path may break


def html_page(document: Document) -> str:
    """The whole file; equal documents give equal text.

    Every number is ``<data value="0.8123" data-source="evaluation#/overall/accuracy">``, so that each can be compared
    with the stored report. The policy allows the style by its hash and figures as data, and nothing else.
    """
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = _text(document.title)
    notice = f'<p class="notice">{_text(NOTICE)}</p>'
    subtitle = f'<p class="subtitle">{_text(document.subtitle)}</p>' if document.subtitle.strip() else ""
    entries = "\n".join(
        f'<li><a href="#{section.key}">{_text(section.title)}</a></li>' for section in document.sections
    )
    contents = f'<nav aria-labelledby="contents"><h2 id="contents">Contents</h2>\n<ol>\n{entries}\n</ol></nav>'
    body = "\n".join(_section(section) for section in document.sections)
    body = body or f"<p>{_missing('the report has no section')}</p>"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
{notice}
<h1>{title}</h1>
{subtitle}{_meta(document)}
</header>
<div class="page">
{contents if document.sections else ""}
<main id="content" tabindex="-1">
{body}
</main>
</div>
<footer>
{notice}
</footer>
</body>
</html>
"""


def _meta(document: Document) -> str:
    rows = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in document.meta.items())
    return f'\n<dl class="meta">{rows}</dl>' if rows else ""


def _section(section: Section) -> str:
    blocks = section.blocks or (Missing("the section is empty"),)
    body = "\n".join(_block(block, f"{section.key}-{place}") for place, block in enumerate(blocks, 1))
    heading = f'<h2 id="{section.key}-title">{_text(section.title)}</h2>'
    return f'<section id="{section.key}" aria-labelledby="{section.key}-title">\n{heading}\n{body}\n</section>'


def _block(block: Block, name: str) -> str:
    if isinstance(block, Heading):
        return f"<h3>{_text(block.text)}</h3>"
    if isinstance(block, Paragraph):
        return f"<p>{''.join(_inline(piece) for piece in pieces(block)).strip() or _NOTHING}</p>"
    if isinstance(block, Facts):
        rows = "".join(f"<div><dt>{_text(row.name)}</dt><dd>{_cell(row.value)}</dd></div>" for row in block.rows)
        return f'<dl class="facts">{rows}</dl>' if rows else f"<p>{_missing('there are no facts')}</p>"
    if isinstance(block, Table):
        return _table(block, f"{name}-caption")
    if isinstance(block, Picture):
        return _picture(block)
    return f"<p>{_missing(block.reason)}</p>"


def _table(table: Table, name: str) -> str:
    if not table.rows or not table.columns:
        return f"<p>{_text(table.caption)}: {_missing(table.empty)}</p>"
    styles = [_style([row[at] for row in table.rows]) for at in range(len(table.columns))]
    heads = "".join(
        f'<th scope="col" role="columnheader"{style}>{_text(title)}</th>'
        for title, style in zip(table.columns, styles, strict=True)
    )
    rows = "\n".join(f'<tr role="row">{_row(row, table.columns, styles)}</tr>' for row in table.rows)
    # On a phone a table with long text is shown row below row; the roles keep it a table to those who hear it.
    stacked = ' class="stacked"' if _LONG_COLUMN in styles[1:] else ""
    # The box scrolls, the page does not; focusable, so that the arrow keys reach what lies beyond its edge.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}">\n<table role="table"{stacked}>\n'
        f'<caption id="{name}">{_text(table.caption)}</caption>\n'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{rows}\n</tbody>\n</table></div>'
    )


def _style(column: list[Cell]) -> str:
    """Class of a column: numbers stand below each other, long text is kept wide enough to read."""
    texts = [cell for cell in column if isinstance(cell, str) and not cell.startswith(NOT_AVAILABLE)]
    if any(len(text) > _LONG or any(len(word) > _WORD for word in _JOINTS.sub(" ", text).split()) for text in texts):
        return _LONG_COLUMN
    numbers = any(isinstance(cell, Number) and cell.value is not None for cell in column)
    return ' class="n"' if numbers and not texts else ""


def _row(row: tuple[Cell, ...], columns: tuple[str, ...], styles: list[str]) -> str:
    cells = []
    for at, (cell, column, style) in enumerate(zip(row, columns, styles, strict=True)):
        absent = cell.value is None if isinstance(cell, Number) else cell.startswith(NOT_AVAILABLE)
        kind = ' class="away"' if absent else style
        if at == 0 and not isinstance(cell, Number):
            cells.append(f'<th scope="row" role="rowheader"{kind}>{_cell(cell)}</th>')
        else:
            cells.append(f'<td role="cell" data-column="{_text(column)}"{kind}>{_cell(cell)}</td>')
    return "".join(cells)


def _picture(picture: Picture) -> str:
    width, height = struct.unpack(">II", picture.png[16:24])  # of the header that every PNG begins with
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><div class="card"><img src="data:image/png;base64,{data}" alt="{_text(picture.alt)}" '
        f'width="{width}" height="{height}"></div>\n<figcaption>{_text(picture.caption)}</figcaption></figure>'
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, Number):
        return _number(cell)
    text = _JOINTS.sub(r"\g<0><wbr>", _text(cell))
    return f'<span class="missing">{text}</span>' if cell.startswith(NOT_AVAILABLE) else text


def _inline(piece: Cell) -> str:
    if isinstance(piece, Number):
        return _number(piece)
    kept = (" " if piece[:1].isspace() else "", " " if piece[-1:].isspace() and piece.strip() else "")
    return f"{kept[0]}{html.escape(clean(piece))}{kept[1]}"


def _number(number: Number) -> str:
    source = html.escape(clean(number.source))
    if number.value is None:
        return f'<span class="missing" data-source="{source}">{html.escape(shown(number))}</span>'
    ends = ""
    if number.low is not None and number.high is not None:
        ends = f' data-low="{_exact(number.low)}" data-high="{_exact(number.high)}"'
        ends += f' data-bounds="{html.escape(clean(number.bounds))}"' if number.bounds else ""
    return (
        f'<data value="{_exact(number.value)}" data-source="{source}"{ends} title="{source}">'
        f"{html.escape(shown(number))}</data>"
    )


def _exact(value: float | int) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _missing(reason: str) -> str:
    return f'<span class="missing">{html.escape(NOT_AVAILABLE + clean(reason))}</span>'


def _text(text: str) -> str:
    return html.escape(clean(text)) or _NOTHING
