"""How an item of a checklist is answered out of stored reports: by names with values, never by an empty one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cxr_core.release.document import Cell
from cxr_core.release.report_sections_common import NOT_AVAILABLE, names_of, number_within, rule_pointer, said
from cxr_core.release.report_sections_scores import METRICS
from cxr_core.release.report_sections_versions import python_version, version_of
from cxr_core.release.report_sources import Sources

__all__ = [
    "Ask",
    "Item",
    "count",
    "digest",
    "distinct",
    "measures",
    "names",
    "no",
    "number",
    "package",
    "python",
    "rule",
    "shared",
    "text",
]

Answer = Callable[[Sources], Cell]


@dataclass(frozen=True)
class Ask:
    """One value of an item.

    Attributes:
        name: what the value is.
        answer: reads it; gives a number (with a reason where there is none) or text that is not empty.
    """

    name: str
    answer: Answer


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: in the checklist.
        section: of a study's report, where it belongs.
        asked: what it asks for, in words of our own.
        asks: the values that answer it, one at least.
    """

    number: int
    section: str
    asked: str
    asks: tuple[Ask, ...]


def number(name: str, asset: str, pointer: str, unit: str = "", bounds: str = "") -> Ask:
    """A number of a report."""

    def answer(sources: Sources) -> Cell:
        return sources.number(asset, pointer, unit, bounds) if bounds else number_within(sources, asset, pointer, unit)

    return Ask(name, answer)


def text(name: str, asset: str, pointer: str) -> Ask:
    """Text of a report."""
    return Ask(name, lambda sources: said(sources, asset, pointer))


def names(name: str, asset: str, pointer: str) -> Ask:
    """The names of what an object of a report holds, one after the other."""
    return Ask(name, lambda sources: ", ".join(names_of(sources, asset, pointer)) or said(sources, asset, pointer))


def measures(name: str) -> Ask:
    """Titles of the measures that the evaluation gives with an interval."""

    def answer(sources: Sources) -> Cell:
        given = [title for key, title, _ in METRICS if sources.find("evaluation", f"/intervals/{key}") is not None]
        return ", ".join(given) or said(sources, "evaluation", "/intervals")

    return Ask(name, answer)


def rule(name: str, rule_name: str) -> Ask:
    """The limit of a rule of the promotion gate."""
    return Ask(name, lambda sources: sources.number("release_candidate", f"{rule_pointer(sources, rule_name)}/limit"))


def package(name: str, package_name: str) -> Ask:
    """Version of a package."""
    return Ask(name, lambda sources: version_of(sources, package_name))


def python(name: str) -> Ask:
    """Version of Python."""
    return Ask(name, python_version)


def count(name: str, asset: str, where: Mapping[str, str] | None = None) -> Ask:
    """Rows of a stored table that are such and such."""
    return Ask(name, lambda sources: sources.count(asset, where))


def distinct(name: str, asset: str, column: str, where: Mapping[str, str] | None = None) -> Ask:
    """Different values in a column of a stored table."""
    return Ask(name, lambda sources: sources.distinct(asset, column, where))


def shared(name: str, asset: str, column: str, over: str) -> Ask:
    """Values of a column of a stored table that occur with several values of another."""
    return Ask(name, lambda sources: sources.shared(asset, column, over))


def digest(name: str, asset: str) -> Ask:
    """SHA-256 of what is stored of an asset."""
    return Ask(name, lambda sources: sources.digest(asset) or f"{NOT_AVAILABLE}no {asset} is stored")


def no(name: str, reason: str, report: str = "") -> Ask:
    """A value that no report gives, until one called ``report`` is stored and is named instead."""

    def answer(sources: Sources) -> Cell:
        found = sources.digest(report) if report else None
        return f"see {report}, {found}" if found else NOT_AVAILABLE + reason

    return Ask(name, answer)
