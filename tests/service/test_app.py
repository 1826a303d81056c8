"""The routes behind the guard, in this process: what is hard to bring about over a real connection."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import films
import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from bentoml_service import wiring
from bentoml_service.app import create_app
from bentoml_service.guard import Guard
from bentoml_service.inference import Runtime
from cxr_core.errors import CxrError
from cxr_core.settings import load_settings

CANARY = "DOE-JANE-19560412"


@pytest.fixture
def runtime(
    package: Path, service_settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    monkeypatch.setenv("CXR_MODEL", str(package))
    monkeypatch.setenv("CXR_SERVICE__STATE_DIR", str(tmp_path / "state"))
    for name, value in service_settings.items():
        monkeypatch.setenv(name, value)
    started = Runtime()
    wiring.start(started)
    yield started
    asyncio.run(wiring.stop(started))


@pytest.fixture
def client(runtime: Runtime, key: str) -> Iterator[TestClient]:
    app = Guard(create_app(runtime), runtime)
    with TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": key}) as opened:
        yield opened


def test_nothing_is_answered_before_the_model_is_loaded(runtime: Runtime, key: str) -> None:
    runtime.predictor = None
    with TestClient(Guard(create_app(runtime), runtime), headers={"X-API-Key": key}) as client:
        for answer in (client.get("/model"), client.post("/predict", content=b"x"), client.post("/batch_predict")):
            assert answer.status_code == 503
            assert answer.json()["code"] == "not_ready"
            assert answer.headers["retry-after"] == "5"
        health = client.get("/health")
        assert (health.status_code, health.json()["live"], health.json()["ready"]) == (503, True, False)
        assert health.json()["checks"] == {"model": False, "keys": True, "audit": True, "telemetry": True}
        assert client.get("/health?probe=live").status_code == 200


def test_before_the_keys_are_loaded_nobody_has_one(key: str) -> None:
    empty = Runtime()
    with TestClient(Guard(create_app(empty), empty), headers={"X-API-Key": key}) as client:
        assert client.get("/model").status_code == 401
        assert client.get("/health").status_code == 503


def test_a_failure_of_ours_is_answered_and_logged_without_its_message(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(runtime.predictor, "prepare", fail)
    with caplog.at_level(logging.INFO):
        answer = client.post("/predict", files={"file": (CANARY, films.film())})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"
    assert CANARY not in answer.text
    assert CANARY not in caplog.text
    assert "RuntimeError at fail:" in caplog.text
    assert answer.json()["request_id"] in caplog.text


def test_a_failure_outside_the_app_is_answered_too(runtime: Runtime, key: str) -> None:
    async def broken(*_: Any) -> None:
        raise ValueError(CANARY)

    answer = TestClient(Guard(broken, runtime), headers={"X-API-Key": key}).get("/model")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert CANARY not in answer.text


def test_an_image_never_leaves_memory(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def roll(_: Any) -> None:
        raise AssertionError("an upload was written to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", roll)
    large = films.film(3000, 3000)
    assert 5_000_000 < len(large) < 10_000_000
    assert client.post("/predict", files={"file": ("film", large)}).status_code == 200


def test_a_slow_prediction_does_not_hold_up_the_health_check(
    runtime: Runtime, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.predictor is not None
    entered, release = threading.Event(), threading.Event()
    real = runtime.predictor.prepare

    def slow(*given: Any) -> Any:
        entered.set()
        assert release.wait(30)
        return real(*given)

    monkeypatch.setattr(runtime.predictor, "prepare", slow)

    async def scenario() -> tuple[int, int]:
        transport = httpx.ASGITransport(Guard(create_app(runtime), runtime))
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers={"X-API-Key": key}) as client:
            predicting = asyncio.create_task(client.post("/predict", files={"file": ("film", films.film())}))
            assert await asyncio.to_thread(entered.wait, 30)
            health = await client.get("/health")
            assert not predicting.done()
            release.set()
            return health.status_code, (await predicting).status_code

    assert asyncio.run(scenario()) == (200, 200)


def test_a_body_that_never_comes_is_given_up(runtime: Runtime, key: str) -> None:
    runtime.settings = load_settings({"service.body_seconds": 0.05})

    async def stalled() -> Any:
        yield b"abc"
        await asyncio.Event().wait()

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(create_app(runtime), runtime))
        headers = {"X-API-Key": key, "Content-Type": "image/png"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            return await client.post("/predict", content=stalled())

    answer = asyncio.run(scenario())
    assert (answer.status_code, answer.json()["code"]) == (408, "body_timeout")


PART = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
FORM = b"--b\r\n" + PART + films.film(128, 128) + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("media_type", "body", "status", "code"),
    [
        ("multipart/form-data; boundary=b", FORM, 200, None),
        ("Multipart/Form-Data; boundary=b; charset=nonsense", FORM, 200, None),
        ("multipart/form-data", FORM, 400, "malformed_body"),
        ("multipart/form-data; boundary=", FORM, 400, "malformed_body"),
        ("multipart/form-data; boundary=other", FORM, 400, "malformed_body"),
        ("multipart/form-data; boundary=" + "b" * 5000, FORM, 400, "malformed_body"),
        ("multipart/form-data; boundary=b", b"", 400, "missing_file"),
        ("multipart/form-data; boundary=b", FORM[:200], 400, "missing_file"),
        ("multipart/form-data; boundary=b", b"--b\r\nno colon\r\n\r\nx\r\n--b--\r\n", 400, "malformed_body"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400, "malformed_body"),
        ("multipart/form-data; boundary=b", FORM.replace(b'"file"', b'"image"'), 400, "missing_file"),
        ("multipart/form-data; boundary=b", FORM.replace(b'; filename="a.png"', b""), 400, "missing_file"),
        ("multipart/form-data; boundary=b", FORM[:-4] + b"\r\n" + FORM, 400, "malformed_body"),
        ("multipart/form-data; boundary=b", FORM.replace(b"--b--\r\n", b"") + FORM, 400, "too_many_files"),
        ("multipart/form-data; boundary=b", FORM.replace(PART, b"X: " + b"y" * 50_000 + b"\r\n" + PART), 400, None),
        ("application/json", b'{"image": "x"}', 415, "unsupported_media_type"),
        ("application/vnd.bentoml+pickle", b"x", 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"file=http://127.0.0.1/", 415, "unsupported_media_type"),
        ("", b"", 400, "missing_file"),
        ("image/png", b"", 422, "empty"),
    ],
)
def test_the_form_of_a_request_is_judged(
    client: TestClient, media_type: str, body: bytes, status: int, code: str | None
) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = client.post("/predict", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["code"] == code


def test_no_damaged_form_is_answered_with_a_server_error(client: TestClient) -> None:
    rng = np.random.default_rng(7)
    header = len(b"--b\r\n" + PART)
    for _ in range(400):
        body = bytearray(FORM)
        for _ in range(int(rng.integers(1, 6))):
            place = int(rng.integers(0, header if rng.random() < 0.8 else len(body)))
            if rng.random() < 0.5:
                body[place] = int(rng.integers(0, 256))
            else:
                del body[place : place + int(rng.integers(1, 20))]
        answer = client.post(
            "/predict", content=bytes(body), headers={"Content-Type": "multipart/form-data; boundary=b"}
        )
        assert answer.status_code in (200, 400, 415, 422), bytes(body[:header])


def test_no_damaged_image_is_answered_with_a_server_error(client: TestClient) -> None:
    rng = np.random.default_rng(8)
    for name, content in films.good_files().items():
        for _ in range(60):
            body = bytearray(content)
            for _ in range(int(rng.integers(1, 9))):
                place = int(rng.integers(0, len(body) if rng.random() < 0.5 else 700))
                body[place] = int(rng.integers(0, 256))
            answer = client.post("/predict", content=bytes(body), headers={"Content-Type": "image/png"})
            assert answer.status_code in (200, 415, 422), name


def test_a_package_that_cannot_explain_says_so(client: TestClient) -> None:
    answer = client.post("/predict/explain", files={"file": ("film", films.film())})
    assert (answer.status_code, answer.json()["code"]) == (404, "part_missing")


def test_a_websocket_is_closed(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/predict"):
        pass
    assert caught.value.code == 1008


def test_a_model_that_was_not_promoted_is_not_served(
    tmp_path: Path, write_tiny_package: Callable[..., Any], key: str, key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_package(tmp_path / "model", macro_f1=0.6)
    monkeypatch.setenv("CXR_MODEL", str(tmp_path / "model"))
    monkeypatch.setenv("CXR_API_KEYS", str(key_path))
    with pytest.raises(CxrError, match=r"did not pass the promotion gate: Macro F1 on test is 0\.6"):
        Runtime().start()


def test_the_services_own_size_limits_apply(runtime: Runtime) -> None:
    assert runtime.settings is not None
    assert runtime.settings.quality.max_side > runtime.settings.service.max_side  # the data set may hold larger films
    with pytest.raises(CxrError, match="4097 x 200"):
        asyncio.run(runtime.predict(films.film(4097, 200)))
