"""A service that reads a request and answers at once: it shows what the load generator itself can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

_BODY = b"{" + b" " * 700 + b"}"  # as long as an answer of the prediction service

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Read the body, answer 200."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})
