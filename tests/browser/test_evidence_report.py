"""The evidence report in a real browser, opened as a file on a machine without a network: desk, phone, dark, paper."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accessibility import assert_accessible, assert_focus_is_seen
from pages_server import MARKS, Watched, chromium, load

from cxr_core.release.documents import DOCUMENTS
from cxr_core.release.report_html import html_page
from cxr_core.release.report_sources import Sources

__all__ = ["chromium"]

pytestmark = MARKS

Open = Callable[..., Watched]

_IMAGES = """async () => {
  const images = [...document.images];
  await Promise.all(images.map((image) => image.decode()));
  return images.map(({ naturalWidth, alt }) => [naturalWidth, alt]);
}"""

# What reaches beyond the page's edge and is not inside a box that scrolls.
_BEYOND = """(edge) => [...document.body.querySelectorAll("*:not(.skip)")]
  .filter((element) => element.getBoundingClientRect().right > edge + 0.5)
  .filter((element) => {
    for (let at = element.parentElement; at; at = at.parentElement) {
      if (getComputedStyle(at).overflowX === "auto") return false;
    }
    return true;
  })
  .map((element) => element.outerHTML.slice(0, 120))"""

_CARDS = """() => [...document.querySelectorAll(".card")].map((card) => getComputedStyle(card).backgroundColor)"""

_PAPER = 182 / 25.4 * 96  # CSS pixels of A4 between the margins of 14 mm


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with each kind of block, and hostile names in it."""
    made_up = load("core/release/made_up_reports.py")
    folder = tmp_path_factory.mktemp("report")
    path = folder / "evidence_report.html"
    path.write_text(html_page(made_up.every_block(made_up.opened(folder / "store"))))
    return path


@pytest.fixture
def open_file(chromium: Any) -> Iterator[Open]:
    """Opens a file in a browser without a network; nothing may be asked for or go wrong."""
    opened: list[tuple[Watched, str]] = []

    def open_one(path: Path, width: int = 1280, scheme: str = "light") -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, java_script_enabled=True
        )
        watched = Watched(context.new_page())
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        watched.page.on("console", lambda message: watched.complaints.append(message.text))
        watched.page.on("dialog", lambda dialog: (watched.complaints.append(dialog.message), dialog.dismiss()))
        watched.page.goto(path.as_uri())
        opened.append((watched, path.as_uri()))
        return watched

    yield open_one
    for watched, own in opened:
        watched.page.context.close()
        assert watched.complaints == []
        assert [url for url in watched.requests if url != own and not url.startswith("data:")] == []
        assert own in watched.requests


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"), (360, "light")]
)
def test_the_report_is_read_on_any_screen(open_file: Open, report: Path, width: int, scheme: str):
    page = open_file(report, width, scheme).page
    assert_accessible(page)
    assert page.evaluate(_BEYOND, width) == []
    assert page.evaluate(_IMAGES) == [[1200, 'ROC "curves"'], [200, "A small one"]]
    assert page.evaluate(_CARDS) == ["rgb(255, 255, 255)"] * 2
    levels = [int(tag[1]) for tag in page.locator("h1, h2, h3").evaluate_all("all => all.map((one) => one.tagName)")]
    assert levels == [1, 2, 2, 3, 2, 2]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")


def test_a_wide_table_scrolls_in_its_own_box(open_file: Open, report: Path):
    page = open_file(report, 390).page
    box = page.locator(".scroll").first
    assert box.evaluate("(box) => box.scrollWidth > box.clientWidth + 100")
    assert box.evaluate("(box) => (box.focus(), document.activeElement === box)")
    moved = box.evaluate("""(box) => new Promise((resolve) => {
      box.addEventListener("scroll", () => resolve(box.scrollLeft), { once: true });
      box.scrollBy(100, 0);
    })""")
    assert moved > 0
    assert page.evaluate("[scrollX, scrollY >= 0]") == [0, True]


def test_long_text_is_read_row_below_row_on_a_phone_and_stays_a_table(open_file: Open, report: Path):
    page = open_file(report, 390).page
    table = page.locator("table.stacked")
    assert table.evaluate("(table) => table.getBoundingClientRect().width <= innerWidth")
    assert table.get_by_role("row").count() == 10
    assert table.get_by_role("rowheader").count() == 9
    assert table.get_by_role("cell").count() == 27
    shown = table.locator("td").first.evaluate("(cell) => getComputedStyle(cell, '::before').content")
    assert shown in ('"passed" ": "', '"passed: "')


def test_the_keyboard_reaches_every_entry_and_box(open_file: Open, report: Path):
    page = open_file(report).page
    assert assert_focus_is_seen(page) >= 3 + 2  # entries of the contents, tables
    page.evaluate("document.activeElement.blur()")
    page.get_by_role("link", name="Figures").click()
    assert page.evaluate("location.hash") == "#figures"
    assert page.locator("#figures").evaluate("(it) => Math.abs(it.getBoundingClientRect().top) < 900")


def test_hostile_names_are_letters_on_the_page(open_file: Open, report: Path):
    page = open_file(report).page
    assert page.locator("script, main a, iframe, object").count() == 0
    assert page.get_by_role("rowheader", name="<script>alert(1)</script>").count() == 1
    assert page.evaluate("document.querySelectorAll('[onerror], [onmouseover]').length") == 0


def test_the_policy_stops_what_the_page_does_not_hold(open_file: Open, report: Path):
    watched = open_file(report)
    blocked = watched.page.evaluate("""() => new Promise((resolve) => {
      document.addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
      const image = document.createElement("img");
      image.src = "https://example.org/a.png";
      document.body.append(image);
    })""")
    assert blocked == "img-src"
    assert all("Content Security Policy" in complaint for complaint in watched.complaints)
    watched.complaints.clear()  # the browser's own word on what was just stopped
    watched.requests.remove("https://example.org/a.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_is_light_and_cuts_nothing_off(open_file: Open, report: Path, scheme: str):
    page = open_file(report, round(_PAPER), scheme).page
    data = page.pdf(prefer_css_page_size=True)
    assert data.startswith(b"%PDF")
    boxes = set(re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", _inflated(data)))
    assert {(round(float(width)), round(float(height))) for width, height in boxes} == {(595, 842)}  # points of A4
    page.emulate_media(media="print")
    assert page.evaluate(_BEYOND, _PAPER) == []
    assert page.evaluate("[...document.querySelectorAll('table')].every((table) => table.offsetWidth <= innerWidth)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.skip')).display") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('thead')).display") == "table-header-group"


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_real_sections_fit_a_phone_even_with_nothing_stored(open_file: Open, tmp_path: Path, kind: str):
    from cxr_core.store import ArtefactStore

    path = tmp_path / f"{kind}.html"
    path.write_text(html_page(DOCUMENTS[kind].build(Sources.open(ArtefactStore(tmp_path), {}))))
    page = open_file(path, 390).page
    assert_accessible(page)
    assert page.evaluate(_BEYOND, 390) == []


def _inflated(data: bytes) -> bytes:
    """A PDF with its compressed objects opened."""
    found = [data]
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.S):
        try:
            found.append(zlib.decompressobj().decompress(stream))
        except zlib.error:
            continue  # not compressed: it is in the file as it is
    return b"".join(found)
