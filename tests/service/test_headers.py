"""What browsers are told, for every route, and which other sites may call."""

from __future__ import annotations

import re

import pytest
from starlette.datastructures import Headers

from bentoml_service.headers import Cors, security_headers, with_headers
from bentoml_service.pages.routes import FOLDER, PAGE_FILES
from bentoml_service.permissions import ROUTES, Route, find_route
from cxr_core.errors import CxrError

PAGES = {"/", "/review", "/static/{name}", "/static/samples/{name}"}
HERE = "https://viewer.example"


def headers(route: Route | None, tls: bool = False) -> dict[str, str]:
    pairs = security_headers(route, tls)
    assert len({name for name, _ in pairs}) == len(pairs)
    assert all(name == name.lower() for name, _ in pairs)
    return {name.decode(): value.decode() for name, value in pairs}


def policy(route: Route | None) -> dict[str, list[str]]:
    parts = [part.split() for part in headers(route)["content-security-policy"].split(";")]
    return {name: values for name, *values in parts}


@pytest.mark.parametrize("route", [*ROUTES, None], ids=lambda route: route.template if route else "none")
def test_every_answer_is_safe_in_a_browser(route: Route | None) -> None:
    told = headers(route)
    assert told["x-content-type-options"] == "nosniff"
    assert told["x-frame-options"] == "DENY"
    assert told["referrer-policy"] == "no-referrer"
    assert told["cross-origin-opener-policy"] == told["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in told["permissions-policy"]
    assert policy(route)["default-src"] == policy(route)["frame-ancestors"] == ["'none'"]
    assert policy(route)["base-uri"] == policy(route)["form-action"] == ["'none'"]
    assert not re.search(r"unsafe|https?:|\*|nonce|strict-dynamic", told["content-security-policy"])


@pytest.mark.parametrize("route", [*ROUTES, None], ids=lambda route: route.template if route else "none")
def test_data_is_kept_in_no_cache_and_runs_nothing(route: Route | None) -> None:
    told = headers(route)
    if route is not None and route.template in PAGES:
        assert told["cache-control"] == "no-cache"
        assert policy(route)["script-src"] == policy(route)["style-src"] == policy(route)["connect-src"] == ["'self'"]
        assert policy(route)["img-src"] == ["'self'", "data:", "blob:"]
    else:
        assert told["cache-control"] == "no-store"
        assert not {"script-src", "style-src", "img-src", "connect-src"} & policy(route).keys()


def test_hsts_is_said_over_tls_alone() -> None:
    for route in (*ROUTES, None):
        assert "strict-transport-security" not in headers(route)
        assert headers(route, tls=True)["strict-transport-security"] == "max-age=31536000"


def test_the_list_of_one_answer_is_not_that_of_the_next() -> None:
    security_headers(None).clear()
    assert headers(None)


def test_the_pages_need_nothing_that_their_policy_forbids() -> None:
    for path, (name, media_type) in PAGE_FILES.items():
        assert find_route(path) is not None, path
        if media_type.startswith("text/html"):
            text = (FOLDER / name).read_text()
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<base|<iframe|<form[^>]*action", text), name
            assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", text), name
            assert set(re.findall(r"(?:src|href)=\"(https?:|//)", text)) == set(), name
        elif name.endswith(".js"):
            text = (FOLDER / name).read_text()
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), name


def test_added_headers_replace_those_of_the_same_name() -> None:
    answer = [(b"Cache-Control", b"public"), (b"content-type", b"a/b"), (b"Vary", b"Accept"), (b"cache-control", b"x")]
    assert with_headers(answer, [(b"cache-control", b"no-store"), (b"vary", b"Origin")]) == [
        (b"content-type", b"a/b"),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept, Origin"),
    ]
    assert with_headers([(b"vary", b"Accept")], [(b"a", b"b")]) == [(b"vary", b"Accept"), (b"a", b"b")]


def preflight(cors: Cors, path: str, asked: str, origin: str = HERE, method: str = "OPTIONS") -> dict[str, str] | None:
    sent = Headers({"Origin": origin, "Access-Control-Request-Method": asked})
    answer = cors.preflight(method, sent, find_route(path))
    if answer is None:
        return None
    assert answer.status_code == 204
    assert answer.body == b""
    return dict(answer.headers)


def test_cors_is_closed_where_no_origin_is_named() -> None:
    cors = Cors(())
    assert cors.headers(HERE) == cors.headers(None) == []
    assert preflight(cors, "/predict", "POST") is None
    assert cors.preflight("OPTIONS", Headers({"Access-Control-Request-Method": "POST"}), find_route("/predict")) is None


def test_a_named_origin_may_call_and_is_told_so_by_its_own_name() -> None:
    cors = Cors([HERE, "http://localhost:8080"])
    told = dict(cors.headers(HERE))
    assert told[b"access-control-allow-origin"] == HERE.encode()
    assert told[b"vary"] == b"Origin"
    assert b"access-control-allow-credentials" not in told
    answer = preflight(cors, "/predict", "POST")
    assert answer is not None
    assert answer["access-control-allow-methods"] == "POST"
    assert "X-API-Key" in answer["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer


@pytest.mark.parametrize(
    "origin",
    [f"{HERE}.evil.example", f"{HERE}/", f"{HERE}:8443", "http://viewer.example", "null", "", HERE.upper(), f" {HERE}"],
)
def test_an_origin_that_is_not_named_is_allowed_nothing(origin: str) -> None:
    cors = Cors([HERE])
    assert cors.headers(origin) == [(b"vary", b"Origin")]  # a cache must not mix the answers
    assert preflight(cors, "/predict", "POST", origin) is None


@pytest.mark.parametrize(
    ("path", "asked", "method"),
    [("/predict", "GET", "OPTIONS"), ("/predict", "*", "OPTIONS"), ("/nothing", "POST", "OPTIONS"),
     ("/predict", "POST", "POST"), ("/predict", "", "OPTIONS"), ("/predict", "post", "OPTIONS")],
)  # fmt: skip
def test_only_what_exists_can_be_asked_for(path: str, asked: str, method: str) -> None:
    assert preflight(Cors([HERE]), path, asked, method=method) is None


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "https://*.example", f"{HERE}/", f"{HERE}/app", "viewer.example", "ftp://x", f"{HERE}\n", ""],
)
def test_an_origin_that_no_browser_writes_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(CxrError, match=r"Setting service\.cors_origins"):
        Cors([HERE, origin])
