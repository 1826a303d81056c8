"""A real served bento for the tests of the pages, browser pages to look at it, and films to send."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from bentoml_service.secret_keys import create_secrets
from bentoml_service.security import create_key

__all__ = ["CHROMIUM", "MARKS", "SAMPLES", "Served", "Watched", "chromium", "load", "open_page", "served", "use_key"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install it (Debian: apt-get install chromium)"),
]
SAMPLES = Path(__file__).parents[2] / "bentoml_service/pages/samples"

_TESTS = Path(__file__).parents[1]


def load(path: str) -> ModuleType:
    """A helper of another test folder; test folders are no packages, so it is loaded by its path."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(f"pages_{name}", _TESTS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Served:
    """A running service: its address, a key of each role, its model's package."""

    url: str
    keys: dict[str, str]
    package: Path

    def client(self, role: str = "radiologist") -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-API-Key": self.keys[role]}, timeout=60)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A bento of a tiny network with random weights, served alone; its films are flagged for low confidence."""
    serving, folder = load("service/serving.py"), tmp_path_factory.mktemp("pages")
    package, home = folder / "model", folder / "bentos"
    tiny = load("core/release/tiny_package.py")
    tiny.write_explaining_package(package, tiny.trust_parts())
    command = [sys.executable, "-m", "bentoml_service.packaging", "--package", str(package)]
    built = subprocess.run(
        [*command, "--bento-home", str(home), "--version", "1.0.0"],
        capture_output=True, text=True, timeout=120, env=serving.environment(),
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    keys = {role: create_key(folder / "keys.json", role, role) for role in ("technician", "radiologist", "admin")}
    create_secrets(folder / "secrets.json")
    changes = {
        "BENTOML_HOME": str(home),
        "CXR_API_KEYS": str(folder / "keys.json"),
        "CXR_SECRETS": str(folder / "secrets.json"),
        "CXR_SERVICE__STATE_DIR": str(folder / "state"),
        "CXR_SERVICE__LOW_CONFIDENCE": "1",  # every film is flagged, and has a case
        "CXR_SERVICE__RATE_LIMIT": "100000/second",
        "CXR_SERVICE__FAILURE_LIMIT": "100000/second",
        "CXR_SERVICE__INFERENCE__PATIENCE_MS": "20000",  # a busy machine is slow, and that is not what is tested
    }
    with serving.serve(json.loads(built.stdout)["tag"], folder, changes) as running:
        yield Served(running.url, keys, package)


# Chromium's debugger does not show bodies that hold files: the page's own fetch is asked.
_RECORD = """
const real = window.fetch;
window.sentBodies = {};
const letters = async (body) => {
  let text = "";
  for (const byte of new Uint8Array(await new Response(body).arrayBuffer())) text += String.fromCharCode(byte);
  return text;
};
window.fetch = (path, options = {}) => {
  if (options.body) (window.sentBodies[path] ??= []).push(letters(options.body));
  return real(path, options);
};
"""


@dataclass
class Watched:
    """What a browser page did.

    Attributes:
        requests: address of every request.
        complaints: errors of the page, broken security policies among them; refused requests are not.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.add_init_script(_RECORD)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)

    def sent(self, path: str) -> list[bytes]:
        """Bodies of the requests to ``path`` since the page was loaded, as they went over the line."""
        bodies: list[str] = self.page.evaluate("path => Promise.all(window.sentBodies[path] ?? [])", path)
        return [body.encode("latin-1") for body in bodies]

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, served: Served) -> Iterator[Callable[..., Watched]]:
    """Opens a page in a browser of its own; at the end nothing must have gone wrong, nor left the service's origin."""
    opened: list[Watched] = []

    def open_one(path: str = "/", width: int = 1440, height: int = 900, scheme: str = "light") -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        watched = Watched(context.new_page())
        watched.watch()
        opened.append(watched)
        watched.page.set_default_timeout(20_000)
        watched.page.goto(f"{served.url}{path}")
        watched.page.locator("nav a[aria-current=page]").wait_for()
        return watched

    yield open_one
    for watched in opened:
        watched.page.context.close()
        assert watched.complaints == []
        own = (f"{served.url}/", f"blob:{served.url}/", "data:")
        assert [url for url in watched.requests if not url.startswith(own)] == []


def use_key(page: Any, key: str) -> None:
    page.get_by_role("textbox", name="API key").fill(key)
    page.get_by_role("button", name="Use key").click()
    page.get_by_role("button", name="Forget key").wait_for()
