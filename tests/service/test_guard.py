"""The guard between a request and its answer: the audit trail, the limits, the headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import films
import pytest
from starlette.testclient import TestClient

from bentoml_service import wiring
from bentoml_service.app import create_app
from bentoml_service.audit_log import AuditUnavailable
from bentoml_service.audit_reading import exported
from bentoml_service.guard import Guard
from bentoml_service.inference import Runtime
from bentoml_service.secret_keys import load_secrets

PATIENT = "MRN-40551-DOE"
Open = Callable[..., Any]


@pytest.fixture
def served(package: Path, service_settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """``served(setting=value)``: a client of the app with these settings, and its runtime."""
    monkeypatch.setenv("CXR_MODEL", str(package))
    monkeypatch.setenv("CXR_SERVICE__STATE_DIR", str(tmp_path / "state"))
    for name, value in service_settings.items():
        monkeypatch.setenv(name, value)

    @contextmanager
    def opened(**changes: str) -> Iterator[tuple[TestClient, Runtime]]:
        for name, value in changes.items():
            monkeypatch.setenv(f"CXR_SERVICE__{name}", value)
        runtime = Runtime()
        wiring.start(runtime)
        with TestClient(Guard(create_app(runtime), runtime)) as client:
            yield client, runtime
        asyncio.run(wiring.stop(runtime))

    return opened


def send(client: TestClient, key: str, **more: Any) -> Any:
    return client.post("/predict", files={"file": ("film", films.film())}, headers={"X-API-Key": key}, **more)


def trail_of(folder: Path) -> list[dict[str, Any]]:
    secrets = load_secrets()
    return list(exported(folder / "state/audit.sqlite", secrets.audit, secrets.cipher, None, None))


def test_each_answer_has_a_row_that_names_key_role_outcome_model_and_a_pseudonym(
    served: Open, key: str, tmp_path: Path
) -> None:
    with served() as (client, runtime):
        answer = send(client, key, data={"patient_id": PATIENT})
        client.get("/model", headers={"X-API-Key": "wrong"})
        client.get(f"/{PATIENT}", headers={"X-API-Key": key})
        client.get("/health")
        pseudonym = runtime.secrets.pseudonym(PATIENT)
        digest = runtime.loaded().identity.digest
    predicted, refused, unknown = trail_of(tmp_path)
    assert predicted["request_id"] == answer.json()["request_id"]
    assert (predicted["key_id"], predicted["role"], predicted["status"]) == ("tests", "admin", 200)
    assert (predicted["route"], predicted["method"], predicted["code"]) == ("/predict", "POST", "ok")
    assert (predicted["patient"], predicted["model"]) == (pseudonym, digest)
    assert predicted["detail"]["answer"]["prediction"] == answer.json()["prediction"]
    assert (refused["key_id"], refused["status"], refused["code"]) == (None, 401, "unauthorized")
    assert (unknown["route"], unknown["status"]) == ("other", 404)
    assert PATIENT not in json.dumps([predicted, refused, unknown])


def test_without_a_trail_no_film_is_judged_and_everything_else_goes_on(
    served: Open, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> int:
        raise AuditUnavailable("The disk is full.")

    with served() as (client, runtime):
        monkeypatch.setattr(runtime.audit, "record", broken)
        for answer in (send(client, key), client.get("/review/cases", headers={"X-API-Key": key})):
            assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
            assert "prediction" not in answer.json()
            assert answer.headers["retry-after"]
        assert client.get("/metrics", headers={"X-API-Key": key}).status_code == 200
        assert client.get("/model", headers={"X-API-Key": "wrong"}).status_code == 401
        monkeypatch.undo()
        assert send(client, key).status_code == 200


def test_a_service_whose_trail_cannot_be_opened_lives_but_is_not_ready(served: Open, key: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "audit.sqlite").mkdir(parents=True)
    with served() as (client, _):
        health = client.get("/health")
        assert (health.status_code, health.json()["checks"]["audit"]) == (503, False)
        assert client.get("/health?probe=live").status_code == 200
        assert send(client, key).json()["code"] == "audit_unavailable"


def test_a_key_may_ask_as_often_as_the_limit_says(served: Open, key: str) -> None:
    with served(RATE_LIMIT="3/minute") as (client, _):
        answers = [client.get("/model", headers={"X-API-Key": key}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


def test_an_address_with_too_many_wrong_keys_is_not_listened_to(served: Open, key: str) -> None:
    with served(FAILURE_LIMIT="3/minute") as (client, _):
        answers = [client.get("/model", headers={"X-API-Key": f"wrong-{n}"}) for n in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert client.get("/model", headers={"X-API-Key": key}).status_code == 429  # its right key is not looked at
        assert client.get("/health").status_code == 200


def test_who_has_no_key_cannot_fill_the_trail(served: Open, key: str, tmp_path: Path) -> None:
    with served(FAILURE_LIMIT="3/minute") as (client, _):
        for _ in range(20):
            assert client.get("/model").status_code == 401
        assert client.get("/model", headers={"X-API-Key": key}).status_code == 200  # nobody is barred for it
        for number in range(20):
            client.get("/model", headers={"X-API-Key": f"wrong-{number}"})
    found = [row["code"] for row in trail_of(tmp_path)]
    assert found.count("ok") == 1
    assert len(found) <= 1 + 3 + 3 + 1  # of each kind as many as the limit says
    assert "rate_limited" not in found


def test_other_sites_may_call_only_where_they_are_named(served: Open, key: str) -> None:
    asked = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    with served() as (client, _):
        assert client.options("/predict", headers=asked).status_code == 401
        assert "access-control-allow-origin" not in client.get("/health", headers=asked).headers
    with served(CORS_ORIGINS='["https://viewer.example"]') as (client, _):
        answer = client.options("/predict", headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "https://viewer.example")
        other = client.options("/predict", headers={**asked, "Origin": "https://other.example"})
        assert other.status_code == 401


def test_data_is_never_kept_in_a_cache_and_pages_run_nothing_but_their_own_script(served: Open, key: str) -> None:
    with served() as (client, _):
        data = client.get("/model", headers={"X-API-Key": key}).headers
        page = client.get("/").headers
    assert data["cache-control"] == "no-store"
    assert "script-src 'self'" in page["content-security-policy"]
    assert "unsafe" not in page["content-security-policy"]
    assert page["x-frame-options"] == "DENY"
