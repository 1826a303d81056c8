"""A report says only what is stored: numbers lead back, foreign text stays text, equal reports give equal bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from made_up_reports import HOSTILE, every_block, made_up_store, opened

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.release.document import (
    COUNT,
    PERCENT,
    Document,
    Missing,
    Number,
    Paragraph,
    Picture,
    Section,
    Table,
    numbers_of,
)
from cxr_core.release.document_files import document_files, outdated
from cxr_core.release.document_numbers import clean, shown
from cxr_core.release.documents import DOCUMENTS, make_document
from cxr_core.release.report_html import html_page
from cxr_core.release.report_markdown import figure_files, markdown
from cxr_core.release.report_sources import Sources
from cxr_core.store import ArtefactStore

TAGS = {
    "a", "body", "caption", "data", "dd", "div", "dl", "dt", "figcaption", "figure", "footer", "h1", "h2", "h3", "head",
    "header", "html", "img", "li", "main", "meta", "nav", "ol", "p", "section", "span", "style", "table", "tbody", "td",
    "th", "thead", "title", "tr", "wbr",
}  # fmt: skip
VOID = {"img", "meta", "wbr"}


class Page(HTMLParser):
    """Elements of a page in their order, each with its attributes and all the text inside it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside: list[str] = []
        self.elements.append((tag, {name: value or "" for name, value in attrs}, inside))
        if tag not in VOID:
            self._open.append((tag, inside))

    def handle_endtag(self, tag: str) -> None:
        name, _ = self._open.pop()
        assert name == tag

    def handle_data(self, data: str) -> None:
        for _, inside in self._open:
            inside.append(data)

    def all(self, *tags: str) -> list[tuple[dict[str, str], str]]:
        return [(attributes, "".join(inside)) for tag, attributes, inside in self.elements if tag in tags]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return opened(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def document(sources: Sources) -> Document:
    return every_block(sources)


@pytest.fixture(scope="module")
def page(document: Document) -> Page:
    return Page(html_page(document))


def number(value: Any, low: Any = None, high: Any = None, unit: str = "") -> Number:
    return Number(value, low, high, unit, "a#/b")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (number(0.8123, 0.70, 0.91), "0.81 (0.70–0.91)"),
        (number(0.8123, 0.80, 0.83), "0.812 (0.800–0.830)"),
        (number(0.5, 0.49999, 0.50001), "0.5000 (0.5000–0.5000)"),
        (number(0.784, 0.701, 0.85, PERCENT), "78\u00a0% (70–85)"),
        (number(1.0, 0.907, 1.0, PERCENT), "100\u00a0% (91–100)"),
        (number(0.98, 0.968, 0.99, PERCENT), "98.0\u00a0% (96.8–99.0)"),
        (number(0.5, unit=PERCENT), "50.0\u00a0%"),
        (number(-0.0423, -0.12, 0.0012), "−0.04 (−0.12 to 0.00)"),
        (number(1.0), "1.000"),
        (number(11.0), "11"),
        (number(1234567), "1,234,567"),
        (number(56.0, unit=COUNT), "56"),
        (number(0, unit=COUNT), "0"),
        (number(12, 8, 17, COUNT), "12 (8–17)"),
        (number(9.0, unit="ms"), "9\u00a0ms"),
        (number(9.0, 8.2, 9.9, "ms"), "9.0\u00a0ms (8.2–9.9)"),
        (number(5.536e-6), "5.5×10⁻⁶"),
        (number(-0.00042), "−0.00042"),
        (number(-0.0), "0.000"),
        (number(12345.678), "12,346"),
        (Number(None, source="a#/b", reason="only 3 films"), "not available: only 3 films"),
    ],
)
def test_a_number_is_written_as_finely_as_its_interval_allows(given: Number, text: str):
    assert shown(given) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True])
def test_what_is_no_number_never_becomes_one(value: float):
    with pytest.raises(CxrError, match="no number"):
        number(value)


def test_every_number_of_the_page_is_the_stored_one(tmp_path: Path):
    store, artefacts = made_up_store(tmp_path)
    document = every_block(Sources.open(store, artefacts))
    report = json.loads((store.local_tree(artefacts["evaluation"]) / "evaluation.json").read_text())
    splits = store.read_table(artefacts["splits"])

    def stored(source: str) -> Any:
        asset, _, pointer = source.partition("#")
        if asset == "splits":
            return int(((splits["split"] == "test") & (splits["source"] == HOSTILE[0])).sum())
        found: Any = report
        for step in pointer.split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found

    seen = Page(html_page(document)).all("data")
    assert len(seen) == sum(found.value is not None for found in numbers_of(document)) > 80
    for (attributes, text), number in zip(
        seen, [found for found in numbers_of(document) if found.value is not None], strict=True
    ):
        entry = stored(number.source)
        value = entry["value"] if isinstance(entry, dict) else entry
        assert (float(attributes["value"]), attributes["data-source"]) == (value, clean(number.source))
        if number.low is not None:
            ends = stored(number.bounds) if number.bounds else entry
            assert (float(attributes["data-low"]), float(attributes["data-high"])) == (ends["low"], ends["high"])
        assert text == shown(number)


def test_a_source_names_its_number_wherever_it_is_read_again(sources: Sources, document: Document):
    for found in numbers_of(document):
        assert sources.resolve(found.source, found.unit, found.bounds) == found
    own_rows = sources.number("evaluation", "/rows/value")
    assert sources.resolve(own_rows.source) == own_rows
    assert own_rows.value == 3


@pytest.mark.parametrize(
    ("asset", "pointer", "reason"),
    [
        ("evaluation", "/overall/nowhere/deeper", "the report of evaluation holds no such number"),
        ("evaluation", "/overall/accuracy/deeper", "the report of evaluation holds no such number"),
        ("evaluation", "/empty", "the report of evaluation holds no such number"),
        ("evaluation", "/text", "the report of evaluation holds no such number"),
        ("evaluation", "", "the report of evaluation holds no such number"),
        ("mitigation", "/gain", "no report of mitigation is stored"),
        ("robustness", "/share", "the report of robustness is of another model"),
        ("splits", "/accuracy", "the report of splits holds no such number"),
    ],
)
def test_a_number_that_is_not_there_says_why(sources: Sources, asset: str, pointer: str, reason: str):
    found = sources.number(asset, pointer)
    assert (found.value, found.reason) == (None, reason)


def test_a_stored_reason_is_handed_on(sources: Sources):
    name = HOSTILE[4]
    assert sources.number("evaluation", f"/per~1source/{name}/~0").reason == f"no films of {name}"


def test_reports_of_another_model_never_meet_in_one_document(tmp_path: Path):
    store, artefacts = made_up_store(tmp_path, model="e" * 64)
    sources = Sources.open(store, artefacts)
    assert sources.report("evaluation") == {}
    assert sources.figure("evaluation", "small") is None
    picture = sources.picture("evaluation", "small", "alt", "caption")
    assert picture == Missing("the report of evaluation is of another model")
    assert "not available: the report of evaluation is of another model" in html_page(every_block(sources))


def test_foreign_text_stays_text_on_the_page(page: Page):
    assert {tag for tag, *_ in page.elements} <= TAGS
    for tag, attributes, _ in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert attributes.get("href", "#").startswith("#")
        assert "style" not in attributes
    shown_texts = {text for _, text in page.all("th")}
    for name in HOSTILE:
        assert clean(name) in shown_texts
    assert not re.search("[\x00-\x08\u202e]", "".join(text for _, text in page.all("body")))


def test_foreign_text_stays_text_in_markdown(document: Document):
    text = markdown(document)
    assert "<" not in text
    assert not re.search(r"(?<!\\)[!]?\[[^]]*\]\((?!figures-)", text)  # no link but to the figures
    assert "://" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    assert set(widths) == {12, 5}  # the bar in a name splits no cell
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# Evidence &lt;report&gt;"]
    assert "\\# heading \\{braces\\}" in text
    assert "\\- point ---" in text
    assert "- without text: –\n" in text


def test_the_page_asks_for_nothing(document: Document):
    text = html_page(document)
    style = re.search("<style>(.*)</style>", text, re.S)
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert style is not None
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1].startswith(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}';")
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "<script" not in text
    assert "<link" not in text


def test_nothing_on_the_page_is_empty(page: Page):
    for tag in ("p", "td", "th", "dd", "dt", "li", "h1", "h2", "h3", "caption", "figcaption"):
        assert [text for _, text in page.all(tag) if not text.strip()] == []
    body = "".join(text for _, text in page.all("main"))
    for reason in ("no film was wrong", "there are no rows", "there are no facts", "the section is empty"):
        assert f"not available: {reason}" in body


def test_the_page_is_ordered_for_those_who_hear_it(page: Page, document: Document):
    levels = [int(tag[1]) for tag, *_ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    names = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    asked = [attributes["aria-labelledby"] for _, attributes, _ in page.elements if "aria-labelledby" in attributes]
    assert set(asked) <= set(names)
    assert [attributes["href"] for attributes, _ in page.all("a")] == ["#content", "#scores", "#figures", "#nothing"]
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert all(attributes["scope"] in ("col", "row") for attributes, _ in page.all("th"))
    assert [attributes["alt"] for attributes, _ in page.all("img")] == ['ROC "curves"', "A small one"]
    notices = [text for attributes, text in page.all("p") if attributes.get("class") == "notice"]
    assert notices == [NOTICE, NOTICE]


def test_figures_of_the_markdown_are_files_beside_it(document: Document):
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown(document))
    assert linked == list(figure_files(document)) == ["figures-1.png", "figures-2.png"]
    alone = markdown(document, figures=False)
    assert "](" not in alone.replace("\\](", "")
    assert '*Figure: ROC "curves"*' in alone


def test_equal_reports_give_equal_bytes(tmp_path: Path):
    found = []
    for name in ("one", "two"):
        store, artefacts = made_up_store(tmp_path / name)
        order = sorted(artefacts, reverse=name == "two")
        sources = Sources.open(store, {asset: artefacts[asset] for asset in order})
        assert list(sources.names) == sorted(artefacts)
        found.append(document_files(every_block(sources), sources, "evidence_report"))
    assert found[0] == found[1]
    assert set(found[0]) == {
        "evidence_report.html", "evidence_report.md", "evidence_report.json", "figures-1.png", "figures-2.png",
    }  # fmt: skip


def test_the_record_names_inputs_and_each_number(sources: Sources, document: Document):
    record = json.loads(document_files(document, sources, "evidence_report")["evidence_report.json"])
    assert record["trained_model"] == sources.digest("trained_model")
    assert record["inputs"] == {name: sources.digest(name) for name in sources.names}
    assert [entry["value"] for entry in record["numbers"]] == [found.value for found in numbers_of(document)]
    assert record["numbers_available"] + record["numbers_not_available"] == len(record["numbers"])
    assert outdated(record, sources) == []
    assert outdated({"inputs": {**record["inputs"], "evaluation": "0", "gone": "1"}}, sources) == ["evaluation", "gone"]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_over_an_empty_store_says_what_is_missing(kind: str, tmp_path: Path):
    store = ArtefactStore(tmp_path)
    artefact, document = make_document(DOCUMENTS[kind], store, {})
    assert artefact == make_document(DOCUMENTS[kind], store, {})[0]
    assert [
        found.source
        for found in numbers_of(document)
        if found.value is not None and not found.source.startswith("technical_report#")
    ] == []
    page = Page((store.local_tree(artefact) / f"{kind}.html").read_text())
    assert [text for _, text in page.all("td", "dd", "p") if not text.strip()] == []


def test_the_card_travels_with_the_package_and_the_report_judges_it():
    assert "release_candidate" not in DOCUMENTS["model_card"].inputs
    assert set(DOCUMENTS["evidence_report"].inputs) == {*DOCUMENTS["model_card"].inputs, "release_candidate"}


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Paragraph("{a} of {b}", {"a": "x"}), "is given"),
        (lambda: Table(("a", "b"), (("x",),), "Short."), "Short"),
        (lambda: Picture(b"GIF89a", "alt", "A gif."), "A gif"),
        (lambda: Section("No Key", "Title", ()), "No Key"),
        (lambda: Document("T", "", (Section("a", "A", ()), Section("a", "B", ()))), "'a'"),
        (lambda: Number(1.0, source="typed by hand"), "typed by hand"),
        (lambda: Number(None, source="a#/b"), "a value or a reason"),
    ],
)
def test_a_block_that_cannot_be_shown_is_refused_when_it_is_made(make: Any, names: str):
    with pytest.raises(CxrError, match=names):
        make()
