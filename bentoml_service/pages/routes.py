"""Serving the pages from the package: a fixed table of names, read once, validated by their digest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import Response

from bentoml_service.problems import RequestError
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["FOLDER", "PAGE_FILES", "add_page_routes"]

FOLDER = Path(__file__).parent
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"

# Route to file and media type. A request picks an entry or gets 404: no part of a path is ever joined to a folder.
PAGE_FILES: dict[str, tuple[str, str]] = {
    "/": ("index.html", _HTML),
    "/review": ("review.html", _HTML),
    "/static/style.css": ("style.css", "text/css; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/static/{name}.js": (f"{name}.js", _SCRIPT)
        for name in (
            "answer",
            "common",
            "decision",
            "films",
            "parts",
            "predict",
            "queue",
            "result",
            "review",
            "session",
            "shortcuts",
            "viewer",
            "wording",
        )
    },
    **{
        f"/static/samples/{name}.png": (f"samples/{name}.png", "image/png")
        for name in ("normal", "pneumonia", "tuberculosis", "dark", "strip")
    },
}


@dataclass(frozen=True)
class _Loaded:
    content: bytes
    media_type: str
    etag: str


def add_page_routes(app: FastAPI) -> None:
    """Add ``/``, ``/review`` and ``/static/...``; they hold no data and need no key.

    Raises:
        CxrError: a file of the pages is missing: the installation is damaged.
    """
    files = {route: _load(name, media_type) for route, (name, media_type) in PAGE_FILES.items()}

    async def page(request: Request) -> Response:
        return _answer(request, files[request.url.path])

    async def static(request: Request) -> Response:
        found = files.get(request.url.path)
        if found is None:
            raise RequestError(404, "not_found", "There is no such route.")
        return _answer(request, found)

    app.add_api_route("/", page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/review", page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/static/{name:path}", static, methods=["GET"], include_in_schema=False)


def _load(name: str, media_type: str) -> _Loaded:
    path = FOLDER / name
    if not path.is_file():
        raise CxrError(f"{path} is missing, which the pages need: install the service again.")
    with explain_os_errors(path, "reading a file of the pages"):
        content = path.read_bytes()
    return _Loaded(content, media_type, f'"{digest_bytes(content)[:32]}"')


def _answer(request: Request, found: _Loaded) -> Response:
    """The file, or 304 where the browser has it: names carry no version, so browsers ask each time."""
    headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
    asked = request.headers.get("if-none-match", "")
    if asked.strip() == "*" or found.etag in {tag.strip().removeprefix("W/") for tag in asked.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
