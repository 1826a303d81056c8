"""Start a real ``bentoml serve``, wait for it, and end exactly the processes that it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

_START_SECONDS = 90
_STOP_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """A running service: ``url`` without a slash at the end, the file of its ``log``, its temporary folder."""

    url: str
    log: Path
    temporary: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings of the project, and with ``changes``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "BENTOML_"))}
    return {**kept, "BENTOML_DO_NOT_TRACK": "true", **changes}


def command(target: str, port: int) -> list[str]:
    return [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(target: str, folder: Path, changes: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    temporary = folder / "tmp"
    temporary.mkdir()
    running = Server(f"http://127.0.0.1:{port}", folder / "log", temporary)
    with running.log.open("wb") as log:
        process = subprocess.Popen(
            command(target, port),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(**changes, TMPDIR=str(temporary)),
            start_new_session=True,
        )
    started = [psutil.Process(process.pid)]
    try:
        _wait(process, running)
        started += started[0].children(recursive=True)
        yield running
    finally:
        _stop(process, started)


def _wait(process: subprocess.Popen[bytes], running: Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the service ended: {running.said()}"
        try:
            if httpx.get(f"{running.url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"the service did not answer: {running.said()}")


def _stop(process: subprocess.Popen[bytes], started: list[psutil.Process]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    finally:
        left = psutil.wait_procs(started, timeout=5)[1]
        for orphan in left:
            orphan.kill()
    assert not left, f"processes left behind: {left}"


def run_to_its_end(target: str, folder: Path, changes: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Serve something that must refuse to start; returns its status and what it said."""
    return subprocess.run(
        command(target, free_port()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=environment(**changes, BENTOML_HOME=str(folder / "home")),
        timeout=_START_SECONDS,
    )
