"""One package, one key, one bento and one running service for all tests of the service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loading import load
from serving import Server, environment, serve

from bentoml_service.secret_keys import Secrets, create_secrets, load_secrets
from bentoml_service.security import create_key


@pytest.fixture(scope="session")
def write_tiny_package() -> Callable[..., Any]:
    return load("core/release/tiny_package.py").write_tiny_package  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, write_tiny_package: Callable[..., Any]) -> Path:
    folder = tmp_path_factory.mktemp("package") / "model"
    write_tiny_package(folder, documents={"model_card.md": b"# What the model is for\n"})
    return folder


@pytest.fixture(scope="session")
def explaining_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with heat maps, temperature, operating points and prediction sets."""
    folder = tmp_path_factory.mktemp("explaining") / "model"
    tiny = load("core/release/tiny_package.py")
    tiny.write_explaining_package(folder, tiny.trust_parts())
    return folder


@pytest.fixture(scope="session")
def key_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "api-keys.json"


@pytest.fixture(scope="session")
def key(key_path: Path) -> str:
    return create_key(key_path, "tests", role="admin")


@pytest.fixture(scope="session")
def secrets_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "service-secrets.json"
    create_secrets(path)
    return path


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """Secrets of one test alone, which the environment names."""
    create_secrets(tmp_path / "secrets.json")
    monkeypatch.setenv("CXR_SECRETS", str(tmp_path / "secrets.json"))
    return load_secrets()


@pytest.fixture(scope="session")
def service_settings(key_path: Path, key: str, secrets_path: Path) -> dict[str, str]:
    """Environment of a service that the tests may ask as often, and with as many wrong keys, as they like."""
    return {
        "CXR_API_KEYS": str(key_path),
        "CXR_SECRETS": str(secrets_path),
        "CXR_SERVICE__INFERENCE__ENGINE": "onnxruntime",  # measuring both takes seconds at each first start
        "CXR_SERVICE__RATE_LIMIT": "100000/second",
        "CXR_SERVICE__FAILURE_LIMIT": "100000/second",
    }


@pytest.fixture(scope="session")
def bento(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A bento made by the command line; ``home`` is its store."""
    home = tmp_path_factory.mktemp("bento-home")
    answer = build(package, home)
    assert answer.returncode == 0, answer.stderr
    return {**json.loads(answer.stdout), "home": str(home)}


def build(package: Path, home: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bentoml_service.packaging", "--package", str(package), "--bento-home", str(home)]
    return subprocess.run(
        [*command, "--version", "1.0.0", *more], capture_output=True, text=True, timeout=120, env=environment()
    )


@pytest.fixture(scope="session")
def build_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    return build


@pytest.fixture(scope="session")
def server(
    bento: dict[str, str], service_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The bento, served from its store alone."""
    folder = tmp_path_factory.mktemp("server")
    changes = {**service_settings, "BENTOML_HOME": bento["home"], "CXR_SERVICE__STATE_DIR": str(folder / "state")}
    with serve(bento["tag"], folder, changes) as running:
        yield running
