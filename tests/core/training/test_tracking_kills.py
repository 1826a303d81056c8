"""Processes die while they are tracked, while they upload, and so does the server: nothing is lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from mlflow_parts import EXPERIMENT, Mlflow

from cxr_core.store import ArtefactStore
from cxr_core.training.processes import is_gone, process_mark
from cxr_core.training.tracking import EXPERIMENT as PIPELINE
from cxr_core.training.tracking import Tracker
from cxr_core.training.tracking_outbox import Outbox

TRAINING = Path(__file__).parent / "tracked_training.py"
CXR = [sys.executable, "-c", "from cxr_core.cli import main; main()"]


def killed_training(uri: str, store: Path) -> str:
    """Kill a training after three epochs; what it said on standard error."""
    process = subprocess.Popen(
        [sys.executable, str(TRAINING), uri, str(store)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "three epochs\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    return process.stderr.read()


def track(monkeypatch: pytest.MonkeyPatch, uri: str, store: Path) -> subprocess.Popen[str]:
    monkeypatch.setenv("CXR_MLFLOW_URI", uri)
    monkeypatch.setenv("CXR_STORE", str(store))
    return subprocess.Popen([*CXR, "track"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("away", [True, False])
def test_what_a_killed_training_said_is_in_mlflow_and_the_run_is_closed(
    away: bool, mlflow: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    if away:
        mlflow.go_away()
    said = killed_training(mlflow.uri, store)
    assert said.count("\n") == away  # one sentence
    if away:
        still = track(monkeypatch, mlflow.uri, store)
        assert still.communicate()[0].count("kept in the store") == 1
        assert still.returncode == 0
        mlflow.come_back()
        done = track(monkeypatch, mlflow.uri, store)
        assert done.communicate()[0] == "Runs uploaded to MLflow: 1\n"
        assert done.returncode == 0
    else:
        assert mlflow.holds(PIPELINE)["training"]["status"] == "RUNNING"
        assert Tracker(mlflow.uri, PIPELINE, store=ArtefactStore(store)).connect()
    run = mlflow.holds(PIPELINE)["training"]
    assert (run["status"], run["params"], run["tags"]["splits"]) == ("KILLED", {"seed": "42"}, "abc")
    assert [(step, value) for step, _, value in run["metrics"]["val_loss"]] == [
        (epoch, repr(1 / epoch)) for epoch in (1, 2, 3)
    ]
    assert track(monkeypatch, mlflow.uri, store).communicate()[0] == "Nothing waits for MLflow.\n"


@pytest.mark.slow
def test_two_processes_that_upload_at_once_double_nothing(
    mlflow: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    mlflow.go_away()
    tracker = Tracker(mlflow.uri, PIPELINE, lambda text: None, ArtefactStore(store))
    for number in range(20):
        with tracker.run(f"trial-{number}") as run:
            run.history([{"epoch": epoch, "val_loss": 1 / epoch} for epoch in range(1, 6)])
            run.register("cxr", "model", {"package_digest": str(number)})
    mlflow.come_back()
    uploaders = [track(monkeypatch, mlflow.uri, store) for _ in range(2)]
    said = [uploader.communicate()[0] for uploader in uploaders]
    assert [uploader.returncode for uploader in uploaders] == [0, 0], said
    runs = mlflow.holds(PIPELINE)
    assert len(runs) == 20
    assert {len(run["metrics"]["val_loss"]) for run in runs.values()} == {5}
    assert sorted(tags["package_digest"] for tags, _, _ in mlflow.versions("cxr").values()) == sorted(
        map(str, range(20))
    )
    assert Outbox(ArtefactStore(store)).pending() == []


@pytest.fixture
def server(mlflow: Mlflow, tmp_path: Path) -> Iterator[Callable[[], tuple[str, Callable[[], None]]]]:
    """Starts an MLflow server on the database, always on the same port; its address, and what kills it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []
    url = f"http://127.0.0.1:{port}"

    def kill() -> None:
        if started[-1].poll() is None:
            os.killpg(started[-1].pid, signal.SIGKILL)
            started[-1].wait()

    def start() -> tuple[str, Callable[[], None]]:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", mlflow.uri, "--workers", "1",
                   "--artifacts-destination", str(mlflow.folder / "artifacts"), "--port", str(port)]  # fmt: skip
        with (tmp_path / "server.log").open("ab") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path))
        for _ in range(240):
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    return url, kill
            except httpx.TransportError:
                time.sleep(0.25)
        raise AssertionError((tmp_path / "server.log").read_text())

    yield start
    if started:
        kill()


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_of_a_run_gets_the_rest_when_it_is_back(
    server: Callable[[], tuple[str, Callable[[], None]]], mlflow: Mlflow, tmp_path: Path
) -> None:
    store = ArtefactStore(tmp_path / "store")
    figure = tmp_path / "curve.svg"
    figure.write_text("<svg/>")
    warnings: list[str] = []
    url, kill = server()
    with Tracker(url, EXPERIMENT, warnings.append, store).run("training") as run:
        run.params({"seed": 42})
        run.artefact(figure, "early")
        for epoch in range(1, 7):
            if epoch == 4:
                kill()
            run.history([{"epoch": epoch, "val_loss": 1 / epoch}])
        run.artefact(figure, "late")
        run.register("cxr", "late", {"package_digest": "abc"}, ["challenger"])
    assert len(warnings) == 1
    url, kill = server()
    again = Tracker(url, EXPERIMENT, warnings.append, store)
    assert again.connect()
    assert (len(warnings), again.uploaded) == (1, 1)
    kill()
    held = mlflow.holds()["training"]
    assert (held["status"], held["params"]) == ("FINISHED", {"seed": "42"})
    assert [(step, value) for step, _, value in held["metrics"]["val_loss"]] == [
        (epoch, repr(1 / epoch)) for epoch in range(1, 7)
    ]
    assert list(mlflow.versions("cxr").values()) == [({"package_digest": "abc"}, ["challenger"], "training")]
    kept = sorted(path.parent.name for path in (mlflow.folder / "artifacts").rglob("curve.svg"))
    assert kept == ["early", "late"]


def test_the_runs_of_living_processes_stay_open(mlflow: Mlflow) -> None:
    with Tracker(mlflow.uri, EXPERIMENT).run("training"):
        assert Tracker(mlflow.uri, EXPERIMENT).connect()
        assert mlflow.holds()["training"]["status"] == "RUNNING"


def test_only_a_process_that_provably_ended_is_gone() -> None:
    ask = "import sys, cxr_core.training.processes as p; print(p.process_mark(), flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    mine, mark = process_mark(), child.stdout.readline().strip()
    assert mark.count("/") == mine.count("/") == 3
    assert not is_gone(mark)
    child.stdin.close()
    while not is_gone(mark):  # also before its parent has asked how it ended
        time.sleep(0.05)
    assert child.returncode is None
    child.wait()
    assert is_gone(mark)
    assert not is_gone(mine)
    elsewhere = "/".join(["another-boot", *mark.split("/")[1:]])
    assert not is_gone(elsewhere)
    assert not is_gone("")
