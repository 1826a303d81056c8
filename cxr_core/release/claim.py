"""The CLAIM 2024 checklist, filled from the stored reports: each item a value or "not available: reason"."""

from __future__ import annotations

from cxr_core.release.claim_answers import Item
from cxr_core.release.claim_items import ITEMS_OF_METHODS
from cxr_core.release.claim_items_results import ITEMS_OF_RESULTS
from cxr_core.release.document import Block, Cell, Section, Table
from cxr_core.release.report_sources import Sources

__all__ = ["ITEMS", "answers", "checklist"]

ITEMS: tuple[Item, ...] = (*ITEMS_OF_METHODS, *ITEMS_OF_RESULTS)


def answers(sources: Sources, item: Item) -> list[tuple[str, Cell]]:
    """The values that answer an item, each with its name; never none, never empty."""
    return [(ask.name, ask.answer(sources)) for ask in item.asks]


def checklist(sources: Sources) -> Section:
    """All 44 items by section of a study's report."""
    blocks: list[Block] = []
    for section in dict.fromkeys(item.section for item in ITEMS):
        rows: list[tuple[Cell, ...]] = [
            (f"{item.number}. {item.asked}", name, value)
            for item in ITEMS
            if item.section == section
            for name, value in answers(sources, item)
        ]
        blocks.append(Table(("item", "value", "answer"), tuple(rows), section))
    return Section("claim", "CLAIM 2024 checklist", tuple(blocks))
