"""The routes of the review queue, in this process: what they answer, refuse, and never say."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import films
import httpx
import numpy as np
import pytest
from fastapi import FastAPI, Request
from review_parts import CANARY, LABELS, MODEL, new_case, open_queue
from starlette.testclient import TestClient

from bentoml_service.permissions import ROUTES
from bentoml_service.problems import RequestError, problem
from bentoml_service.review import flagging, routes, sealed
from bentoml_service.review.flagging import queue_flagged, reasons_of
from bentoml_service.review.pictures import encode_png
from bentoml_service.review.queue import ReviewQueue
from bentoml_service.review.routes import add_review_routes
from cxr_core.digests import digest_bytes
from cxr_core.release.predictor import Advice, ModelIdentity, Prediction
from cxr_core.settings_sections import QualitySettings

SIZE = 224


class Explaining:
    """A predictor as far as the overlay asks: its heat is 1 in the upper left quarter of the frame."""

    def __init__(self, digest: str = MODEL, can_explain: bool = True) -> None:
        self.identity = SimpleNamespace(digest=digest)
        self.manifest = SimpleNamespace(labels=LABELS)
        self.can_explain = can_explain
        self.asked: list[int] = []

    def explain(self, frame: Any, label_index: int) -> Any:
        self.asked.append(label_index)
        heat = np.zeros(frame.shape, np.float32)
        heat[: frame.shape[0] // 2, : frame.shape[1] // 2] = 1
        return heat


def app_of(runtime: Any) -> FastAPI:
    """The routes alone; the key's id is what the guard would have put there."""
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Any:
        state = request.scope.setdefault("state", {})
        state["key_id"] = request.headers.get("x-test-key", "anna")
        answer = await call_next(request)
        runtime.noted.append({name: state.get(name) for name in ("detail", "model")})
        return answer

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Any:
        return problem(error.status, error.code, error.detail)

    add_review_routes(app, runtime)
    return app


@pytest.fixture
def runtime(tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(review=open_queue(tmp_path), predictor=Explaining(), noted=[])


@pytest.fixture
def client(runtime: SimpleNamespace) -> Iterator[TestClient]:
    with TestClient(app_of(runtime), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def case_id(runtime: SimpleNamespace) -> str:
    found = runtime.review.add(new_case())
    assert isinstance(found, str)
    return found


def test_a_case_is_shown_with_all_that_a_reader_needs(client: TestClient, case_id: str) -> None:
    listed = client.get("/review/cases").json()
    assert (listed["open"], listed["decided"], len(listed["cases"])) == (1, 0, 1)
    case = listed["cases"][0]
    assert client.get(f"/review/cases/{case_id}").json() == case
    assert case.pop("created").endswith("+00:00")
    assert case == {
        "id": case_id,
        "reasons": ["low_confidence"],
        "prediction": "Pneumonia",
        "confidence": 0.55,
        "probabilities": {"Normal": 0.4, "Pneumonia": 0.55, "Tuberculosis": 0.05},
        "warnings": [{"code": "low_confidence", "message": "Confidence 0.55 is below 0.7: have a reader decide."}],
        "parts": {},
        "model_digest": MODEL,
        "state": "open",
        "decision": None,
        "decisions": 0,
    }
    assert list(case["probabilities"]) == list(LABELS)


def test_a_decision_is_answered_with_the_case_and_moves_it(
    client: TestClient, case_id: str, runtime: SimpleNamespace
) -> None:
    address = f"/review/cases/{case_id}/decision"
    first = client.post(address, json={"action": "accept"}).json()
    assert {**first["decision"], "decided": ""} == {
        "action": "accept", "label": "Pneumonia", "comment": "", "by": "anna", "decided": ""
    }  # fmt: skip
    body = {"action": "correct", "label": "Normal", "comment": f"{CANARY}: clear"}
    second = client.post(address, json=body, headers={"X-Test-Key": "boris"}).json()
    assert (second["state"], second["decisions"]) == ("decided", 2)
    assert (second["decision"]["label"], second["decision"]["by"]) == ("Normal", "boris")
    assert second["decision"]["comment"] == f"{CANARY}: clear"
    assert client.get("/review/cases").json()["cases"] == []
    assert [case["id"] for case in client.get("/review/cases?state=decided").json()["cases"]] == [case_id]
    assert runtime.noted[1] == {
        "detail": {"case": case_id, "action": "correct", "label": "Normal"},
        "model": MODEL,
    }
    assert CANARY not in json.dumps(runtime.noted)


def test_pages_of_cases(client: TestClient, runtime: SimpleNamespace) -> None:
    added = [runtime.review.add(new_case(number)) for number in range(5)]
    first = client.get("/review/cases?limit=3").json()
    assert ([case["id"] for case in first["cases"]], first["open"]) == (added[:3], 5)
    second = client.get(f"/review/cases?limit=3&after={added[2]}").json()
    assert [case["id"] for case in second["cases"]] == added[3:]


@pytest.mark.parametrize(
    "query", ["state=OPEN", "state=", "limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=²", "limit=1e1"]
)
def test_a_malformed_query_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"/review/cases?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_query")


@pytest.mark.parametrize("nobody", [str(uuid.uuid4()), "x", CANARY, "1' OR '1'='1"])
def test_an_unknown_case_is_404_everywhere_and_noted_nowhere(
    client: TestClient, case_id: str, nobody: str, runtime: SimpleNamespace
) -> None:
    answers = [
        client.get(f"/review/cases/{nobody}"),
        client.get(f"/review/cases/{nobody}/film"),
        client.get(f"/review/cases/{nobody}/overlay"),
        client.post(f"/review/cases/{nobody}/decision", json={"action": "accept"}),
        client.get("/review/cases", params={"after": nobody}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_case")
        assert nobody not in answer.text or nobody == "x"
    assert [noted["detail"] for noted in runtime.noted] == [None] * 5


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_body"),
        (b"null", "malformed_body"),
        (b"[]", "malformed_body"),
        (b"{", "malformed_body"),
        (b"\xff\xfe{}", "malformed_body"),
        (b"{}", "malformed_body"),
        (b'{"action": "delete"}', "malformed_body"),
        (b'{"action": "correct"}', "malformed_body"),
        (b'{"action": "correct", "label": 1}', "malformed_body"),
        (b'{"action": "accept", "label": "Normal"}', "malformed_body"),
        (b'{"action": "accept", "comment": null}', "malformed_body"),
        (b'{"action": "accept", "reviewer": "somebody else"}', "malformed_body"),
        (b'{"action": "accept", "comment": "\\ud800"}', "malformed_body"),
        (json.dumps({"action": "accept", "comment": "x" * 2001}).encode(), "malformed_body"),
        (b'{"action": "correct", "label": "' + CANARY.encode() + b'"}', "unknown_label"),
        (b'{"action": "correct", "label": ""}', "unknown_label"),
        (b'{"action": "correct", "label": "normal"}', "unknown_label"),
        (b"[" * 30_000, "malformed_body"),
    ],
)
def test_a_decision_that_is_none_is_422_and_changes_nothing(
    client: TestClient, case_id: str, body: bytes, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = client.post(
            f"/review/cases/{case_id}/decision", content=body, headers={"Content-Type": "application/json"}
        )
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert CANARY not in answer.text + caplog.text
    assert client.get(f"/review/cases/{case_id}").json()["state"] == "open"


def test_a_comment_may_be_as_long_as_is_said_in_any_writing(client: TestClient, case_id: str) -> None:
    comment = "\N{SQUARED SOS}" * 2000
    body = json.dumps({"action": "accept", "comment": comment}).encode()  # 12 bytes a character
    answer = client.post(
        f"/review/cases/{case_id}/decision", content=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert answer.status_code == 200
    assert answer.json()["decision"]["comment"] == comment


def test_a_body_that_is_no_json_by_its_type_or_too_large_is_refused(client: TestClient, case_id: str) -> None:
    address = f"/review/cases/{case_id}/decision"
    form = client.post(address, data={"action": "accept"})
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media_type")
    assert client.post(address, content=b'{"action": "accept"}').status_code == 415
    large = client.post(address, json={"action": "accept", "comment": "x" * 40_000})
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")


def test_a_body_that_never_comes_is_given_up(
    runtime: SimpleNamespace, case_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_BODY_SECONDS", 0.05)
    app = FastAPI(openapi_url=None)
    add_review_routes(app, runtime)
    app.exception_handler(RequestError)(lambda _, error: problem(error.status, error.code, error.detail))

    async def stalled() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as opened:
            headers = {"Content-Type": "application/json"}
            return await opened.post(f"/review/cases/{case_id}/decision", content=stalled(), headers=headers)

    answer = asyncio.run(scenario())
    assert (answer.status_code, answer.json()["code"]) == (408, "body_timeout")


def test_the_queue_does_not_hold_up_the_event_loop(
    runtime: SimpleNamespace, case_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release = threading.Event(), threading.Event()
    real = runtime.review.film

    def slow(which: str) -> bytes:
        entered.set()
        assert release.wait(30)
        return real(which)  # type: ignore[no-any-return]

    monkeypatch.setattr(runtime.review, "film", slow)

    async def scenario() -> tuple[int, int]:
        transport = httpx.ASGITransport(app_of(runtime))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as opened:
            looking = asyncio.create_task(opened.get(f"/review/cases/{case_id}/film"))
            assert await asyncio.to_thread(entered.wait, 30)
            other = await opened.get("/review/cases?state=decided")
            assert not looking.done()
            release.set()
            return other.status_code, (await looking).status_code

    assert asyncio.run(scenario()) == (200, 200)


# ------------------------------------------------------------------ pictures
def test_the_film_is_a_png_that_no_cache_keeps(client: TestClient, case_id: str, runtime: SimpleNamespace) -> None:
    answer = client.get(f"/review/cases/{case_id}/film")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == new_case().film
    assert runtime.noted[0]["detail"] == {"case": case_id}


def test_the_overlay_lies_on_the_film_and_not_on_the_frame_s_border(
    client: TestClient, runtime: SimpleNamespace
) -> None:
    wide = encode_png(np.zeros((100, 300), np.uint8))
    case_id = runtime.review.add(new_case(film=wide, frame=encode_png(np.zeros((SIZE, SIZE), np.uint8))))
    answer = client.get(f"/review/cases/{case_id}/overlay")
    assert answer.headers["content-type"] == "image/png"
    overlay = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert overlay.shape == (75, SIZE, 4)  # a third of the frame's height
    blue, _, red, opacity = np.moveaxis(overlay, 2, 0)
    half = np.zeros((75, SIZE), bool)
    half[:38, : SIZE // 2] = True  # the frame's middle is row 112, the film begins at row 74
    assert (opacity[half] == 255).all()
    assert (opacity[~half] == 0).all()
    assert (red[half] == 255).all()
    assert (blue == 0).all()
    assert runtime.predictor.asked == [LABELS.index("Pneumonia")]


@pytest.mark.parametrize(
    ("predictor", "status", "code"),
    [
        (Explaining(can_explain=False), 404, "part_missing"),
        (Explaining(digest="b" * 64), 404, "model_replaced"),
        (None, 503, "not_ready"),
    ],
)
def test_there_is_no_overlay_without_the_model_that_judged(
    client: TestClient, case_id: str, runtime: SimpleNamespace, predictor: Any, status: int, code: str
) -> None:
    runtime.predictor = predictor
    answer = client.get(f"/review/cases/{case_id}/overlay")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


# ------------------------------------------------------------------ trouble
def test_a_queue_that_is_switched_off_says_so(client: TestClient, runtime: SimpleNamespace) -> None:
    runtime.review = None
    for path in ("/review/cases", "/review/cases/x", "/review/cases/x/film", "/review/cases/x/overlay"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "review_disabled")


def test_a_queue_that_cannot_be_opened_is_503_and_shows_nothing(
    client: TestClient, case_id: str, runtime: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client.post(f"/review/cases/{case_id}/decision", json={"action": "accept", "comment": CANARY})
    connection = sqlite3.connect(tmp_path / "review.sqlite")
    connection.execute("UPDATE cases SET record = zeroblob(200)")
    connection.commit()
    connection.close()
    answer = client.get(f"/review/cases/{case_id}")
    assert (answer.status_code, answer.json()["code"]) == (503, "review_unavailable")
    connection = sqlite3.connect(tmp_path / "review.sqlite")
    connection.execute("DROP TABLE decisions")
    connection.close()
    answer = client.get("/review/cases")
    assert (answer.status_code, answer.json()["code"]) == (503, "review_unavailable")
    assert "sqlite" not in answer.text.lower()
    assert CANARY not in answer.text + caplog.text
    assert "review.sqlite cannot be used" in caplog.text


def test_every_route_is_in_the_table_of_permissions(runtime: SimpleNamespace) -> None:
    app = app_of(runtime)
    found = {
        (route.path, method)
        for route in app.routes
        if (methods := getattr(route, "methods", None)) and (path := getattr(route, "path", ""))
        for method in methods - {"HEAD"}
        if path.startswith("/review")
    }
    known = {
        (route.template, method)
        for route in ROUTES
        if route.template.startswith("/review/")
        for method in route.methods
    }
    assert found == known
    reviewing = [route for route in ROUTES if route.template.startswith("/review/")]
    asked = [roles for route in reviewing for roles in route.methods.values()]
    assert asked == [frozenset({"radiologist", "admin"})] * len(asked)


# ------------------------------------------------------------------ from a prediction to a case
def prediction(*codes: str) -> Prediction:
    return Prediction.model_construct(
        label="Pneumonia",
        confidence=0.55,
        probabilities={"Normal": 0.4, "Pneumonia": 0.55, "Tuberculosis": 0.05},
        warnings=tuple(Advice(code=code, message="Have a reader decide.") for code in codes),
        parts={"prediction_sets": {"labels": ["Normal", "Pneumonia"]}},
        model=ModelIdentity(name="cxr", version="1.0.0", digest=MODEL, preprocessing_digest="p" * 64),
        notice="",
    )


def flag(queue: ReviewQueue, data: bytes, *codes: str) -> str | None:
    frame = np.zeros((SIZE, SIZE), np.uint8)
    return queue_flagged(queue, prediction(*codes), frame, data, QualitySettings(), "request")


def test_a_flagged_film_is_queued_once_and_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = open_queue(tmp_path, preview_side=300)
    data = films.film(900, 600)
    assert flag(queue, data) is None
    case_id = flag(queue, data, "low_confidence", "tint", "tint")
    assert case_id is not None
    monkeypatch.setattr(flagging, "decode", None)  # a film that is there already is not decoded again
    assert flag(queue, data, "low_confidence") == case_id
    case = queue.case(case_id)
    assert (case.reasons, case.content_digest) == (("low_confidence", "tint"), digest_bytes(data))
    assert case.parts == prediction().parts
    film = cv2.imdecode(np.frombuffer(queue.film(case_id), np.uint8), cv2.IMREAD_UNCHANGED)
    assert film.shape == (200, 300)
    assert reasons_of(prediction("b", "a", "b")) == ("b", "a")


def test_a_case_from_before_the_parts_were_kept_has_none(
    client: TestClient, runtime: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = json.dumps
    with monkeypatch.context() as patch:
        patch.setattr(sealed.json, "dumps", lambda record: real({k: v for k, v in record.items() if k != "parts"}))
        case_id = runtime.review.add(new_case(parts={"prediction_sets": {"labels": []}}))
    assert client.get(f"/review/cases/{case_id}").json()["parts"] == {}


def test_a_film_that_is_small_is_kept_pixel_by_pixel(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    case_id = flag(queue, films.film(300, 260, seed=3), "low_confidence")
    assert case_id is not None
    film = cv2.imdecode(np.frombuffer(queue.film(case_id), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (film == films.pixels(300, 260, seed=3)).all()


def test_a_queue_that_cannot_be_written_costs_no_prediction_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = open_queue(tmp_path)
    connection = sqlite3.connect(tmp_path / "review.sqlite")
    connection.execute("DROP TABLE cases")
    connection.close()
    assert flag(queue, films.film(), "low_confidence") is None
    assert "a flagged film was not queued" in caplog.text
    assert "request=request" in caplog.text
