"""Who may do what: every route that exists, its methods, and the roles that each asks for. What is not here is closed.

Paths fit exactly: no trailing slash, no other case, no empty, dotted or doubled part. The table is data, so that the
guard, the audit trail, the metrics and the log all name a request by the same template and never by its path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

__all__ = ["OPEN", "ROLES", "ROUTES", "Role", "Route", "find_route"]

Role = Literal["radiologist", "technician", "admin"]
ROLES: tuple[str, ...] = get_args(Role)

# A part of a path that a client chooses: ASCII, so that no other script's digit or letter passes for one of ours.
_PARTS = {
    "id": r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
    "name": r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?:\.[A-Za-z0-9]{1,8}){0,2}",  # app.js, app.min.js; never ..
}


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        template: its path; ``{id}`` and ``{name}`` stand for one part that the client chooses.
        methods: method to the roles that may use it; ``None``: everybody, without a key.
    """

    template: str
    methods: Mapping[str, frozenset[str] | None]
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", MappingProxyType(dict(self.methods)))
        literals = re.split(r"\{(\w+)\}", self.template)
        pattern = "".join(_PARTS[part] if at % 2 else re.escape(part) for at, part in enumerate(literals))
        object.__setattr__(self, "_pattern", re.compile(pattern))

    def fits(self, path: str) -> bool:
        """Whether this is the route of ``path``, a decoded path without its query."""
        return self._pattern.fullmatch(path) is not None

    def open_to_all(self, method: str) -> bool:
        """Whether ``method`` is there and asks for no key."""
        return method in self.methods and self.methods[method] is None

    def allows(self, method: str, role: str | None) -> bool:
        """Whether a key of ``role`` may use ``method``; ``None`` is the role of one who has no key."""
        roles = self.methods.get(method, frozenset())
        return roles is None or role in roles


_ALL = frozenset(ROLES)
_OPERATORS = frozenset({"technician", "admin"})
_READERS = frozenset({"radiologist", "admin"})

ROUTES: tuple[Route, ...] = (
    Route("/", {"GET": None}),
    Route("/review", {"GET": None}),
    Route("/static/{name}", {"GET": None}),
    Route("/static/samples/{name}", {"GET": None}),
    Route("/health", {"GET": None}),
    # BentoML's own stay for container probes: they say up or not up and nothing else.
    Route("/livez", {"GET": None, "HEAD": None}),
    Route("/readyz", {"GET": None, "HEAD": None}),
    Route("/openapi.json", {"GET": _ALL}),
    Route("/model", {"GET": _ALL}),
    Route("/predict", {"POST": _ALL}),
    Route("/predict/explain", {"POST": _ALL}),
    Route("/batch_predict", {"POST": _ALL}),
    Route("/metrics", {"GET": _OPERATORS}),
    Route("/drift_report", {"GET": _OPERATORS}),
    Route("/review/cases", {"GET": _READERS}),
    Route("/review/cases/{id}", {"GET": _READERS}),
    Route("/review/cases/{id}/film", {"GET": _READERS}),
    Route("/review/cases/{id}/overlay", {"GET": _READERS}),
    Route("/review/cases/{id}/decision", {"POST": _READERS}),
)

# Templates that answer without a key. They hold no data.
OPEN: frozenset[str] = frozenset(route.template for route in ROUTES if None in route.methods.values())

_LITERAL = {route.template: route for route in ROUTES if "{" not in route.template}
_CHOSEN = tuple(route for route in ROUTES if "{" in route.template)


def find_route(path: str) -> Route | None:
    """The route of a decoded path without its query, or ``None``; at most one fits."""
    if route := _LITERAL.get(path):
        return route
    return next((route for route in _CHOSEN if route.fits(path)), None)
