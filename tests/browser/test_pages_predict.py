"""The predict page in a real browser, over a really served bento."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from accessibility import assert_accessible, assert_focus_is_seen
from pages_server import MARKS, SAMPLES, Served, Watched, chromium, load, open_page, served, use_key
from PIL import Image

__all__ = ["chromium", "open_page", "served"]

pytestmark = MARKS

Open = Callable[..., Watched]

# Everything in which a page could keep a text beyond its own memory, and its address.
_KEPT = """async () => JSON.stringify([
  {...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state, window.name,
  await indexedDB.databases(), await caches.keys(), document.documentElement.outerHTML,
  [...document.querySelectorAll("input, textarea")].map((field) => field.value),
])"""

_DROP = """([files, type]) => {
  const transfer = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
  }
  const target = document.getElementById("drop");
  if (type === "paste") {
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
    return;
  }
  for (const step of ["dragenter", "dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(step, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""


def give(page: Any, files: dict[str, bytes], way: str = "drop") -> None:
    """Let files fall on the page, or paste them, as a person would."""
    page.evaluate(_DROP, [[[name, base64.b64encode(data).decode()] for name, data in files.items()], way])


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.png").read_bytes()


def rows(page: Any) -> list[str]:
    return [text.replace("\n", " ") for text in page.locator("#list li").all_inner_texts()]


def wait_done(page: Any, count: int) -> None:
    ended = "#list li:is([data-state=done], [data-state=refused])"
    page.wait_for_function("([ended, count]) => document.querySelectorAll(ended).length === count", arg=[ended, count])


def answer_of(served: Served, data: bytes) -> dict[str, Any]:
    with served.client() as client:
        answer = client.post("/predict", files={"file": ("film", data)})
        assert answer.status_code == 200
        return dict(answer.json())


def told(served: Served, data: bytes) -> str:
    """What the list says of a film."""
    answer = answer_of(served, data)
    return f"{answer['prediction']}, {100 * answer['confidence']:.1f} %"


def test_a_film_waits_for_a_key_and_the_page_says_so(open_page: Open, served: Served) -> None:
    page = open_page().page
    page.get_by_role("button", name="Normal", exact=True).click()
    page.get_by_role("alert").get_by_text("Enter an API key to send the films.").wait_for()
    assert "Waiting" in rows(page)[0]
    use_key(page, served.keys["technician"])
    wait_done(page, 1)
    assert page.get_by_role("alert").is_hidden()


@pytest.mark.parametrize(
    ("key", "sentence"),
    [("", "Enter an API key first."), ("wrong", "The service does not accept this key"), ("a b", "no spaces")],
)
def test_a_key_that_does_not_fit_is_told_and_not_used(open_page: Open, key: str, sentence: str) -> None:
    watched = open_page()
    page = watched.page
    page.get_by_role("textbox", name="API key").fill(key)
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text(sentence).wait_for()
    assert page.evaluate("document.activeElement.id") == "key"
    assert page.get_by_role("button", name="Forget key").is_hidden()
    asked = [url for url in watched.requests if url.endswith("/model")]
    assert len(asked) == (1 if key == "wrong" else 0)


def test_a_synthetic_film_is_shown_with_the_service_s_own_numbers(open_page: Open, served: Served) -> None:
    page = open_page().page
    use_key(page, served.keys["radiologist"])
    page.get_by_role("button", name="Tuberculosis", exact=True).click()
    wait_done(page, 1)
    expected = answer_of(served, sample("tuberculosis"))
    shown = page.locator("#answer")
    assert shown.get_by_role("heading").first.inner_text() == expected["prediction"]
    bars = shown.get_by_role("list", name="Probabilities").get_by_role("listitem").all_inner_texts()
    assert [bar.split("\n") for bar in bars] == [
        [label, f"{100 * share:.1f} %"] for label, share in expected["probabilities"].items()
    ]
    text = shown.inner_text()
    assert f"Confidence {100 * expected['confidence']:.1f} %" in text
    assert f"{expected['uncertainty']['entropy']:.2f}" in text
    assert f"{expected['model']['name']} {expected['model']['version']}" in text
    assert expected["model"]["digest"][:12] in text
    assert all(warning["message"] in text for warning in expected["warnings"])
    film = page.get_by_role("img", name="Film Synthetic film: tuberculosis")
    assert film.evaluate("image => image.complete && image.naturalWidth") == 448


def test_set_flag_and_calibration_are_the_service_s_own(open_page: Open, served: Served) -> None:
    page = open_page().page
    use_key(page, served.keys["radiologist"])
    page.get_by_role("button", name="Tuberculosis", exact=True).click()
    wait_done(page, 1)
    said = answer_of(served, sample("tuberculosis"))["parts"]
    point, shown = said["operating_points"]["tb_sensitivity_90"], page.locator("#answer")
    chips = shown.get_by_role("list", name="Prediction set").get_by_role("listitem").all_inner_texts()
    assert chips == said["prediction_sets"]["labels"]
    assert point["flagged"]
    probability, threshold = (f"{100 * point[name]:.1f}" for name in ("probability", "threshold"))
    notice = shown.get_by_role("list", name="Read first").inner_text().replace("\u00a0", " ")
    assert notice == f"TB flag\nTuberculosis {probability} % is at or above the threshold of {threshold} %."
    assert ", TB flag, " in rows(page)[0]
    assert f"Calibrated on {said['calibration']['films']} films (temperature 1.5)." in shown.inner_text()
    mark, track = (shown.locator("li", has_text="Tuberculosis").locator(part).first for part in (".mark", ".track"))
    boxes = [part.evaluate("part => { const b = part.getBoundingClientRect(); return [b.x, b.width]; }")
             for part in (mark, track)]  # fmt: skip
    at = (boxes[0][0] + boxes[0][1] / 2 - boxes[1][0]) / boxes[1][1]
    assert at == pytest.approx(point["threshold"], abs=0.02)


def answer_with(page: Any, changes: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Have the service's answers changed on their way to the page."""

    def handle(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=json.dumps({**answer.json(), **changes(answer.json())}))

    page.route("**/predict/explain*", handle)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_must_be_read_first_stands_above_the_prediction(open_page: Open, served: Served, scheme: str) -> None:
    page = open_page(scheme=scheme).page
    use_key(page, served.keys["radiologist"])
    warnings = [{"code": code, "message": f"Sentence of {code}."}
                for code in ("low_confidence", "several_labels", "tb_flag", "not_a_chest_film")]  # fmt: skip
    answer_with(page, lambda _: {"warnings": warnings})
    page.get_by_role("button", name="Normal", exact=True).click()
    wait_done(page, 1)
    shown = page.locator("#answer")
    notices = shown.get_by_role("list", name="Read first").get_by_role("listitem")
    assert [text.split("\n")[0] for text in notices.all_inner_texts()] == ["Perhaps no chest film", "TB flag"]
    assert "Sentence of not_a_chest_film." in notices.first.inner_text()
    prediction = shown.get_by_role("heading").first.bounding_box()
    last = notices.last.bounding_box()
    assert prediction is not None
    assert last is not None
    assert last["y"] + last["height"] <= prediction["y"]
    text = shown.inner_text()
    assert all(text.count(warning["message"]) == 1 for warning in warnings)
    assert_accessible(page)


@pytest.mark.parametrize(
    ("parts", "expected", "absent"),
    [
        ({}, [], ["Prediction set", "TB flag", "Calibrated", "Operating points"]),
        ({"prediction_sets": {"level": 0.9, "labels": [], "kind": "marginal", "marginal": []}},
         ["Empty: none of the classes fits.", "90 % of all films."], ["TB flag"]),
        ({"calibration": {"method": "m", "temperature": 1, "films": 3, "fitted": False, "precision": "fp32"}},
         ["Not calibrated"], ["Calibrated on"]),
        ({"operating_points": {"tb_sensitivity_90": {"label": "Tuberculosis", "threshold": 0.99, "probability": 0.1,
                                                     "flagged": False}}},
         ["No TB flag: Tuberculosis 10.0 % is below the threshold of 99.0 %.", "99.0 %: not reached"], ["The mark"]),
        ({"of_later": {"score": 0.25, "names": ["a", "b"]}}, ["Of later", "0.25", "a, b"], []),
    ],
    ids=["none", "empty set", "not calibrated", "not flagged", "unknown part"],
)  # fmt: skip
def test_the_page_shows_the_parts_that_there_are(
    open_page: Open, served: Served, parts: dict[str, Any], expected: list[str], absent: list[str]
) -> None:
    page = open_page().page
    use_key(page, served.keys["radiologist"])
    answer_with(page, lambda _: {"prediction": "Normal", "parts": parts, "warnings": []})
    page.get_by_role("button", name="Normal", exact=True).click()
    wait_done(page, 1)
    text = page.locator("#answer").inner_text().replace("\u00a0", " ")
    assert [sentence for sentence in expected if sentence not in text] == []
    assert [sentence for sentence in absent if sentence in text] == []


def test_the_slider_sets_the_heat_map_s_opacity(open_page: Open, served: Served) -> None:
    page = open_page().page
    use_key(page, served.keys["radiologist"])
    page.get_by_role("button", name="Pneumonia", exact=True).click()
    wait_done(page, 1)
    heat = page.locator("img.heat")
    heat.wait_for()
    assert heat.evaluate("image => image.complete && image.naturalWidth") == 224
    assert heat.evaluate("image => image.getBoundingClientRect().width") > 300  # over the whole film
    slider = page.get_by_role("slider", name="Heat map")
    before = float(heat.evaluate("image => getComputedStyle(image).opacity"))
    slider.focus()
    page.keyboard.press("ArrowRight")
    after = float(heat.evaluate("image => getComputedStyle(image).opacity"))
    assert after == pytest.approx(before + 0.05)
    page.keyboard.press("Home")
    assert heat.evaluate("image => getComputedStyle(image).opacity") == "0"
    film = page.locator("img.film")
    page.get_by_role("slider", name="Brightness").fill("150")
    assert film.evaluate("image => getComputedStyle(image).filter") == "brightness(1.5) contrast(1)"
    page.get_by_role("button", name="Reset film").click()
    assert film.evaluate("image => getComputedStyle(image).filter") == "brightness(1) contrast(1)"


def test_a_heat_map_of_another_label_is_asked_for_once(open_page: Open, served: Served) -> None:
    watched = open_page()
    page = watched.page
    use_key(page, served.keys["radiologist"])
    give(page, {"one.png": sample("normal"), "two.png": sample("pneumonia")})
    wait_done(page, 2)
    assert page.locator("img.heat").is_hidden()  # a batch brings none: it is asked for on demand
    group = page.get_by_role("group", name="Heat map")
    for label in ("Tuberculosis", "Normal", "Tuberculosis"):
        group.get_by_role("button", name=label).click()
        page.get_by_role("img", name=f"Heat map for {label}").wait_for()
        assert group.get_by_role("button", name=label).get_attribute("aria-pressed") == "true"
    asked = [url.split("explain")[1] for url in watched.requests if "/predict/explain" in url]
    assert asked == ["?label=Tuberculosis", "?label=Normal"]


def test_dropped_files_keep_their_order_and_a_bad_one_says_why(open_page: Open, served: Served) -> None:
    watched = open_page()
    page = watched.page
    use_key(page, served.keys["technician"])
    give(page, {"Mustermann^Max.png": sample("normal"), "notes.txt": b"no film", "third.png": sample("tuberculosis")})
    wait_done(page, 3)
    expected = [told(served, sample(name)) for name in ("normal", "tuberculosis")]
    assert expected[0] != expected[1]
    first, second, third = rows(page)
    assert first.startswith(f"Mustermann^Max.png {expected[0]}")
    assert second.startswith("notes.txt Refused: ")
    assert third.startswith(f"third.png {expected[1]}")
    page.get_by_role("button", name="notes.txt").click()
    with served.client() as client:
        detail = client.post("/predict", files={"file": ("film", b"no film")}).json()["detail"]
    assert page.locator("#answer").inner_text().splitlines()[:3:2] == ["Refused", detail]
    sent = watched.sent("/batch_predict")
    assert len(sent) == 1
    assert sample("normal") in sent[0]
    assert b'filename="film"' in sent[0]
    for name in (b"Mustermann", b"notes.txt", b"third"):
        assert name not in sent[0]


def test_a_batch_goes_ten_films_a_request_in_the_order_they_came(
    open_page: Open, served: Served, film: Callable[..., Any], encode: Callable[..., bytes]
) -> None:
    watched = open_page()
    page = watched.page
    films = {f"film {number}.png": encode(film(number)) for number in range(23)}
    give(page, films)
    use_key(page, served.keys["technician"])
    wait_done(page, 23)
    counts = [body.count(b'filename="film"') for body in watched.sent("/batch_predict")]
    assert counts == [10, 10, 3]
    assert [row.split(".png")[0] for row in rows(page)] == [name.removesuffix(".png") for name in films]
    assert page.get_by_role("progressbar", name="23 of 23 done").count() == 1
    for number in (0, 9, 10, 22):
        assert told(served, films[f"film {number}.png"]) in rows(page)[number]


def test_a_pasted_image_and_chosen_files_are_films_too(open_page: Open, served: Served, tmp_path: Path) -> None:
    page = open_page().page
    use_key(page, served.keys["technician"])
    give(page, {"image.png": sample("dark")}, "paste")
    wait_done(page, 1)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files([SAMPLES / "normal.png", SAMPLES / "strip.png"])
    wait_done(page, 3)
    assert [row.split(" ")[0] for row in rows(page)] == ["image.png", "normal.png", "strip.png"]
    page.get_by_role("button", name="image.png").click()
    assert "Dark film" in page.locator("#answer").inner_text()


def test_a_dicom_film_is_shown_as_the_model_sees_it(open_page: Open, served: Served) -> None:
    with Image.open(SAMPLES / "normal.png") as image:
        pixels = np.asarray(image)
    film = load("core/imaging/dicom_files.py").dicom(pixels, bits=8)
    page = open_page().page
    use_key(page, served.keys["radiologist"])
    give(page, {"IM000001": film})
    wait_done(page, 1)
    shown = page.get_by_role("img", name="Film IM000001")
    shown.wait_for()
    assert shown.get_attribute("src").startswith("data:image/png")
    assert shown.evaluate("image => image.naturalWidth") == 224
    assert rows(page)[0].startswith(f"IM000001 {answer_of(served, film)['prediction']}")
    give(page, {"IM000002": film, "IM000003": film})  # a batch brings no frames
    wait_done(page, 3)
    page.get_by_role("button", name="IM000002").click()
    page.get_by_text("Ask for a heat map to see it as the model does.").wait_for()
    page.get_by_role("group", name="Heat map").get_by_role("button", name="Normal").click()
    page.get_by_role("img", name="Film IM000002").wait_for()


def test_a_film_can_be_tried_by_keyboard_alone(open_page: Open, served: Served) -> None:
    page = open_page().page

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText"
            )
            if page.evaluate("document.activeElement.id") == name or focused == name:
                return
        raise AssertionError(f"Tab does not reach {name}")

    tab_to("key")
    page.keyboard.type(served.keys["radiologist"])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Forget key").wait_for()
    for name in ("Normal", "Too dark"):
        tab_to(name)
        page.keyboard.press("Enter")
        page.get_by_role("button", name=f"Synthetic film: {name.lower()}").wait_for()
    wait_done(page, 2)
    page.locator("#list button").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#detail-title").inner_text() == "Synthetic film: too dark"
    assert page.locator("#list button").nth(1).get_attribute("aria-current") == "true"


def test_the_key_is_nowhere_but_in_memory(open_page: Open, served: Served) -> None:
    watched = open_page()
    page = watched.page
    key = served.keys["radiologist"]
    use_key(page, key)
    page.get_by_role("button", name="Normal", exact=True).click()
    wait_done(page, 1)
    assert key not in page.evaluate(_KEPT)
    assert page.context.cookies() == []
    assert key not in json.dumps(page.context.storage_state())
    assert watched.requests
    assert not [url for url in watched.requests if key in url]
    assert not [body for body in watched.sent("/predict/explain") if key.encode() in body]
    page.get_by_role("link", name="Review", exact=True).click()  # the same document: the key goes along
    page.get_by_role("heading", name="Review").wait_for()
    assert page.get_by_role("button", name="Forget key").is_visible()
    assert key not in page.evaluate(_KEPT)
    page.reload()
    page.get_by_role("button", name="Use key").wait_for()
    assert page.get_by_role("textbox", name="API key").input_value() == ""
    page.go_back()
    page.get_by_role("heading", name="Predict").wait_for()
    assert page.get_by_role("textbox", name="API key").input_value() == ""
    assert page.get_by_role("textbox", name="API key").get_attribute("autocomplete") == "off"


def test_forgetting_the_key_takes_the_films_along(open_page: Open, served: Served) -> None:
    page = open_page().page
    use_key(page, served.keys["technician"])
    page.get_by_role("button", name="Normal", exact=True).click()
    wait_done(page, 1)
    page.get_by_role("button", name="Forget key").click()
    assert rows(page) == []
    assert page.locator("#shown").is_hidden()
    assert page.evaluate("document.activeElement.id") == "key"


def answer_once(page: Any, pattern: str, status: int, retry_after: str) -> list[str]:
    """Have one request answered by somebody else, as an overloaded service would."""
    seen: list[str] = []

    def handle(route: Any) -> None:
        seen.append(route.request.url)
        if len(seen) > 1:
            route.continue_()
            return
        body = {"status": status, "code": "busy", "detail": "Come again.", "request_id": "r"}
        headers = {"Retry-After": retry_after, "Content-Type": "application/problem+json"}
        route.fulfill(status=status, headers=headers, body=json.dumps(body))

    page.route(pattern, handle)
    return seen


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_asks_for_a_pause_gets_it(open_page: Open, served: Served, status: int) -> None:
    page = open_page().page
    use_key(page, served.keys["technician"])
    seen = answer_once(page, "**/batch_predict", status, "2")
    give(page, {"one.png": sample("normal"), "two.png": sample("dark")})
    page.get_by_role("alert").get_by_text("The service asks for a pause. Going on in").wait_for()
    wait_done(page, 2)
    assert len(seen) == 2
    assert page.get_by_role("alert").is_hidden()


def test_what_fails_for_long_can_be_tried_again(open_page: Open, served: Served) -> None:
    page = open_page().page
    use_key(page, served.keys["technician"])
    answer_once(page, "**/predict/explain", 503, "600")
    page.get_by_role("button", name="Normal", exact=True).click()
    page.get_by_role("alert").get_by_text("The service cannot take this now. Come again.").wait_for()
    assert rows(page)[0].endswith("Failed: Come again.")
    page.get_by_role("button", name="Try again").click()
    wait_done(page, 1)
    assert page.get_by_role("button", name="Try again").is_hidden()


def test_a_service_that_is_gone_is_told(open_page: Open, served: Served) -> None:
    page = open_page().page
    use_key(page, served.keys["technician"])
    page.route("**/predict/explain", lambda route: route.abort())
    page.get_by_role("button", name="Normal", exact=True).click()
    page.get_by_role("alert").get_by_text("The service did not answer.").wait_for()
    assert "Failed" in rows(page)[0]


def test_a_key_that_is_revoked_meanwhile_is_asked_for_again(open_page: Open, served: Served) -> None:
    page = open_page().page
    use_key(page, served.keys["technician"])
    answer_once(page, "**/predict/explain", 401, "")
    page.get_by_role("button", name="Normal", exact=True).click()
    page.get_by_role("alert").get_by_text("The service does not accept this key").wait_for()
    assert "Waiting" in rows(page)[0]
    use_key(page, served.keys["technician"])
    wait_done(page, 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (768, 1024)])
def test_the_page_is_accessible(open_page: Open, served: Served, scheme: str, width: int, height: int) -> None:
    page = open_page("/", width, height, scheme).page
    assert_accessible(page)
    assert assert_focus_is_seen(page) >= 10
    use_key(page, served.keys["radiologist"])
    give(page, {"a name that is far too long to be shown on one line of the list.png": sample("dark"), "b.txt": b"x"})
    wait_done(page, 2)
    assert_accessible(page)
    assert assert_focus_is_seen(page) >= 15
    page.get_by_role("button", name="b.txt").click()
    assert_accessible(page)


def test_the_whole_film_fits_on_the_screen(open_page: Open, served: Served) -> None:
    for width, height in ((1440, 900), (768, 1024), (1280, 720)):
        page = open_page("/", width, height).page
        use_key(page, served.keys["radiologist"])
        page.get_by_role("button", name="Normal", exact=True).click()
        wait_done(page, 1)
        side = page.locator(".stage").bounding_box()
        assert side is not None
        assert side["height"] <= height - 100
        assert side["width"] >= 300


def test_pages_are_revalidated_and_not_sent_twice(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        first = client.get("/static/style.css")
        again = client.get("/static/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    assert again.content == b""
    assert first.headers["cache-control"] == "no-cache"
