"""A real ``bentoml serve`` of a bento, spoken to over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import films
import httpx
import pytest
from serving import Server

from cxr_core import NOTICE
from cxr_core.release.package import load_manifest
from cxr_core.release.predictor import Predictor

GOOD = films.good_files()
BAD = films.bad_files()


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"X-API-Key": key}, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def stranger(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as opened:
        yield opened


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:cxr:problem:{code}"
    assert len(body["request_id"]) == 36
    for python in ("Traceback", "Error(", "object at 0x", "site-packages", "<class"):
        assert python not in answer.text


def test_health_is_open_and_names_the_version(stranger: httpx.Client) -> None:
    answer = stranger.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "live": True,
        "ready": True,
        "checks": {"model": True, "keys": True, "audit": True, "telemetry": True},
        "model": {"name": "cxr", "version": "1.0.0"},
        "notice": NOTICE,
    }


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_container_probes_are_open_and_say_nothing(stranger: httpx.Client, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 200
    assert answer.text.strip() == ""


@pytest.mark.parametrize("name", GOOD)
def test_a_served_bento_predicts_what_the_package_predicts(client: httpx.Client, package: Path, name: str) -> None:
    expected = Predictor.load(package).predict(GOOD[name])
    answer = client.post("/predict", files={"file": ("film", GOOD[name])})
    assert answer.status_code == 200
    body = answer.json()
    assert body["prediction"] == expected.label
    assert body["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert body["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
    assert [warning["code"] for warning in body["warnings"]] == [warning.code for warning in expected.warnings]
    assert body["model"]["digest"] == load_manifest(package).digest
    assert body["notice"] == NOTICE


@pytest.mark.parametrize(("name", "media_type"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("jpeg", "image/png")])
def test_a_raw_body_is_judged_by_its_content(client: httpx.Client, name: str, media_type: str) -> None:
    raw = client.post("/predict", content=GOOD[name], headers={"Content-Type": media_type})
    form = client.post("/predict", files={"file": ("film", GOOD[name])})
    assert raw.status_code == 200
    assert raw.json()["probabilities"] == form.json()["probabilities"]
    assert raw.json()["request_id"] != form.json()["request_id"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_code(client: httpx.Client, name: str) -> None:
    content, status, code = BAD[name]
    assert_problem(client.post("/predict", files={"file": ("film", content)}), status, code)
    assert_problem(client.post("/predict", content=content, headers={"Content-Type": "image/png"}), status, code)


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}],
)
def test_predict_needs_a_valid_key(stranger: httpx.Client, headers: dict[str, str]) -> None:
    answer = stranger.post("/predict", files={"file": ("film", GOOD["png"])}, headers=headers)
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_bearer_token_is_a_key_too(stranger: httpx.Client, key: str) -> None:
    answer = stranger.post(
        "/predict", files={"file": ("film", GOOD["png"])}, headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 200


HIDDEN = ["/healthz", "/schema.json", "/docs.json", "/static_content/x", "/docs", "/static", "/static/", "/redoc"]
NEAR = ["/health/", "//health", "/HEALTH", "/health/x", "/readyz/", "/predict/", "/nope"]


@pytest.mark.parametrize("path", [*HIDDEN, *NEAR])
def test_what_is_not_named_does_not_exist(client: httpx.Client, stranger: httpx.Client, path: str) -> None:
    url = f"http://{client.base_url.host}:{client.base_url.port}{path}"
    assert_problem(stranger.get(url), 401, "unauthorized")
    assert_problem(client.get(url), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/predict", "POST"), ("PUT", "/predict", "POST"), ("POST", "/health", "GET"), ("DELETE", "/model", "GET")],
)
def test_another_method_is_refused(
    client: httpx.Client, stranger: httpx.Client, method: str, path: str, allow: str
) -> None:
    assert_problem(stranger.request(method, path), 401, "unauthorized")
    answer = client.request(method, path)
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_the_model_card_lists_labels_and_digests(client: httpx.Client, package: Path) -> None:
    manifest = load_manifest(package)
    body = client.get("/model").json()
    assert body["labels"] == list(manifest.labels)
    assert body["files"] == manifest.files
    assert (body["digest"], body["preprocessing_digest"]) == (manifest.digest, manifest.preprocessing_digest)
    assert body["gate"]["passed"] is True
    assert body["parts"] == {}


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65_536):
        yield b"x" * 65_536


@pytest.mark.parametrize("length", ["declared", "chunked", "form"])
def test_a_body_of_eleven_megabytes_is_too_large(client: httpx.Client, length: str) -> None:
    size = 11_000_000
    raw = {"Content-Type": "image/png"}
    if length == "declared":
        answer = client.post("/predict", content=b"x" * size, headers=raw)
    elif length == "chunked":
        answer = client.post("/predict", content=chunks(size), headers=raw)
    else:
        answer = client.post("/predict", files={"file": ("film", b"x" * size)})
    assert_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(("size", "status"), [(9_999_999, 415), (10_000_000, 413)])
@pytest.mark.parametrize("form", [True, False])
def test_the_limit_is_the_files_size_to_the_byte(client: httpx.Client, size: int, status: int, form: bool) -> None:
    data = b"x" * size
    if form:
        answer = client.post("/predict", files={"file": ("film", data)})
    else:
        answer = client.post("/predict", content=data, headers={"Content-Type": "image/png"})
    assert answer.status_code == status


@pytest.mark.parametrize("length", ["declared", "chunked"])
def test_an_endless_body_is_cut_off_at_the_limit(server: Server, key: str, length: str) -> None:
    """The client announces 5 GB, or nothing at all, and never ends: the answer comes all the same."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as line:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: image/png\r\n"
        if length == "declared":
            line.sendall(f"{head}Content-Length: 5000000000\r\n\r\nabc".encode())
        else:
            line.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for chunk in chunks(10_100_000):
                line.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        answer = http.client.HTTPResponse(line)
        answer.begin()
        assert answer.status == 413
        assert json.loads(answer.read())["code"] == "body_too_large"


def test_a_connection_that_breaks_off_leaves_the_service_alive(server: Server, client: httpx.Client, key: str) -> None:
    address = urlsplit(server.url)
    for body in ("abc", ""):
        with socket.create_connection((address.hostname, address.port), timeout=60) as line:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: image/png\r\n"
            line.sendall(f"{head}Content-Length: 1000\r\n\r\n{body}".encode())
    assert client.post("/predict", files={"file": ("film", GOOD["png"])}).status_code == 200


def test_nothing_that_a_client_names_reaches_the_log_or_the_disk(server: Server, client: httpx.Client) -> None:
    canary = "DOE-JANE-19560412"
    files = {"file": (f"{canary}.png", GOOD["png"])}
    data = {"patient": canary, canary: "x"}
    params = {"patient": canary}
    assert client.post("/predict", files=files, data=data, params=params).status_code == 200
    client.post("/predict", files={"file": (f"{canary}.png", canary.encode())}, params=params)
    client.post("/predict", files={canary: (f"{canary}.png", GOOD["png"])})
    client.post("/predict", content=canary.encode(), headers={"Content-Type": f"image/{canary}"})
    client.post(
        "/predict", content=canary.encode(), headers={"Content-Type": f"multipart/form-data; boundary={canary}"}
    )
    client.get(f"/{canary}", headers={"X-Patient": canary, "User-Agent": canary})
    client.get("/model", headers={"X-API-Key": canary})
    client.request(canary, "/predict")
    said = server.said()
    assert "POST /predict 200" in said  # the log does speak of these requests
    assert canary not in said
    written = [path for path in server.temporary.rglob("*") if path.is_file()]
    assert not [path for path in written if canary in path.name or canary.encode() in path.read_bytes()]


def test_no_request_of_this_module_was_answered_with_a_server_error(server: Server, client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    assert " 500 " not in server.said()
    assert "Traceback" not in server.said()
    assert "ERROR" not in server.said()
