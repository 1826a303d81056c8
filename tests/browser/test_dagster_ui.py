"""The Dagster UI in a real browser: the lineage is drawn and figures really show."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install it (Debian: apt-get install chromium)"),
]


def graphql(url: str, query: str) -> Any:
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": query}).encode(), {"content-type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request))


@pytest.fixture
def ui(pipeline: SimpleNamespace, tmp_path: Path) -> Iterator[str]:
    """Address of a real webserver over a materialised data part of the pipeline."""
    assert pipeline.refresh().problem == ""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster_webserver", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1",
             "-p", str(port)],
            env={**os.environ, "DAGSTER_HOME": str(tmp_path / "home/dagster")},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            assert process.poll() is None, (tmp_path / "web.log").read_text()
            try:
                urllib.request.urlopen(f"{url}/server_info")
                break
            except OSError:
                time.sleep(0.5)
        graphql(url, "mutation{setNuxSeen}")  # the greeting of a first visit lies over the page
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture
def page(ui: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1800, "height": 1200})
        page.goto(ui)
        yield page
        browser.close()


def test_a_figure_of_an_asset_opens_as_a_picture(ui: str, page: Any, tmp_path: Path):
    page.goto(f"{ui}/assets/eda_samples")
    page.get_by_text("[Show Markdown]").first.click()
    image = page.locator("img[src^='data:image/png']")
    image.wait_for()
    assert image.evaluate("image => image.complete && image.naturalWidth") > 800
    page.screenshot(path=tmp_path / "figure.png")


def test_the_lineage_shows_every_asset_with_its_state(ui: str, page: Any, tmp_path: Path):
    page.set_viewport_size({"width": 2500, "height": 4000})  # what lies outside is not drawn
    page.goto(f"{ui}/asset-groups")
    page.get_by_text("dataset").first.wait_for()
    page.get_by_role("button", name="Materialize all").wait_for()
    for _ in range(20):
        page.keyboard.press("Alt+e")  # expand all groups; heard only once the graph is laid out
        page.wait_for_timeout(1000)
        if page.get_by_text("image_index", exact=True).count():
            break
    for name in ("raw_images", "image_index", "splits", "trained_model"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.screenshot(path=tmp_path / "graph.png")


def test_checks_and_numbers_are_on_the_asset_s_pages(ui: str, page: Any):
    page.goto(f"{ui}/assets/image_index?view=checks")
    for check in ("schema_and_ranges", "quarantine_share", "images_per_class", "exposure_share"):
        page.get_by_text(check).first.wait_for()
    answer = graphql(ui, '{assetNodeOrError(assetKey:{path:["splits"]}){... on AssetNode{staleStatus groupName}}}')
    assert answer["data"]["assetNodeOrError"]["groupName"] == "dataset"
