"""What a report says, apart from how it looks: sections of sentences, tables and figures over traceable numbers.

Builders make a :class:`Document`; renderers write it as HTML or Markdown. No number enters as text: each is a
:class:`Number` that names the stored report it was read from.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cxr_core.errors import CxrError

__all__ = [
    "COUNT",
    "PERCENT",
    "Block",
    "Cell",
    "Document",
    "Fact",
    "Facts",
    "Heading",
    "Missing",
    "Number",
    "Paragraph",
    "Picture",
    "Section",
    "Table",
    "is_png",
    "numbers_of",
    "pieces",
]

COUNT = "count"  # unit of what is counted but may be stored as 56.0: written whole, with no word behind it
PERCENT = "%"  # unit of a share that is stored as 0-1 and written in percent

_KEY = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class Number:
    """A number of a stored report, or why there is none.

    Attributes:
        value: the number as stored, None where there is none; a whole number is an int.
        low, high: ends of its interval; None where it has none.
        unit: :data:`PERCENT` for a share (0-1), :data:`COUNT` for a count, else a word written behind the number
            (``ms``, ``films``), or nothing.
        source: ``asset#/json/pointer`` of where it was read.
        reason: why there is none, as it follows "not available:"; empty where there is one.
        bounds: where its interval was read if that is another place, as ``source``.
    """

    value: float | int | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    source: str = ""
    reason: str = ""
    bounds: str = ""

    def __post_init__(self) -> None:
        if "#" not in self.source:
            raise CxrError(f"The source {self.source!r} of a number is no asset#/pointer: read it through Sources.")
        if (self.value is None) != bool(self.reason):
            raise CxrError(f"{self.source} needs a value or a reason, not both.")
        for part in (self.value, self.low, self.high):
            if part is not None and (isinstance(part, bool) or not math.isfinite(part)):
                raise CxrError(f"{self.source} holds {part}, which is no number: read it through Sources.")


Cell = Number | str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section: a few words."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences with numbers in them.

    Attributes:
        text: template, for example ``Accuracy is {accuracy} on {films} films.``
        numbers: what stands at each name of the template: a number, or text such as a class's name.
    """

    text: str
    numbers: Mapping[str, Cell] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {name for _, name, *_ in string.Formatter().parse(self.text) if name is not None}
        if named != set(self.numbers):
            raise CxrError(f"The sentence {self.text!r} names {sorted(named)} and is given {sorted(self.numbers)}.")


@dataclass(frozen=True)
class Fact:
    """One name with its value.

    Attributes:
        name: what it is.
        value: a number or text.
    """

    name: str
    value: Cell


@dataclass(frozen=True)
class Facts:
    """Names with their values, one below the other.

    Attributes:
        rows: in the order of reading.
    """

    rows: tuple[Fact, ...]


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        columns: headings.
        rows: cells, as many in each row as there are columns.
        caption: what the table shows.
        empty: why it has no rows, as it follows "not available:"; read only where it has none.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    empty: str = "there are no rows"

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise CxrError(f"A row of the table {self.caption!r} has not {len(self.columns)} cells.")


@dataclass(frozen=True)
class Picture:
    """A figure of a stored report.

    Attributes:
        png: its bytes.
        alt: what it shows, for those who do not see it.
        caption: below it.
    """

    png: bytes
    alt: str
    caption: str

    def __post_init__(self) -> None:
        if not is_png(self.png):
            raise CxrError(f"The figure {self.caption!r} is no PNG.")


@dataclass(frozen=True)
class Missing:
    """Something that is not there, and why, as it follows "not available:"."""

    reason: str


Block = Heading | Paragraph | Facts | Table | Picture | Missing


@dataclass(frozen=True)
class Section:
    """One part of the contents list.

    Attributes:
        key: letters, digits, ``-`` and ``_``: the anchor.
        title: its heading.
        blocks: in the order of reading.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise CxrError(f"{self.key!r} is no key of a section: use a-z, 0-9, - and _.")


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title, subtitle: at its head.
        sections: in the order of reading; no key twice.
        meta: facts at its head, for example the name and version of the model.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = [section.key for section in self.sections]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise CxrError(f"Two sections of {self.title!r} have the key {twice[0]!r}.")


def is_png(data: bytes) -> bool:
    """Whether bytes begin as a PNG does: its signature and a header with the size of the picture."""
    return data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) >= 24


def pieces(paragraph: Paragraph) -> Iterator[Cell]:
    """The text and the numbers of a paragraph, in the order of reading."""
    for text, name, *_ in string.Formatter().parse(paragraph.text):
        if text:
            yield text
        if name is not None:
            yield paragraph.numbers[name]


def numbers_of(document: Document) -> Iterator[Number]:
    """Every number of a document, in the order of reading."""
    for section in document.sections:
        for block in section.blocks:
            for cell in _cells(block):
                if isinstance(cell, Number):
                    yield cell


def _cells(block: Block) -> Iterator[Cell]:
    if isinstance(block, Paragraph):
        yield from pieces(block)
    elif isinstance(block, Facts):
        yield from (row.value for row in block.rows)
    elif isinstance(block, Table):
        yield from (cell for row in block.rows for cell in row)
