"""Two workers of a real ``bentoml serve``: every route with every kind of key, and what the routes answer."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import films
import httpx
import numpy as np
import pytest
from PIL import Image
from serving import Server, serve

from bentoml_service.audit_verify import verify_trail
from bentoml_service.key_sets import KeySet
from bentoml_service.permissions import ROLES, ROUTES, Route
from bentoml_service.secret_keys import read_secrets
from bentoml_service.security import create_key, revoke_key
from cxr_core import NOTICE
from cxr_core.release.predictor import Predictor

SERVICE = "bentoml_service.service:CXR"
KINDS = ("none", "wrong", "expired", "revoked", *ROLES)
CANARY = "ROE-RICHARD-19481130"


@pytest.fixture(scope="module")
def keys(key_path: Path) -> dict[str, str]:
    """A key of each kind."""
    made = {role: create_key(key_path, f"matrix-{role}", role=role) for role in ROLES}
    made["expired"] = create_key(
        key_path, "matrix-expired", role="admin", expires=datetime.now(UTC) + timedelta(seconds=1)
    )
    made["revoked"] = create_key(key_path, "matrix-revoked", role="admin")
    revoke_key(key_path, "matrix-revoked")
    time.sleep(1.1)  # until the expired one is
    return {**made, "wrong": "x" * 43, "none": ""}


@pytest.fixture(scope="module")
def pair(
    explaining_package: Path,
    keys: dict[str, str],
    service_settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Two workers on one state."""
    folder = tmp_path_factory.mktemp("pair")
    changes = {
        **service_settings,
        "CXR_MODEL": str(explaining_package),
        "CXR_SERVICE__STATE_DIR": str(folder / "state"),
        "CXR_SERVICE__WORKERS": "2",
        "BENTOML_HOME": str(folder / "home"),
    }
    with serve(SERVICE, folder, changes) as running:
        yield running


@pytest.fixture(scope="module")
def ask(pair: Server, keys: dict[str, str]) -> Iterator[Any]:
    """``ask(kind of key, method, path, ...)``, each time over a connection of its own: whichever worker takes it."""

    def request(kind: str, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**({"X-API-Key": keys[kind]} if keys[kind] else {}), **more.pop("headers", {})}
        return httpx.request(method, pair.url + path, headers=headers, timeout=60, **more)

    return request


def path_of(route: Route) -> str:
    return route.template.replace("{id}", "no-such-case").replace("{name}", "no-such-file.js")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.template)
def test_every_route_with_every_kind_of_key(ask: Any, route: Route, kind: str) -> None:
    for method, roles in route.methods.items():
        answer = ask(kind, method, path_of(route))
        if roles is None:
            assert answer.status_code in (200, 404)  # open; the file asked for is not there
        elif kind not in ROLES:
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        elif kind not in roles:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        else:
            assert answer.status_code in (200, 400, 404, 415)  # let in: the body is missing, or there is no such case
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" in answer.headers
        assert "server" not in answer.headers or "bento" not in answer.headers["server"].lower()


def test_an_answer_says_everything_that_is_promised(ask: Any, explaining_package: Path) -> None:
    expected = Predictor.load(explaining_package).predict(films.film())
    body = ask("technician", "POST", "/predict", files={"file": ("film", films.film())}).json()
    assert set(body) == {"prediction", "confidence", "probabilities", "uncertainty", "warnings", "parts", "review",
                         "model", "request_id", "notice"}  # fmt: skip
    assert body["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert body["uncertainty"] == pytest.approx(expected.uncertainty.model_dump(), abs=1e-6)
    assert body["notice"] == NOTICE
    assert body["warnings"] == [warning.model_dump() for warning in expected.warnings]
    assert set(body["parts"]) == set(expected.parts) == {"calibration", "operating_points", "prediction_sets"}
    assert body["parts"]["calibration"] == expected.parts["calibration"]
    assert body["parts"]["prediction_sets"] == expected.parts["prediction_sets"]
    for name, point in expected.parts["operating_points"].items():
        assert body["parts"]["operating_points"][name] == pytest.approx(point, abs=1e-6)


def test_the_model_says_which_temperature_points_and_sets_are_in_force(ask: Any, explaining_package: Path) -> None:
    parts = ask("technician", "GET", "/model").json()["parts"]
    assert parts == json.loads(json.dumps(Predictor.load(explaining_package).parts_summary()))
    assert parts["calibration"]["temperature"] == 1.5
    assert parts["operating_points"]["source"] == "model package"
    assert parts["operating_points"]["points"]["tb_sensitivity_90"]["threshold"] == 0.2
    assert parts["prediction_sets"]["level"] == 0.9


def test_a_batch_keeps_the_order_and_each_file_has_its_own_answer(ask: Any, explaining_package: Path) -> None:
    good = [films.film(seed=seed) for seed in range(3)]
    sent = [good[0], b"not a film", good[1], b"", good[2]]
    answer = ask("technician", "POST", "/batch_predict", files=[("file", ("film", data)) for data in sent])
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["index"] for item in items] == [0, 1, 2, 3, 4]
    assert [item["problem"]["code"] if item["problem"] else None for item in items] == [
        None, "not_an_image", None, "empty", None,
    ]  # fmt: skip
    predictor = Predictor.load(explaining_package)
    for place, data in zip((0, 2, 4), good, strict=True):
        expected = predictor.predict(data)
        assert items[place]["answer"]["prediction"] == expected.label
        assert items[place]["answer"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ([], 400, "missing_file"),
        ([films.film()] * 11, 400, "too_many_files"),
        ([b"x", b"y"], 422, "no_usable_file"),
        ([films.film()] * 10, 200, None),
        ([b"x" * 10_000_000, films.film()], 200, None),
    ],
    ids=["none", "eleven", "no film among them", "ten", "one too large"],
)
def test_what_a_batch_may_hold(ask: Any, sent: list[bytes], status: int, code: str | None) -> None:
    files = [("files", ("film", data)) for data in sent] or [("other", ("film", films.film()))]
    answer = ask("technician", "POST", "/batch_predict", files=files)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["code"] == code
    if code == "no_usable_file":
        assert [item["problem"]["code"] for item in answer.json()["items"]] == ["not_an_image"] * 2


def test_a_prediction_is_explained_for_the_class_that_is_asked_for(ask: Any, explaining_package: Path) -> None:
    predictor = Predictor.load(explaining_package)
    prepared = predictor.prepare(films.film())
    for label in predictor.manifest.labels:
        answer = ask("technician", "POST", f"/predict/explain?label={label}", files={"file": ("film", films.film())})
        assert answer.status_code == 200, answer.text
        said = answer.json()["explanation"]
        frame, overlay = (pixels_of(said[name]) for name in ("frame", "overlay"))
        assert said["label"] == label
        np.testing.assert_array_equal(frame, prepared.frame)
        heat = predictor.explain(prepared.frame, predictor.manifest.labels.index(label))
        assert np.abs(overlay[..., 3] / 255 - heat).max() < 0.01  # as opaque as the evidence is strong
    refused = ask("technician", "POST", "/predict/explain?label=Fracture", files={"file": ("film", films.film())})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_label")


def pixels_of(url: str) -> Any:
    head, _, content = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def dark() -> bytes:
    return films.encoded(Image.fromarray(np.full((300, 300), 12, np.uint8) + films.pixels(300, 300) // 8))


def test_a_flagged_film_waits_for_a_reader_who_decides(ask: Any, pair: Server) -> None:
    said = ask("technician", "POST", "/predict", files={"file": ("film", dark())}).json()
    case = said["review"]["case"]
    assert case
    assert {warning["code"] for warning in said["warnings"]} >= {"under_exposed"}
    listed = ask("radiologist", "GET", "/review/cases").json()
    kept = next(found for found in listed["cases"] if found["id"] == case)
    assert kept["parts"] == said["parts"]
    assert kept["reasons"] == [warning["code"] for warning in said["warnings"]]
    film = ask("radiologist", "GET", f"/review/cases/{case}/film")
    assert (film.status_code, film.headers["content-type"]) == (200, "image/png")
    decision = {"action": "correct", "label": "Tuberculosis", "comment": CANARY}
    decided = ask("radiologist", "POST", f"/review/cases/{case}/decision", json=decision)
    assert decided.status_code == 200, decided.text
    assert decided.json()["state"] == "decided"
    again = ask("technician", "POST", "/predict", files={"file": ("film", dark())}).json()
    assert again["review"]["case"] == case  # one film, one case
    for path in (pair.temporary.parent / "state").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path.name


def test_workers_share_counts_and_one_audit_trail(ask: Any, pair: Server, secrets_path: Path) -> None:
    def predicted() -> int:
        return int(ask("admin", "GET", "/metrics").json()["predictions"]["number"])

    time.sleep(1.2)  # each worker writes at least once a second
    before = predicted()
    for seed in range(12):
        answer = ask("technician", "POST", "/predict", files={"file": ("film", films.film(seed=seed))},
                     headers={"X-Patient-Id": CANARY})  # fmt: skip
        assert answer.status_code == 200
    time.sleep(1.2)
    assert {predicted() for _ in range(6)} == {before + 12}  # whichever worker is asked
    kept = read_secrets(secrets_path)["audit"]
    keys = KeySet("audit", lambda: kept)
    report = verify_trail(pair.temporary.parent / "state/audit.sqlite", keys, {})
    assert report.findings == ()
    assert report.rows >= 2 * 12
    assert CANARY not in pair.said()


def test_metrics_come_as_json_and_for_prometheus(ask: Any) -> None:
    assert ask("admin", "GET", "/metrics").headers["content-type"].startswith("application/json")
    text = ask("technician", "GET", "/metrics", headers={"Accept": "text/plain"})
    assert text.headers["content-type"].startswith("text/plain")
    assert "# TYPE" in text.text
    assert 'route="/predict"' in text.text
    assert CANARY not in text.text


def test_the_drift_report_says_that_there_is_no_reference(ask: Any) -> None:
    report = ask("admin", "GET", "/drift_report").json()
    assert report["notice"] == NOTICE
    assert "window" in report


def test_openapi_describes_the_routes_that_need_a_key(ask: Any) -> None:
    document = ask("technician", "GET", "/openapi.json").json()
    described = {path.replace("{case_id}", "{id}") for path in document["paths"]}
    data = {route.template for route in ROUTES if not route.template.startswith(("/static", "/livez", "/readyz"))}
    assert described == data - {"/", "/review", "/openapi.json"}
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
    assert json.dumps(document).count("#/components/schemas/Problem") > 5
    assert document["paths"]["/predict"]["post"]["security"]
    for schema in ("PredictAnswer", "CaseAnswer"):
        parts = document["components"]["schemas"][schema]["properties"]["parts"]
        assert "$ref" not in json.dumps(parts)
        said = parts["properties"]
        assert set(said["calibration"]["properties"]) >= {"method", "temperature", "films"}
        point = said["operating_points"]["additionalProperties"]["properties"]
        assert set(point) >= {"label", "threshold", "probability", "flagged"}
        assert set(said["prediction_sets"]["properties"]) == {"level", "labels", "kind", "marginal"}


def test_no_request_of_this_module_was_answered_with_a_server_error(pair: Server, ask: Any) -> None:
    assert ask("none", "GET", "/health").status_code == 200
    assert " 500 " not in pair.said()
    assert "Traceback" not in pair.said()
