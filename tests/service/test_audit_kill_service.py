"""A real service of two workers, killed in the midst of load: what was answered is in the trail."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

import films
import httpx
import psutil
import pytest
from serving import command, environment, free_port

from bentoml_service.audit_reading import exported
from bentoml_service.audit_verify import verify_trail
from bentoml_service.secret_keys import load_secrets

pytestmark = pytest.mark.slow

SERVICE = "bentoml_service.service:CXR"


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(900):
        assert process.poll() is None
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service did not get ready")


def test_a_killed_service_has_a_row_for_every_answer_that_left(
    package: Path, key: str, service_settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    changes = {
        **service_settings,
        "CXR_MODEL": str(package),
        "CXR_SERVICE__STATE_DIR": str(tmp_path / "state"),
        "CXR_SERVICE__WORKERS": "2",
        "CXR_SERVICE__INFERENCE__PATIENCE_MS": "60000",
        "BENTOML_HOME": str(tmp_path / "home"),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command(SERVICE, port), stdout=log, stderr=log, cwd=tmp_path, env=environment(**changes),
            start_new_session=True,
        )  # fmt: skip
    answered: list[str] = []
    stopped = threading.Event()

    def load() -> None:
        while not stopped.is_set():
            try:
                sent = {"file": ("film", films.film())}
                answer = httpx.post(f"{url}/predict", files=sent, headers={"X-API-Key": key}, timeout=60)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                answered.append(answer.json()["request_id"])

    started = [psutil.Process(process.pid)]
    clients = [threading.Thread(target=load) for _ in range(6)]
    try:
        wait_until_ready(url, process)
        started += started[0].children(recursive=True)
        for client in clients:
            client.start()
        while len(answered) < 60:
            time.sleep(0.05)
    finally:
        for running in started:
            running.send_signal(signal.SIGKILL)
        stopped.set()
        for client in clients:
            if client.is_alive():
                client.join()
        process.wait(10)
        psutil.wait_procs(started, timeout=10)
    monkeypatch.setenv("CXR_SECRETS", service_settings["CXR_SECRETS"])
    trail, secrets = tmp_path / "state/audit.sqlite", load_secrets()
    report = verify_trail(trail, secrets.audit, {})
    assert report.findings == ()
    kept = {row["request_id"] for row in exported(trail, secrets.audit, secrets.cipher, None, None)}
    assert set(answered) <= kept
    assert len(answered) >= 60
