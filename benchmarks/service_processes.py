"""The services of the benchmarks as real processes: started, waited for, measured, ended."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil  # type: ignore[import-untyped]

from benchmarks.service_outcome import Load, Outcome, pack
from bentoml_service.secret_keys import create_secrets
from bentoml_service.security import create_key

__all__ = ["LIFTED", "Running", "generate", "plain_service", "prediction_service", "trivial_service"]

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
LIFTED = {"CXR_SERVICE__RATE_LIMIT": "1000000/second"}  # of requests of one key: one key sends everything here


@dataclass(frozen=True)
class Running:
    """A service that answers.

    Attributes:
        port: of 127.0.0.1.
        key: API key; empty where the service has none.
        pid: of the process that was started.
        ready: seconds from its start to the first answer of ``/health``.
        workers: processes that predict.
        log: file of what it says.
    """

    port: int
    key: str
    pid: int
    ready: float
    workers: int
    log: Path

    def memory(self) -> float:
        """MiB a worker: the proportional set size of all its processes, shared pages divided (Linux), by workers."""
        parent = psutil.Process(self.pid)
        total = 0
        for process in (parent, *parent.children(recursive=True)):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
        return total / 1024 / self.workers

    def get(self, path: str) -> dict[str, object]:
        """The JSON of a route."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path, headers={"X-API-Key": self.key})
        values: dict[str, object] = json.loads(connection.getresponse().read())
        return values

    def predict(self, film: bytes) -> dict[str, float]:
        """Probabilities of one film."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        head, body = self.request(film).split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        connection.request("POST", "/predict", body=body, headers=headers)
        found: dict[str, float] = json.loads(connection.getresponse().read())["probabilities"]
        return found

    def request(self, film: bytes) -> bytes:
        """The bytes of ``POST /predict`` with a film as a multipart form."""
        boundary = "cxr-benchmark-7d1f0a"
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="film"\r\n'
        body = f"{part}Content-Type: image/jpeg\r\n\r\n".encode() + film + f"\r\n--{boundary}--\r\n".encode()
        head = [
            "POST /predict HTTP/1.1",
            "Host: 127.0.0.1",
            f"Content-Type: multipart/form-data; boundary={boundary}",
            f"Content-Length: {len(body)}",
            *([f"X-API-Key: {self.key}"] if self.key else []),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def generate(service: Running, films: list[bytes], **load: float | str) -> Outcome:
    """Put a service under load from another process; arguments as those of :class:`Load`."""
    with TemporaryDirectory(prefix="cxr-load-") as scratch:
        requests, config = Path(scratch) / "requests", Path(scratch) / "load.json"
        requests.write_bytes(pack([service.request(film) for film in films]))
        config.write_text(json.dumps(asdict(Load(service.port, str(requests), **load))))  # type: ignore[arg-type]
        command = [sys.executable, "-m", "benchmarks.service_load", str(config)]
        done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Outcome(**json.loads(done.stdout))


@contextmanager
def prediction_service(
    package: Path, scratch: Path, workers: int = 1, changes: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Our service: ``bentoml serve`` from the source tree, with every part of it on, as users run it.

    Args:
        package: the model.
        scratch: an empty folder for keys, secrets and state.
        workers: service processes.
        changes: further settings, as environment variables.
    """
    key = create_key(scratch / "keys.json", "benchmark", role="admin")
    create_secrets(scratch / "secrets.json")
    environment = {
        "CXR_MODEL": str(package),
        "CXR_API_KEYS": str(scratch / "keys.json"),
        "CXR_SECRETS": str(scratch / "secrets.json"),
        "CXR_SERVICE__STATE_DIR": str(scratch / "state"),
        "CXR_SERVICE__WORKERS": str(workers),
        "BENTOML_HOME": str(scratch / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
        **LIFTED,
        **(changes or {}),
    }
    port = _free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "bentoml_service.service:CXR"]
    options = ["--host", "127.0.0.1", "--port", str(port)]
    with _process([*command, *options], environment, scratch, port, key, workers) as running:
        yield running


@contextmanager
def plain_service(package: Path, scratch: Path, workers: int = 1) -> Iterator[Running]:
    """The plain service of :mod:`benchmarks.service_plain`."""
    port = _free_port()
    command = _uvicorn("benchmarks.service_plain:app", port, workers)
    with _process(command, {"BENCH_MODEL": str(package)}, scratch, port, "", workers) as running:
        yield running


@contextmanager
def trivial_service(scratch: Path) -> Iterator[Running]:
    """The service of :mod:`benchmarks.service_trivial`."""
    port = _free_port()
    with _process(_uvicorn("benchmarks.service_trivial:app", port, 1), {}, scratch, port, "", 1) as running:
        yield running


def _uvicorn(app: str, port: int, workers: int) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers), "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", app, *options, "--log-level", "warning"]


@contextmanager
def _process(
    command: list[str], environment: Mapping[str, str], scratch: Path, port: int, key: str, workers: int
) -> Iterator[Running]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "BENTOML_"))}
    log = scratch / f"{port}.log"
    started = time.monotonic()
    process = _started(command, {**kept, **environment}, log)
    processes = [psutil.Process(process.pid)]
    try:
        try:
            _wait(process, port, log)
        except RuntimeError:
            if process.poll() is None or "Address already in use" not in log.read_text(errors="replace"):
                raise
            # BentoML's supervisor chose ports of its own, one of which a client had just been given: once more.
            started = time.monotonic()
            process = _started(command, {**kept, **environment}, log)
            processes = [psutil.Process(process.pid)]
            _wait(process, port, log)
        ready = time.monotonic() - started
        processes += processes[0].children(recursive=True)
        yield Running(port, key, process.pid, ready, workers, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        finally:
            for left in psutil.wait_procs(processes, timeout=5)[1]:
                left.kill()


def _started(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended: {log.read_text(errors='replace')}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:  # nobody listens yet
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    raise RuntimeError(f"the service did not become ready: {log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
