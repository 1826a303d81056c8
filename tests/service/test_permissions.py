"""The table of routes: what exists, who may use it, and that nothing else fits."""

from __future__ import annotations

import pytest

from bentoml_service.permissions import OPEN, ROLES, ROUTES, find_route

PUBLIC, EVERY_ROLE = {None, *ROLES}, set(ROLES)
OPERATORS, READERS = {"technician", "admin"}, {"radiologist", "admin"}

# The contract, written out by hand: path, method, who may.
TABLE = [
    ("/", "GET", PUBLIC),
    ("/review", "GET", PUBLIC),
    ("/static/app.js", "GET", PUBLIC),
    ("/static/samples/normal-1.png", "GET", PUBLIC),
    ("/health", "GET", PUBLIC),
    ("/livez", "GET", PUBLIC),
    ("/livez", "HEAD", PUBLIC),
    ("/readyz", "GET", PUBLIC),
    ("/readyz", "HEAD", PUBLIC),
    ("/openapi.json", "GET", EVERY_ROLE),
    ("/model", "GET", EVERY_ROLE),
    ("/predict", "POST", EVERY_ROLE),
    ("/predict/explain", "POST", EVERY_ROLE),
    ("/batch_predict", "POST", EVERY_ROLE),
    ("/metrics", "GET", OPERATORS),
    ("/drift_report", "GET", OPERATORS),
    ("/review/cases", "GET", READERS),
    ("/review/cases/0f3a-9_Z", "GET", READERS),
    ("/review/cases/0f3a/film", "GET", READERS),
    ("/review/cases/0f3a/overlay", "GET", READERS),
    ("/review/cases/0f3a/decision", "POST", READERS),
]


@pytest.mark.parametrize(("path", "method", "who"), TABLE)
def test_a_route_is_for_exactly_those_named(path: str, method: str, who: set[str | None]) -> None:
    route = find_route(path)
    assert route is not None
    assert {role for role in (None, *ROLES, "root", "") if route.allows(method, role)} == who | (
        {"root", ""} if who == PUBLIC else set()
    )
    assert route.open_to_all(method) == (who == PUBLIC)
    assert (route.template in OPEN) == (who == PUBLIC)


def test_the_table_has_no_route_or_method_beside_these() -> None:
    expected = {(find_route(path).template, method) for path, method, _ in TABLE}  # type: ignore[union-attr]
    assert {(route.template, method) for route in ROUTES for method in route.methods} == expected
    assert len({route.template for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "get", "Get", "TRACE", "", "GET "])
def test_a_method_that_is_not_named_is_for_nobody(method: str) -> None:
    for route in ROUTES:
        assert not any(route.allows(method, role) for role in (None, *ROLES))
        assert not route.open_to_all(method)


LITERAL = [route.template for route in ROUTES if "{" not in route.template and route.template != "/"]


@pytest.mark.parametrize("path", [*LITERAL, "/static/app.js", "/review/cases/ab/film"])
def test_no_other_spelling_of_a_path_fits(path: str) -> None:
    inner = path[1:]
    tricks = [
        f"{path}/",
        f"{path}//",
        f"/{path}",
        inner,
        path.upper(),
        path.title(),
        f"{path}\n",
        f"{path}\x00",
        f"{path} ",
        f" {path}",
        f"{path};a=b",
        f"{path}?x",
        f"{path}#x",
        f"{path}/.",
        f"{path}/..",
        f"/./{inner}",
        f"/x/../{inner}",
        f"/health/../{inner}",
        f"\\{inner}",
        f"/%2e/{inner}",
        f"{path}%00",
        path.replace("e", "\u0435").replace("a", "\u0430"),  # Cyrillic look-alikes
    ]
    assert [trick for trick in tricks if find_route(trick) is not None] == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "//",
        "/healthz",
        "/schema.json",
        "/docs.json",
        "/docs",
        "/static",
        "/static/",
        "/static/.",
        "/static/..",
        "/static/.env",
        "/static/a..b",
        "/static/../keys.py",
        "/static/a/b.js",
        "/static/samples/../app.js",
        "/static/a%2fb",
        "/static/a\\b",
        "/static_content/x.js",
        f"/static/{'a' * 200}",
        "/review/cases/",
        "/review/cases//film",
        "/review/cases/../metrics",
        "/review/cases/a.b",
        "/review/cases/a/b/film",
        "/review/cases/\u0661",  # a digit, but no ASCII one
        f"/review/cases/{'a' * 65}",
        "/review/cases/a/film/x",
        "/review/cases/{id}",
    ],
)
def test_what_is_not_in_the_table_does_not_exist(path: str) -> None:
    assert find_route(path) is None


def test_a_chosen_part_never_changes_the_route() -> None:
    for part in ("film", "decision", "cases", "samples"):
        route = find_route(f"/review/cases/{part}")
        assert route is not None
        assert route.template == "/review/cases/{id}"
