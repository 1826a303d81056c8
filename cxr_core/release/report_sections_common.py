"""What the sections of the evidence report share: sentences, facts and tables out of the stored reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_core.release.document import Block, Cell, Fact, Facts, Missing, Number, Paragraph, Table
from cxr_core.release.document_numbers import NOT_AVAILABLE
from cxr_core.release.report_sources import Sources

__all__ = [
    "NOT_AVAILABLE",
    "as_table",
    "categories",
    "entries",
    "fact",
    "facts",
    "labels_of",
    "named_pointer",
    "names_of",
    "number_within",
    "paragraph",
    "quoted",
    "rule_pointer",
    "said",
    "token",
    "why_absent",
]


def token(name: str) -> str:
    """A name as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def names_of(sources: Sources, asset: str, pointer: str) -> list[str]:
    """Keys of the object at a pointer, in the report's order; none where there is no object."""
    found = sources.find(asset, pointer)
    return [str(name) for name in found] if isinstance(found, Mapping) else []


def entries(sources: Sources, asset: str, pointer: str) -> list[Any]:
    """The list at a pointer; an empty one where there is none."""
    found = sources.find(asset, pointer)
    return list(found) if isinstance(found, list) else []


def labels_of(sources: Sources) -> list[str]:
    """Names of the classes: as the model has them, else as the evaluation or the splits have."""
    for asset, pointer in (("trained_model", "/labels"), ("evaluation", "/overall/labels")):
        if found := entries(sources, asset, pointer):
            return [str(label) for label in found]
    return categories(sources, "splits", "label")


def categories(sources: Sources, asset: str, column: str, where: Mapping[str, str] | None = None) -> list[str]:
    """The different values of a stored table's column as text, sorted; none where table or column is missing."""
    table = sources.table(asset)
    if table is None or any(name not in table for name in (column, *(where or {}))):
        return []
    for name, value in (where or {}).items():
        table = table[table[name].astype(str) == value]
    return sorted({str(value) for value in table[column].dropna()})


def named_pointer(sources: Sources, asset: str, pointer: str, name: str) -> str:
    """Pointer of the entry with this ``name`` in the list at a pointer; one that points nowhere if there is none."""
    for row, entry in enumerate(entries(sources, asset, pointer)):
        if isinstance(entry, Mapping) and entry.get("name") == name:
            return f"{pointer}/{row}"
    return f"{pointer}/{token(name)}"


def rule_pointer(sources: Sources, name: str) -> str:
    """Where a rule of the promotion gate stands in the package's manifest."""
    return named_pointer(sources, "release_candidate", "/gate/rules", name)


def paragraph(text: str, **numbers: Cell) -> Block:
    """A template with its numbers; where not one of its numbers is there, why, in place of a sentence of gaps."""
    read = [cell for cell in numbers.values() if isinstance(cell, Number)]
    if read and all(number.value is None for number in read):
        return Missing("; ".join(dict.fromkeys(number.reason for number in read)))
    return Paragraph(text, numbers)


def number_within(sources: Sources, asset: str, pointer: str, unit: str = "") -> Number:
    """A number of a report; where what it belongs to is not available as a whole, the reason given for that."""
    whole, number = pointer, sources.number(asset, pointer, unit)
    if number.value is not None or _reason(sources.find(asset, pointer)):
        return number
    while whole.count("/") > 1:
        whole = whole.rpartition("/")[0]
        found = sources.find(asset, whole)
        if _reason(found):
            return sources.number(asset, whole, unit)
    return number


def _reason(found: Any) -> str:
    """Why an entry of a report has no value; empty where it has one, or gives no reason."""
    missing = isinstance(found, Mapping) and found.get("value") is None
    return str(found.get("reason") or "") if missing else ""


def why_absent(sources: Sources, asset: str, pointer: str = "") -> str:
    """Why nothing stands at a pointer, as it follows "not available:"."""
    if not sources.report(asset):
        return sources.number(asset, pointer or "/").reason  # none is stored, or one of another model
    return (
        f"the report of {asset} says nothing at {pointer}" if pointer else f"the report of {asset} says nothing of it"
    )


def said(sources: Sources, asset: str, pointer: str) -> str:
    """Text, a flag or a list of names at a pointer, or ``not available: reason``; never empty, never a number."""
    found = sources.find(asset, pointer)
    if isinstance(found, str) and found.strip():
        return found
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, list) and found and all(isinstance(part, str) for part in found):
        return ", ".join(found)
    return NOT_AVAILABLE + why_absent(sources, asset, pointer)


def fact(sources: Sources, name: str, asset: str, pointer: str, unit: str = "") -> Fact:
    """A number where a number is, else the text there."""
    found = sources.find(asset, pointer)
    is_number = isinstance(found, int | float | Mapping) and not isinstance(found, bool)
    return Fact(name, sources.number(asset, pointer, unit) if is_number else said(sources, asset, pointer))


def facts(rows: Sequence[Fact]) -> Facts:
    """Facts one below the other."""
    return Facts(tuple(rows))


def quoted(sources: Sources, asset: str, pointer: str = "/verdict/sentence") -> Paragraph | Missing:
    """A sentence that a report computed, word for word."""
    found = sources.find(asset, pointer)
    if isinstance(found, str) and found.strip():
        return Paragraph("{sentence}", {"sentence": found})
    return Missing(why_absent(sources, asset, pointer))


def as_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str, empty: str, none: str = "") -> Block:
    """A table, or why it has no rows.

    Args:
        columns, rows, caption: of the table.
        empty: why it has no rows, as it follows "not available:".
        none: a sentence in place of that, where it is known that there is nothing to list.
    """
    if not rows and none:
        return Paragraph(none)
    if not rows:
        return Missing(f"{caption.rstrip('.')}: {empty}")
    return Table(tuple(columns), tuple(tuple(row) for row in rows), caption)
