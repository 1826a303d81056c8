"""The evidence report's sections and the model card: traceable numbers, reasons for what is missing, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import evidence_store as made
import numpy as np
import pytest

from cxr_core.release.document import Document, Missing, Number, Paragraph, Section, Table, numbers_of, pieces
from cxr_core.release.model_card import model_card
from cxr_core.release.report_html import html_page
from cxr_core.release.report_markdown import markdown
from cxr_core.release.report_sections import SECTIONS
from cxr_core.release.report_sources import Sources
from cxr_core.store import Artefact, ArtefactStore

Filled = tuple[ArtefactStore, dict[str, Artefact]]


@pytest.fixture(scope="module")
def whole(filled: Filled) -> tuple[Document, ...]:
    """Report and card of the whole store."""
    return tuple(_documents(made.without(*filled)))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """The store of :mod:`evidence_store`."""
    return made.fill(tmp_path_factory.mktemp("evidence") / "store")


def _report(sources: Sources) -> Document:
    return Document("Evidence report", "", tuple(build(sources) for build in SECTIONS))


def _documents(sources: Sources) -> Iterator[Document]:
    yield _report(sources)
    yield model_card(sources)


def _texts(document: Document) -> Iterator[str]:
    """Every text that a builder put into a document: templates, names, cells, captions, reasons."""
    for section in document.sections:
        yield section.title
        for block in section.blocks:
            if isinstance(block, Paragraph):
                yield "".join(piece for piece in pieces(block) if isinstance(piece, str))
            elif isinstance(block, Table):
                yield block.caption
                yield from block.columns
                yield from (cell for row in block.rows for cell in row if isinstance(cell, str))
            elif isinstance(block, Missing):
                yield block.reason
    yield from (number.reason for number in numbers_of(document) if number.value is None)


def _section(sources: Sources, key: str) -> Section:
    return next(section for build in SECTIONS if (section := build(sources)).key == key)


def _pointed(reports: Mapping[str, Any], source: str) -> Any:
    """What a source names, followed here by hand and not by the code under test."""
    asset, _, pointer = source.partition("#")
    found: Any = reports[asset]
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found["value"] if isinstance(found, dict) else found


def test_every_number_is_the_one_that_stands_where_its_source_points(whole: tuple[Document, ...]) -> None:
    reports, seen = made.reports(), 0
    for document in whole:
        for number in numbers_of(document):
            asset, pointer = number.source.split("#")
            if number.value is None or asset == "technical_report" or re.match("/(rows|distinct|shared)", pointer):
                continue
            assert number.value == _pointed(reports, number.source), number
            seen += 1
    assert seen > 400


def test_every_number_is_read_again_from_its_source(filled: Filled, whole: tuple[Document, ...]) -> None:
    sources = made.without(*filled)
    for document in whole:
        for number in numbers_of(document):
            assert sources.resolve(number.source, number.unit, number.bounds) == number


def test_intervals_stand_beside_the_scores(filled: Filled) -> None:
    table = next(block for block in _section(made.without(*filled), "metrics").blocks if isinstance(block, Table))
    scores = [cell for row in table.rows for cell in row if isinstance(cell, Number)]
    assert scores
    assert all(cell.low is not None and cell.high is not None for cell in scores)


@pytest.mark.parametrize(
    ("section", "row", "column", "source"),
    [
        ("metrics", "macro F1", "mean over sources", "evaluation#/macro_over_sources/macro_f1"),
        ("metrics", "Pneumonia", "specificity", "evaluation#/intervals/per_class/Pneumonia/specificity"),
        ("metrics", "Pneumonia", "called Normal", "evaluation#/overall/confusion/1/0"),
        ("metrics", "south/annex", "accuracy", "evaluation#/per_source/south~1annex/intervals/accuracy"),
        ("labels", "Normal", "recall of a perfect classifier", "label_audit#/classes/Normal/perfect_recall"),
        ("labels", "Normal", "recall of the model", "label_audit#/classes/Normal/model_recall"),
        ("operating_points", "tb sensitivity 90", "sensitivity on validation",
         "operating_points#/points/0/sensitivity"),
        ("operating_points", "tb sensitivity 90", "specificity on test",
         "operating_point_report#/points/tb_sensitivity_90/pooled/specificity"),
        ("calibration", "temperature", "calibration error", "calibrated_model#/after/expected_calibration_error"),
        ("calibration", "temperature", "mean of a perfectly calibrated model", "calibrated_model#/after/null/mean"),
        ("calibration", "temperature", "its 95 % bound", "calibrated_model#/after/null/high"),
        ("prediction_sets", "one quantile", "coverage", "uncertainty#/prediction_sets/marginal/all/coverage"),
        ("shortcut", "ring of the frame", "its macro AUC on test", "shortcut_audit#/model/views/border/view_auc"),
        ("subgroups", "source: north", "gap at the same mix", "subgroup_report#/strata/0/standardised_gap"),
        ("failures", "Normal", "share of the errors", "failure_report#/pairs/0/of_errors"),
        ("robustness", "clinical", "macro AUC", "robustness#/conditions/clinical/macro_auc"),
        ("robustness", "severe", "change of accuracy", "robustness#/conditions/severe/difference/accuracy"),
        ("robustness", "gamma", "above the clean error", "robustness#/corruptions/gamma/excess_error"),
        ("shift", "cosine distance", "between halves of clean films", "embedding_shift#/distances/cosine/halves"),
        ("shift", "cosine distance", "distance first",
         "embedding_shift#/early_warning/other_films/cosine/counts/earlier"),
        ("mitigation", "test-time augmentation", "on clean films",
         "mitigation#/arms/tta/conditions/clean/gain/accuracy"),
        ("explanation", "Grad-CAM", "maps that know nothing", "faithfulness#/methods/gradcam/deletion/random/overall"),
        ("explanation", "all phantoms", "median Dice", "lung_segmentation#/quality/overall/dice"),
    ],
)  # fmt: skip
def test_a_number_stands_under_its_own_heading(
    whole: tuple[Document, ...], section: str, row: str, column: str, source: str
) -> None:
    found = [
        line[block.columns.index(column)]
        for part in whole[0].sections
        if part.key == section
        for block in part.blocks
        if isinstance(block, Table) and column in block.columns
        for line in block.rows
        if line[0] == row
    ]
    assert isinstance(found[0], Number)
    assert found[0].source == source


def test_counts_over_tables_are_those_of_pandas(filled: Filled) -> None:
    store, artefacts = filled
    index, dealt = (store.read_table(artefacts[name]) for name in ("image_index", "splits"))
    sources = made.without(*filled)
    accepted = index[index["status"] == "accepted"]
    first = next(block for block in _section(sources, "data").blocks if isinstance(block, Paragraph))
    known = {name: cell.value for name, cell in first.numbers.items() if isinstance(cell, Number)}
    assert known == {
        "files": len(index),
        "accepted": len(accepted),
        "copies": int((index["status"] == "duplicate").sum()),
        "quarantined": int((index["status"] == "quarantined").sum()),
        "sources": accepted["source"].nunique(),
        "groups": accepted["group_id"].nunique(),
        "known": int(accepted["patient_known"].sum()),
    }
    parts = next(block for block in _section(sources, "splits").blocks if isinstance(block, Table))
    test = next(row for row in parts.rows if row[0] == "test")
    rows = dealt[dealt["split"] == "test"]
    assert [cell.value for cell in test[1:3] if isinstance(cell, Number)] == [len(rows), rows["group_id"].nunique()]


def test_a_patient_in_two_parts_is_counted_as_a_leak(filled: Filled) -> None:
    leaks = {row[0]: row[1] for block in _section(made.without(*filled), "leaks").blocks
             if isinstance(block, Table) for row in block.rows}  # fmt: skip
    crossing = leaks["patient groups in more than one part"]
    sentence = next(b for b in _section(made.without(*filled), "splits").blocks if isinstance(b, Paragraph))
    said = sentence.numbers["shared"]
    for number in (crossing, said):
        assert isinstance(number, Number)
        assert number.value == 1


@pytest.mark.parametrize("missing", [*sorted({*made.reports(), "image_index", "splits"}), "everything"])
def test_what_is_missing_gives_reasons_and_no_section_is_empty(
    filled: Filled, whole: tuple[Document, ...], missing: str
) -> None:
    store, artefacts = filled
    sources = made.without(store, artefacts, *(artefacts if missing == "everything" else [missing]))
    for document, complete in zip(_documents(sources), whole, strict=True):
        assert [section.key for section in document.sections] == [section.key for section in complete.sections]
        assert all(section.blocks for section in document.sections)
        for block in (block for section in document.sections for block in section.blocks):
            assert not isinstance(block, Table) or block.rows, block.caption
        assert all(number.reason for number in numbers_of(document) if number.value is None)
        assert all(text.strip() for text in _texts(document))
        assert not any(f"{missing}#" in number.source for number in numbers_of(document) if number.value is not None)


def test_a_report_that_is_not_there_is_named_where_it_would_stand(filled: Filled) -> None:
    section = _section(made.without(*filled, "faithfulness"), "explanation")
    assert "no report of faithfulness is stored" in {
        block.reason for block in section.blocks if isinstance(block, Missing)
    }


def test_a_report_of_another_model_says_so_and_gives_nothing(filled: Filled) -> None:
    store, artefacts = filled
    report = {**made.reports()["evaluation"], "trained_model": "0" * 64}
    other = store.write_report("evaluation", "evaluation.json", report, {})
    section = _section_only(Sources.open(store, {**artefacts, "evaluation": other}), "metrics")
    assert all(number.value is None for number in numbers_of(section))
    assert any("another model" in text for text in _texts(section))


def test_a_value_that_is_not_available_says_the_reports_own_reason(filled: Filled) -> None:
    sources = made.without(*filled)
    assert "lesions: these films have no true lesions" in set(_texts(_section_only(sources, "explanation")))
    assert "the stratum has 5 films" in set(_texts(_section_only(sources, "subgroups")))


def test_a_point_that_was_not_fixed_says_why_in_every_cell(filled: Filled) -> None:
    store, artefacts = filled
    gone = {
        "reason": "2 films of Tuberculosis; 10 or more are needed",
        "pooled": None,
        "point": {"label": "Tuberculosis"},
    }
    report = {"points": {"tb_sensitivity_90": gone}, "trained_model": artefacts["trained_model"].digest}
    other = store.write_report("operating_point_report", "operating_point_report.json", report, {})
    sources = Sources.open(store, {**artefacts, "operating_point_report": other})
    reasons = [n.reason for n in numbers_of(_section_only(sources, "operating_points")) if n.value is None]
    assert reasons == [gone["reason"]] * 4


def test_no_nan_is_ever_shown(filled: Filled) -> None:
    store, artefacts = filled
    broken = json.dumps(made.reports()["evaluation"])
    for number in sorted({str(leaf) for leaf in made.leaves(made.reports()["evaluation"]) if leaf < 1}):
        broken = broken.replace(f": {number},", ": NaN,")
    assert "NaN" in broken
    for name, text in (("evaluation", broken), ("robustness", '{"conditions": {"clean": {"accuracy": Infinity}}}')):
        sources = Sources.open(store, {**artefacts, name: made.write_raw(store, name, text)})
        for document in _documents(sources):
            assert all(number.value is None or abs(number.value) < 1e6 for number in numbers_of(document))
            shown = re.sub(r"<style>.*?</style>", "", html_page(document), flags=re.S) + markdown(document)
            assert not re.search(r"\b(nan|inf|infinity)\b", shown, flags=re.I)


def test_no_name_of_a_file_or_patient_is_in_a_document(filled: Filled, whole: tuple[Document, ...]) -> None:
    assert made.PATIENT in " ".join(filled[0].read_table(filled[1]["image_index"])["file"])
    for document in whole:
        assert made.PATIENT not in html_page(document) + markdown(document)


def test_verdicts_are_quoted_word_for_word_and_the_gate_is_told(filled: Filled) -> None:
    texts = set(_texts(_section_only(made.without(*filled), "summary")))
    assert "The promotion gate rejected this model." in texts
    assert {"94% of the score is had without lungs.", "Of 32 tuberculosis films 100.0% are flagged."} <= texts
    failed = set(_texts(_section_only(made.without(*filled), "limits")))
    assert "16.8% of the labels are wrong." in failed
    assert "Of 32 tuberculosis films 100.0% are flagged." not in failed


def _section_only(sources: Sources, key: str) -> Document:
    return Document("", "", (_section(sources, key),))


@pytest.mark.parametrize("passed", [True, False])
def test_the_gates_decision_is_that_of_the_package(filled: Filled, passed: bool) -> None:
    store, artefacts = filled
    manifest = {"gate": {"passed": passed, "rules": []}}
    other = store.write_report("release_candidate", "manifest.json", manifest, {})
    texts = list(_texts(_section_only(Sources.open(store, {**artefacts, "release_candidate": other}), "summary")))
    assert f"The promotion gate {'passed' if passed else 'rejected'} this model." in texts


def test_no_text_needs_the_projects_own_shorthand(whole: tuple[Document, ...]) -> None:
    assert not [text for document in whole for text in _texts(document) if "TRAPS" in text]


def test_no_sentence_praises(whole: tuple[Document, ...]) -> None:
    praise = r"\b(good|strong|excellent|outstanding|robust|reliable|superior|impressive|perfect|safe)\b"
    for document in whole:
        for text in _texts(document):
            found = re.search(praise, text.replace("perfect classifier", "").replace("perfectly calibrated", ""), re.I)
            assert not found, text


def test_equal_stores_give_equal_documents(filled: Filled, whole: tuple[Document, ...]) -> None:
    assert tuple(_documents(made.without(*filled))) == whole


def test_the_card_has_every_section_of_mitchell(filled: Filled) -> None:
    titles = [section.title for section in model_card(made.without(*filled)).sections]
    asked = ["Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
             "Quantitative analyses", "Ethical considerations", "Caveats and recommendations"]  # fmt: skip
    assert titles == asked


def test_commands_of_the_report_are_in_the_makefile(filled: Filled) -> None:
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    tables = [b for b in _section(made.without(*filled), "reproduce").blocks if isinstance(b, Table)]
    commands = [str(row[1]) for table in tables if table.columns == ("to", "run") for row in table.rows]
    assert len(commands) == 4
    for command in commands:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.M), command


def test_versions_are_those_of_a_stored_environment_else_those_installed(filled: Filled) -> None:
    store, artefacts = filled

    def shown(sources: Sources) -> dict[str, str]:
        tables = [b for b in _section(sources, "reproduce").blocks if isinstance(b, Table)]
        return {str(row[0]): str(row[1]) for b in tables if b.columns == ("package", "version") for row in b.rows}

    assert shown(made.without(store, artefacts))["numpy"] == np.__version__
    stored = store.write_json("environment", {"python": "3.11.0", "packages": {"numpy": "1.2.3"}})
    assert shown(Sources.open(store, {**artefacts, "environment": stored})) == {"numpy": "1.2.3"}
