"""The CLAIM 2024 checklist: 44 items, each with a value or the reason why there is none."""

from __future__ import annotations

from pathlib import Path

import evidence_store as made
import pytest

from cxr_core.release.claim import ITEMS, answers, checklist
from cxr_core.release.document import Number, Table
from cxr_core.release.report_sources import Sources
from cxr_core.store import ArtefactStore

Filled = tuple[ArtefactStore, dict]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return made.fill(tmp_path_factory.mktemp("claim") / "store")


def test_the_items_are_the_44_of_the_checklist_in_order() -> None:
    assert [item.number for item in ITEMS] == list(range(1, 45))
    order = list(dict.fromkeys(item.section for item in ITEMS))
    first = {section: next(item.number for item in ITEMS if item.section == section) for section in order}
    # Where the checklist begins its sections (Tejani et al. 2024, table 1).
    assert first == {
        "Title and abstract": 1, "Introduction": 3, "Methods: study design": 5, "Methods: data": 7,
        "Methods: reference standard": 14, "Methods: partitions": 19, "Methods: test data": 21, "Methods: model": 22,
        "Methods: training": 25, "Methods: evaluation": 28, "Results: data": 35, "Results: performance": 37,
        "Discussion": 40, "Other": 42,
    }  # fmt: skip


@pytest.mark.parametrize("whole", [True, False])
def test_no_item_is_empty(filled: Filled, whole: bool) -> None:
    sources = made.without(filled[0], filled[1] if whole else {})
    for item in ITEMS:
        found = answers(sources, item)
        assert found, item.number
        for name, cell in found:
            assert name.strip(), item.number
            if isinstance(cell, Number):
                assert (cell.value is None) == bool(cell.reason), item.number
            else:
                assert cell.strip(), (item.number, name)
                assert cell.removeprefix("not available:").strip(), (item.number, name)


def test_most_items_are_answered_by_a_report(filled: Filled) -> None:
    sources = made.without(*filled)
    answered = [item.number for item in ITEMS if any(_is_there(cell) for _, cell in answers(sources, item))]
    # Study design, reason of the reference, registration and funding are known to no report.
    assert sorted(set(range(1, 45)) - set(answered)) == [5, 15, 34, 44]
    nothing = made.without(filled[0], {})
    assert [item.number for item in ITEMS if any(_is_there(cell) for _, cell in answers(nothing, item))] == [23]


def _is_there(cell: object) -> bool:
    return cell.value is not None if isinstance(cell, Number) else not str(cell).startswith("not available: ")


def test_an_answer_is_the_number_of_the_report(filled: Filled) -> None:
    found = dict(answers(made.without(*filled), ITEMS[36]))
    entry = made.reports()["evaluation"]["intervals"]["macro_f1"]
    cell = found["macro F1"]
    assert isinstance(cell, Number)
    assert (cell.value, cell.low, cell.high) == (entry["value"], entry["low"], entry["high"])
    parts = dict(answers(made.without(*filled), ITEMS[19]))
    crossing = parts["patient groups in several parts"]
    assert isinstance(crossing, Number)
    assert crossing.value == 1


def test_a_report_that_comes_later_takes_a_reason_away(filled: Filled, tmp_path: Path) -> None:
    store, artefacts = filled
    external = store.write_json("external_evaluation", {"accuracy": 0.5})
    sources = Sources.open(store, {**artefacts, "external_evaluation": external})
    assert dict(answers(sources, ITEMS[32]))["external films"] == f"see external_evaluation, {external.digest}"


def test_the_section_has_a_row_for_every_answer(filled: Filled) -> None:
    sources = made.without(*filled)
    rows = [row for block in checklist(sources).blocks if isinstance(block, Table) for row in block.rows]
    assert len(rows) == sum(len(item.asks) for item in ITEMS)
    assert list(dict.fromkeys(str(row[0]).partition(".")[0] for row in rows)) == [str(n) for n in range(1, 45)]
