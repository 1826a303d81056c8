"""What the technical report printed beside what is measured here, and where it contradicts itself."""

from __future__ import annotations

from cxr_core.release.document import Block, Cell, Heading, Missing, Number, Paragraph, Section, Table
from cxr_core.release.published_contradictions import contradictions, printed
from cxr_core.release.published_figure import Published
from cxr_core.release.published_figures import PUBLISHED
from cxr_core.release.report_sections_common import NOT_AVAILABLE, as_table, entries, rule_pointer
from cxr_core.release.report_sections_groups import claim_rows
from cxr_core.release.report_sources import Sources

__all__ = ["beside_ours", "ours", "published"]

_LAST, _RULES = "/last/", "/gate/rules/"


def ours(sources: Sources, figure: Published) -> Number | str:
    """Our number of the quantity that a printed figure gives, or ``not available: reason``."""
    if not figure.ours:
        return NOT_AVAILABLE + figure.absent
    asset, pointer = figure.ours
    if _LAST in pointer:
        listed, _, rest = pointer.partition(_LAST)
        pointer = f"{listed}/{max(len(entries(sources, asset, listed)) - 1, 0)}/{rest}"
    if pointer.startswith(_RULES):
        pointer = rule_pointer(sources, pointer.split("/")[3]) + "/limit"
    return sources.number(asset, pointer, figure.unit, figure.bounds)


def beside_ours(sources: Sources) -> Table:
    """Every printed figure: section, quantity, printed value, ours with its interval."""
    rows: list[tuple[Cell, ...]] = [
        (figure.section, figure.title, printed(figure.key), ours(sources, figure)) for figure in PUBLISHED
    ]
    return Table(
        ("section", "quantity", "printed", "here"),
        tuple(rows),
        "Figures that the technical report printed beside those measured here, on other films and with another model.",
    )


def published(sources: Sources) -> Section:
    """The table, the claims that a report here tested, and the contradictions of the report's own figures."""
    claims = [row for asset in ("subgroup_report", "failure_report") for row in claim_rows(sources, asset)]
    found: list[Block] = [Paragraph(one.text, dict(one.numbers)) for one in contradictions() if one.stands]
    blocks: list[Block] = [
        beside_ours(sources),
        as_table(
            ["claim", "section", "measured here", "finding"],
            claims,
            "Claims of the technical report that were tested here.",
            "no report of subgroups or failures is stored",
        ),
        Heading("Where its own figures contradict each other"),
        *(found or [Missing("no contradiction was found")]),
    ]
    return Section("published", "The technical report's figures", tuple(blocks))
