"""Headers of every answer that tell a browser what it may do with it, and who else's pages may ask (CORS).

After the OWASP Secure Headers Project (2025): pages run the script and style files of this service and nothing written
into a page; answers with data run nothing, are shown in no frame and are kept in no cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from starlette.responses import Response

from bentoml_service.permissions import Route
from cxr_core.errors import CxrError

__all__ = ["Cors", "RawHeaders", "security_headers", "with_headers"]

RawHeaders = list[tuple[bytes, bytes]]

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9a-f:]+\](?::[0-9]{1,5})?")
_MAX_AGE = "600"  # seconds that a browser remembers a preflight: a setting that was closed is closed soon
# What a client may send, and may read beside the body.
_ASKED = "Accept, Authorization, Content-Type, X-API-Key, X-Patient-Id"
_SHOWN = "Retry-After, WWW-Authenticate"

# Features of a browser that the pages never use.
_FEATURES = (
    "accelerometer camera display-capture geolocation gyroscope magnetometer microphone midi payment "
    "publickey-credentials-get screen-wake-lock serial usb xr-spatial-tracking"
)
_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": ", ".join(f"{name}=()" for name in _FEATURES.split()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DATA = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_PAGE = {
    # data: and blob: are the films and heat maps, which the page makes from what it was answered.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "Cache-Control": "no-cache",  # asks each time, and is answered 304: the names carry no version
}
# One year; without includeSubDomains, because a hospital's name has other services below it.
_TLS = {"Strict-Transport-Security": "max-age=31536000"}


def _raw(values: Mapping[str, str]) -> RawHeaders:
    return [(name.lower().encode(), value.encode()) for name, value in values.items()]


_HEADERS = {
    (page, tls): _raw({**_COMMON, **(_PAGE if page else _DATA), **(_TLS if tls else {})})
    for page in (True, False)
    for tls in (True, False)
}


def security_headers(route: Route | None, tls: bool = False) -> RawHeaders:
    """Headers of an answer of ``route``; ``None``: no route of ours, or an error.

    Args:
        route: what was asked; the pages and their files are treated as pages, all else as data.
        tls: whether the client speaks TLS (the scheme of the request is https); only then may HSTS be said.
    """
    page = route is not None and (route.template in ("/", "/review") or route.template.startswith("/static/"))
    return list(_HEADERS[page, tls])


def with_headers(headers: Iterable[tuple[bytes, bytes]], added: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """``headers`` with those ``added``, which replace any of the same name; ``Vary`` is joined instead."""
    new = list(added)
    names = {name for name, _ in new}
    old = [(name.lower(), value) for name, value in headers]
    if b"vary" in names:
        values = [value for name, value in (*old, *new) if name == b"vary"]
        new = [(name, value) for name, value in new if name != b"vary"] + [(b"vary", b", ".join(values))]
    return [(name, value) for name, value in old if name not in names] + new


class Cors:
    """Pages of which other sites may call; none where ``origins`` is empty. They send a key: no cookie is ever allowed.

    Args:
        origins: ``service.cors_origins``: scheme, host and port as a browser writes them, ``https://viewer.example``.

    Raises:
        CxrError: an origin that no browser would write, or a wildcard.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)
        if not all(_ORIGIN.fullmatch(origin) for origin in self._origins):
            raise CxrError(
                "Setting service.cors_origins: give each origin as https://HOST or https://HOST:PORT, in lower case, "
                "without a path or a wildcard."
            )

    def headers(self, origin: str | None) -> RawHeaders:
        """What to add to an answer to a page of ``origin``; nothing where CORS is closed."""
        if not self._origins:
            return []
        if origin not in self._origins:
            return _raw({"Vary": "Origin"})
        return _raw({"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _SHOWN, "Vary": "Origin"})

    def preflight(self, method: str, headers: Mapping[str, str], route: Route | None) -> Response | None:
        """The answer to a browser that asks whether a page may call ``route``; needs no key, and tells nothing else.

        Args:
            method: of the request; only OPTIONS is a preflight.
            headers: of the request, names in any case.
            route: what is asked for.

        Returns:
            ``None`` where this is no preflight, the origin is not allowed, or the route has no such method: treat the
            request as any other.
        """
        origin, wanted = headers.get("origin"), headers.get("access-control-request-method")
        if method != "OPTIONS" or origin not in self._origins or route is None:
            return None
        if wanted is None or wanted not in route.methods:
            return None
        allowed = {
            "Access-Control-Allow-Methods": wanted,
            "Access-Control-Allow-Headers": _ASKED,
            "Access-Control-Max-Age": _MAX_AGE,
        }
        return Response(status_code=204, headers=allowed)
