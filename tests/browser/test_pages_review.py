"""The review page in a real browser, over a really served bento whose films are flagged for low confidence."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest
from accessibility import assert_accessible, assert_focus_is_seen
from pages_server import MARKS, Served, Watched, chromium, open_page, served, use_key

__all__ = ["chromium", "open_page", "served"]

pytestmark = MARKS

Open = Callable[..., Watched]


@pytest.fixture
def cases(
    served: Served, request: pytest.FixtureRequest, film: Callable[..., Any], encode: Callable[..., bytes]
) -> list[str]:
    """Four new cases of this test at least; returns the ids of all that are open, oldest first."""
    start = zlib.crc32(request.node.nodeid.encode()) % 1_000_000
    return add_cases(served, 4, start, film, encode)


def add_cases(
    served: Served, count: int, start: int, film: Callable[..., Any], encode: Callable[..., bytes]
) -> list[str]:
    made = 0
    with served.client() as client:
        for seed in range(start, start + 4 * count):
            # tall films, so that a heat map that is not cut to the film would lie beside it
            answer = client.post("/predict", files={"file": ("film", encode(film(seed, 200, 260)))}).json()
            made += answer["review"]["case"] is not None
            if made == count:
                break
        assert made == count
        return open_cases(client)


def open_cases(client: Any) -> list[str]:
    return [case["id"] for case in client.get("/review/cases?state=open&limit=200").json()["cases"]]


def case_of(served: Served, case_id: str) -> dict[str, Any]:
    with served.client() as client:
        return dict(client.get(f"/review/cases/{case_id}").json())


def open_review(open_page: Open, served: Served, role: str = "radiologist", **window: Any) -> Any:
    page = open_page("/review", **window).page
    use_key(page, served.keys[role])
    page.locator("#case").wait_for()
    page.locator("img.film").wait_for()
    return page


def wait_title(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('case-title').textContent.startsWith(text)", arg=text)


def wait_decided(page: Any, number: int) -> None:
    page.wait_for_function(
        "number => document.querySelectorAll('#cases li')[number].dataset.state === 'done'", arg=number
    )


def test_a_reader_decides_by_keyboard_alone(open_page: Open, served: Served, cases: list[str]) -> None:
    page = open_page("/review").page
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "key":
            break
    page.keyboard.type(served.keys["radiologist"])
    page.keyboard.press("Enter")
    wait_title(page, "Case 1 of ")
    assert page.evaluate("document.activeElement.id") == "case-title"
    first, second, third = (case_of(served, case_id) for case_id in cases[:3])

    page.keyboard.press("j")
    wait_title(page, "Case 2 of ")
    page.keyboard.press("ArrowUp")
    wait_title(page, "Case 1 of ")
    page.keyboard.press("a")
    wait_title(page, "Case 2 of ")
    decision = case_of(served, first["id"])["decision"]
    assert (decision["action"], decision["label"]) == ("accept", first["prediction"])
    assert page.evaluate("document.activeElement.id") == "case-title"

    labels = list(second["probabilities"])
    other = next(number for number, label in enumerate(labels, 1) if label != second["prediction"])
    page.keyboard.press("c")
    page.keyboard.type("Nipple shadow: a jack 1")  # letters that are keys outside the comment
    page.keyboard.press("Escape")
    page.keyboard.press(str(other))
    assert page.get_by_role("radio", name=labels[other - 1]).is_checked()
    assert case_of(served, second["id"])["decision"] is None  # choosing alone saves nothing
    page.keyboard.press("Enter")
    wait_title(page, "Case 3 of ")
    decision = case_of(served, second["id"])["decision"]
    assert (decision["action"], decision["label"]) == ("correct", labels[other - 1])
    assert decision["comment"] == "Nipple shadow: a jack 1"
    assert page.locator("#comment").input_value() == ""  # the next case has no comment yet
    assert page.get_by_role("status").inner_text().startswith(f"Corrected to {labels[other - 1]}")
    assert case_of(served, third["id"])["decision"] is None


def test_a_decision_can_be_looked_at_and_changed(open_page: Open, served: Served, cases: list[str]) -> None:
    page = open_review(open_page, served)
    prediction = case_of(served, cases[0])["prediction"]
    page.locator("#comment").fill("first thought")
    page.get_by_role("button", name=f"Accept {prediction}").click()
    wait_decided(page, 0)
    page.get_by_role("button", name="Decided").click()
    page.locator("#tab-decided[aria-pressed=true]").wait_for()
    with served.client() as client:
        decided = [case["id"] for case in client.get("/review/cases?state=decided&limit=200").json()["cases"]]
    place = decided.index(cases[0])
    page.locator("#cases button").nth(place).click()
    wait_title(page, f"Case {place + 1} of ")
    assert page.locator("#decided").inner_text().startswith(f"Accepted as {prediction}")
    assert page.locator("#comment").input_value() == "first thought"
    other = next(label for label in case_of(served, cases[0])["probabilities"] if label != prediction)
    page.get_by_role("radio", name=other).check()
    page.locator("#comment").fill("second thought")
    page.get_by_role("button", name="Save correction").click()
    page.get_by_role("status").get_by_text(f"Corrected to {other}").wait_for()
    changed = case_of(served, cases[0])
    assert (changed["decision"]["action"], changed["decision"]["label"]) == ("correct", other)
    assert changed["decision"]["comment"] == "second thought"
    assert changed["decisions"] == 2


def test_a_case_shows_why_it_was_flagged_and_what_the_model_said(
    open_page: Open, served: Served, cases: list[str]
) -> None:
    page = open_review(open_page, served)
    case = case_of(served, cases[0])
    why = page.locator("#why").inner_text()
    assert "Low confidence" in why
    assert all(warning["message"] in why for warning in case["warnings"])
    said = page.locator("#model-answer")
    bars = said.get_by_role("list", name="Probabilities").get_by_role("listitem").all_inner_texts()
    assert [bar.split("\n") for bar in bars] == [
        [label, f"{100 * share:.1f} %"] for label, share in case["probabilities"].items()
    ]
    chips = said.get_by_role("list", name="Prediction set").get_by_role("listitem").all_inner_texts()
    assert chips == case["parts"]["prediction_sets"]["labels"]
    point = case["parts"]["operating_points"]["tb_sensitivity_90"]
    flag = "TB flag: " if point["flagged"] else "No TB flag: "
    assert f"\n{flag}Tuberculosis {100 * point['probability']:.1f}" in said.inner_text()
    assert said.locator(".mark").count() == 1


def test_the_heat_map_lies_on_the_film_and_follows_its_slider(
    open_page: Open, served: Served, cases: list[str]
) -> None:
    page = open_review(open_page, served)
    film, heat = page.locator("img.film"), page.locator("img.heat")
    heat.wait_for()
    shapes = [image.evaluate("image => [image.naturalWidth, image.naturalHeight]") for image in (film, heat)]
    assert shapes[0][0] / shapes[0][1] == pytest.approx(shapes[1][0] / shapes[1][1], abs=0.01)
    page.get_by_role("slider", name="Heat map").fill("75")
    assert heat.evaluate("image => getComputedStyle(image).opacity") == "0.75"
    page.locator("#case-title").focus()
    page.keyboard.press("h")
    assert heat.evaluate("image => getComputedStyle(image).opacity") == "0"
    page.keyboard.press("h")
    assert heat.evaluate("image => getComputedStyle(image).opacity") == "0.75"
    page.get_by_role("slider", name="Contrast").fill("200")
    assert film.evaluate("image => getComputedStyle(image).filter") == "brightness(1) contrast(2)"
    page.locator("#case-title").focus()
    page.keyboard.press("r")
    assert film.evaluate("image => getComputedStyle(image).filter") == "brightness(1) contrast(1)"


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (768, 1024), (1280, 720)])
def test_the_whole_film_is_on_the_screen_with_the_decision(
    open_page: Open, served: Served, cases: list[str], width: int, height: int
) -> None:
    page = open_review(open_page, served, width=width, height=height)
    for part in (".stage", "#accept"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
        assert box["width"] >= 250


def test_the_list_of_keys_opens_closes_and_switches_them_off(open_page: Open, served: Served, cases: list[str]) -> None:
    page = open_review(open_page, served)
    page.locator("#case-title").focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys of this page")
    dialog.wait_for()
    page.keyboard.press("a")  # nothing happens behind the list
    page.get_by_role("checkbox", name="Use these single keys").uncheck()
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert page.evaluate("document.activeElement.id") == "case-title"
    page.keyboard.press("a")
    page.keyboard.press("j")
    page.wait_for_timeout(300)
    assert page.locator("#case-title").inner_text().startswith("Case 1 of ")
    assert case_of(served, cases[0])["decision"] is None


def test_a_technician_is_told_that_the_key_may_not(open_page: Open, served: Served) -> None:
    page = open_page("/review").page
    use_key(page, served.keys["technician"])
    page.get_by_role("alert").get_by_text("This key may not do that.").wait_for()
    assert page.locator("#case").is_hidden()
    assert page.locator("#cases li").count() == 0


def test_forgetting_the_key_takes_the_cases_along(open_page: Open, served: Served, cases: list[str]) -> None:
    page = open_review(open_page, served)
    page.get_by_role("button", name="Forget key").click()
    assert page.locator("#cases li").count() == 0
    assert page.locator("#case").is_hidden()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("a")  # no case, no key, no decision
    assert case_of(served, cases[0])["decision"] is None


def test_a_decision_that_cannot_be_saved_is_not_lost(open_page: Open, served: Served, cases: list[str]) -> None:
    page = open_review(open_page, served)
    page.route("**/decision", lambda route: route.abort())
    page.locator("#comment").fill("keep me")
    page.get_by_role("button", name="Accept").click()
    page.get_by_role("alert").get_by_text("The service did not answer.").wait_for()
    assert page.locator("#comment").input_value() == "keep me"
    page.unroute("**/decision")
    page.get_by_role("button", name="Accept").click()
    wait_decided(page, 0)
    assert case_of(served, cases[0])["decision"]["comment"] == "keep me"


def test_a_long_queue_comes_in_pages_and_ends(
    open_page: Open, served: Served, film: Callable[..., Any], encode: Callable[..., bytes]
) -> None:
    with served.client() as client:
        missing = 53 - len(open_cases(client))
    waiting = add_cases(served, max(missing, 1), 5_000_000, film, encode)
    page = open_review(open_page, served)
    assert page.locator("#cases li").count() == 50
    page.get_by_role("button", name="Show more").click()
    page.wait_for_function("count => document.querySelectorAll('#cases li').length === count", arg=len(waiting))
    assert page.get_by_role("button", name="Show more").is_hidden()
    page.locator("#cases button").last.click()
    wait_title(page, f"Case {len(waiting)} of {len(waiting)}")
    page.keyboard.press("j")
    page.get_by_role("status").get_by_text("This is the last case.").wait_for()


def test_what_was_predicted_leads_to_its_case_without_a_new_key(open_page: Open, served: Served) -> None:
    page = open_page("/").page
    use_key(page, served.keys["radiologist"])
    page.get_by_role("button", name="Too dark").click()
    page.get_by_role("link", name="In the review queue").click()
    page.locator("#case").wait_for()
    assert page.url == f"{served.url}/review"
    assert page.get_by_role("button", name="Forget key").is_visible()
    page.go_back()
    page.get_by_role("heading", name="Predict").wait_for()
    assert page.get_by_role("button", name="Forget key").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (768, 1024)])
def test_the_page_is_accessible(
    open_page: Open, served: Served, cases: list[str], scheme: str, width: int, height: int
) -> None:
    page = open_review(open_page, served, width=width, height=height, scheme=scheme)
    assert_accessible(page)
    assert assert_focus_is_seen(page) >= 14
    page.get_by_role("button", name="Keys").click()
    assert_accessible(page)
