"""The files of the pages: a fixed table, served with the right types, self-contained, and packed into a bento."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

import bentoml_service.pages
from bentoml_service.contents import service_modules
from bentoml_service.pages.make_samples import SAMPLES, sample_films
from bentoml_service.pages.routes import FOLDER, PAGE_FILES
from bentoml_service.permissions import find_route
from cxr_core import NOTICE

_TEXTS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".html", ".js", ".css", ".svg"))
_MOST_BYTES = 100_000  # of a synthetic film: it is in the repository and in each bento
_MOST_LINES = 280
_ROUNDING = 2  # grey levels: vector units of other processors round differently


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(openapi_url=None)
    bentoml_service.pages.add_page_routes(app)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("route", PAGE_FILES)
def test_each_file_comes_with_its_type_and_is_revalidated(client: TestClient, route: str) -> None:
    name, media_type = PAGE_FILES[route]
    first = client.get(route)
    assert first.status_code == 200
    assert first.content == (FOLDER / name).read_bytes()
    assert first.headers["content-type"] == media_type
    assert first.headers["cache-control"] == "no-cache"
    for tag in (first.headers["etag"], f"W/{first.headers['etag']}", f'"x", {first.headers["etag"]}', "*"):
        again = client.get(route, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert client.get(route, headers={"If-None-Match": '"other"'}).status_code == 200
    found = find_route(route)
    assert found is not None
    assert found.open_to_all("GET")


@pytest.mark.parametrize(
    "path",
    ["routes.py", "__init__.py", "", "index.html", "samples", "samples/", "samples/normal", "../app.py",
     "%2e%2e/app.py", "..%2fapp.py", "samples/..%2f..%2fapp.py", "%2fetc%2fpasswd", "style.css%00", "STYLE.CSS"],
)  # fmt: skip
def test_nothing_beside_the_table_is_served(client: TestClient, path: str) -> None:
    answer = client.get(f"/static/{path}")
    assert answer.status_code != 200
    assert b"import" not in answer.content


def test_every_file_of_the_folder_is_served_and_packed() -> None:
    served = {name for name, _ in PAGE_FILES.values()}
    there = {path.relative_to(FOLDER).as_posix() for path in [*_TEXTS, *SAMPLES.iterdir()]}
    assert served == there
    packed = service_modules()
    assert {f"bentoml_service/pages/{name}" for name in served} <= set(packed)
    assert "bentoml_service/pages/make_samples.py" not in packed  # needs what the service does not have


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: path.name)
def test_pages_need_nothing_from_elsewhere_and_nothing_inline(path: Path) -> None:
    text = path.read_text()
    elsewhere = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}  # a namespace, not asked
    assert not elsewhere
    assert len(text.splitlines()) <= _MOST_LINES
    if path.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
        assert re.findall(r"<script[^>]*>([^<]*)</script>", text) == [""]
        assert NOTICE in text
        ids = re.findall(r'\sid="([^"]+)"', text)
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", [path for path in _TEXTS if path.suffix == ".js"], ids=lambda path: path.name)
def test_scripts_keep_nothing_and_read_no_text_as_html(path: Path) -> None:
    forbidden = r"localStorage|sessionStorage|indexedDB|document\.cookie|innerHTML|outerHTML|insertAdjacentHTML|eval\("
    assert not re.findall(forbidden, path.read_text())
    for name in re.findall(r'(?:from|import\()\s*"([^"]+)"', path.read_text()):
        assert name in PAGE_FILES
    for name in re.findall(r'getElementById\("([^"]+)"\)|\$\("([^"]+)"\)', path.read_text()):
        pages = (FOLDER / "index.html").read_text() + (FOLDER / "review.html").read_text()
        assert f'id="{name[0] or name[1]}"' in pages


def test_the_synthetic_films_are_what_the_generator_makes() -> None:
    films = sample_films()
    assert {f"{name}.png" for name in films} == {path.name for path in SAMPLES.iterdir()}
    for name, pixels in films.items():
        path = SAMPLES / f"{name}.png"
        assert path.stat().st_size < _MOST_BYTES
        with Image.open(path) as image:
            kept = np.asarray(image)
        assert kept.shape == pixels.shape
        assert np.abs(kept.astype(int) - pixels).max() <= _ROUNDING
