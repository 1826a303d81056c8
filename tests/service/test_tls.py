"""TLS 1.3 and nothing older, over a real ``cxr serve`` of a bento."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn.config
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from serving import environment, free_port

from bentoml_service import cli
from bentoml_service.secret_keys import create_secrets
from bentoml_service.security import create_key
from bentoml_service.tls import require_certificate, require_tls_1_3
from cxr_core.errors import CxrError
from cxr_core.store import ArtefactStore


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


def make_pair(folder: Path, password: bytes | None = None) -> Pair:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cxr")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pair = Pair(folder / "certificate.pem", folder / "key.pem")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tls"))


def store_with(folder: Path, tag: str) -> Path:
    store = ArtefactStore(folder)
    store.set_ref("bento", store.write_json("bento", {"tag": tag}))
    return folder


@pytest.fixture(scope="module")
def port(
    bento: dict[str, str], pair: Pair, key: str, key_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """Port of ``cxr serve`` with TLS; its settings name relative places, as a person would."""
    folder = tmp_path_factory.mktemp("serving")
    create_secrets(folder / "secrets.json")
    store_with(folder / "store", bento["tag"])
    found = free_port()
    changes = {
        "CXR_STORE": str(folder / "store"),
        "CXR_BENTO_HOME": bento["home"],
        "CXR_API_KEYS": os.path.relpath(key_path, folder),
        "CXR_SECRETS": "secrets.json",
        "CXR_SERVICE__STATE_DIR": "state",
        "CXR_HOME": str(folder),
    }
    arguments = ["serve", "--port", str(found), "--tls-certificate", os.path.relpath(pair.certificate, folder)]
    command = [
        sys.executable,
        "-c",
        "from cxr_core.cli import main; main()",
        *arguments,
        "--tls-key",
        os.path.relpath(pair.key, folder),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(**changes), stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            try:
                if ask(found, pair).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield found
    finally:
        started = [] if process.poll() is not None else [psutil.Process(process.pid)]
        started += [child for parent in started for child in parent.children(recursive=True)]
        if started:
            os.killpg(process.pid, signal.SIGTERM)
        for left in psutil.wait_procs(started, timeout=30)[1]:
            left.kill()


def ask(port: int, pair: Pair) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(pair.certificate))
    return httpx.get(f"https://127.0.0.1:{port}/livez", verify=context, timeout=10)


def handshake(port: int, pair: Pair, version: ssl.TLSVersion) -> str | None:
    """Version that the two agree on when the client speaks ``version`` alone."""
    context = ssl.create_default_context(cafile=str(pair.certificate))
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL")  # so that nothing but the version can keep the two from agreeing
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    with line, context.wrap_socket(line, server_hostname="127.0.0.1") as secure:
        return secure.version()


def test_tls_1_3_is_spoken(port: int, pair: Pair) -> None:
    assert handshake(port, pair, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert ask(port, pair).status_code == 200


def test_tls_1_2_is_refused(port: int, pair: Pair) -> None:
    with pytest.raises((ssl.SSLError, ConnectionResetError)):  # asyncio closes the connection, mostly without an alert
        handshake(port, pair, ssl.TLSVersion.TLSv1_2)
    assert handshake(port, pair, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"  # it was the version and nothing else


def test_without_tls_there_is_no_answer(port: int) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/livez", timeout=10)


def context_of_uvicorn(pair: Pair) -> ssl.SSLContext:
    settings = uvicorn.Config("x:y", ssl_certfile=pair.certificate, ssl_keyfile=pair.key)
    return uvicorn.config.create_ssl_context(
        str(pair.certificate), str(pair.key), None, settings.ssl_version, settings.ssl_cert_reqs, None, "TLSv1"
    )


def test_the_lowest_version_is_set_once_and_only_where_it_is_asked_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = getattr(uvicorn.config.create_ssl_context, "__wrapped__", uvicorn.config.create_ssl_context)
    monkeypatch.setattr(uvicorn.config, "create_ssl_context", made)
    assert context_of_uvicorn(pair).minimum_version < ssl.TLSVersion.TLSv1_3  # what uvicorn does without us
    require_tls_1_3()
    once = uvicorn.config.create_ssl_context
    require_tls_1_3()
    assert uvicorn.config.create_ssl_context is once
    assert context_of_uvicorn(pair).minimum_version == ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("fault", ["another key", "swapped", "no file", "no PEM", "locked"])
def test_a_certificate_that_cannot_be_used_is_refused_in_one_sentence(pair: Pair, tmp_path: Path, fault: str) -> None:
    certificate, key, sentence = pair.certificate, pair.key, "give two PEM files"
    if fault == "another key":
        key = make_pair(tmp_path).key
    elif fault == "swapped":
        certificate, key = key, certificate
    elif fault == "no file":
        key, sentence = tmp_path / "none.pem", "check the path"
    elif fault == "no PEM":
        key = tmp_path / "key.pem"
        key.write_text("x")
    else:
        locked = make_pair(tmp_path, b"password")
        certificate, key, sentence = locked.certificate, locked.key, "without one"
    with pytest.raises(CxrError, match=sentence):
        require_certificate(certificate, key)
    require_certificate(pair.certificate, pair.key)


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What ``cxr serve`` would turn into."""
    found: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_HOME", str(tmp_path))
    monkeypatch.setenv("CXR_STORE", str(store_with(tmp_path / "store", "cxr:1.0.0")))
    monkeypatch.setenv("CXR_API_KEYS", "keys.json")
    monkeypatch.setenv("CXR_SECRETS", "secrets.json")
    monkeypatch.setenv("CXR_SERVICE__STATE_DIR", "state")
    create_key(tmp_path / "keys.json", "one")
    create_secrets(tmp_path / "secrets.json")
    monkeypatch.setattr(cli.os, "execve", lambda _, command, changes: found.append((command, changes)))
    return found


def test_the_command_hands_on_absolute_places_and_the_workers(
    executed: list[tuple[list[str], dict[str, str]]], tmp_path: Path
) -> None:
    result = CliRunner().invoke(cli.serve, ["--workers", "3", "--port", "4444"])
    assert result.exit_code == 0, result.output
    command, changes = executed[0]
    assert command[command.index("--port") + 1] == "4444"
    assert not [word for word in command if word.startswith("--ssl")]
    assert changes["CXR_SERVICE__WORKERS"] == "3"
    for name, place in {"API_KEYS": "keys.json", "SECRETS": "secrets.json", "SERVICE__STATE_DIR": "state"}.items():
        assert changes[f"CXR_{name}"] == str(tmp_path / place)


def test_the_command_hands_on_the_certificate(executed: list[tuple[list[str], dict[str, str]]], pair: Pair) -> None:
    options = ["--tls-certificate", os.path.relpath(pair.certificate), "--tls-key", os.path.relpath(pair.key)]
    result = CliRunner().invoke(cli.serve, options)
    assert result.exit_code == 0, result.output
    command = executed[0][0]
    assert command[-4:] == ["--ssl-certfile", str(pair.certificate), "--ssl-keyfile", str(pair.key)]
    assert "https://127.0.0.1:3001" in result.output


@pytest.mark.parametrize("option", ["--tls-certificate", "--tls-key"])
def test_half_of_a_pair_never_starts_a_service_without_tls(
    executed: list[tuple[list[str], dict[str, str]]], pair: Pair, option: str
) -> None:
    result = CliRunner().invoke(cli.serve, [option, str(pair.certificate)])
    assert result.exit_code == 2
    assert "give both or neither" in result.output
    assert executed == []


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True), ("10.0.0.8", True)],
)
def test_the_command_says_when_films_would_travel_unencrypted(
    executed: list[tuple[list[str], dict[str, str]]], host: str, warned: bool
) -> None:
    result = CliRunner().invoke(cli.serve, ["--host", host])
    assert result.exit_code == 0, result.output
    assert ("unencrypted" in result.output) == warned


@pytest.mark.parametrize(
    ("missing", "sentence"), [("keys.json", "cxr keys create"), ("secrets.json", "cxr secrets create")]
)
def test_the_command_does_not_start_without_keys_or_secrets(
    executed: list[tuple[list[str], dict[str, str]]], tmp_path: Path, missing: str, sentence: str
) -> None:
    (tmp_path / missing).unlink()
    result = CliRunner().invoke(cli.serve, [])
    assert isinstance(result.exception, CxrError)
    assert sentence in str(result.exception)
    assert executed == []
