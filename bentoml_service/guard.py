"""The gate in front of every route, BentoML's own included: what is not named here does not exist.

A pure ASGI class that lets no exception through, because one outside the mounted app leaves the client hanging
(TRAPS 25). Its log line names a known route, never a path, header, query or file name that a client sent.
"""

from __future__ import annotations

import logging
import time
import traceback
import uuid

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentoml_service.inference import Runtime
from bentoml_service.problems import problem

__all__ = ["OPEN", "ROUTES", "Guard"]

# BentoML's /livez and /readyz stay for container probes: they say up or not up and nothing else.
OPEN = frozenset({"/health", "/livez", "/readyz"})
ROUTES: dict[str, tuple[str, ...]] = {
    "/health": ("GET",),
    "/livez": ("GET", "HEAD"),
    "/readyz": ("GET", "HEAD"),
    "/model": ("GET",),
    "/predict": ("POST",),
}

_logger = logging.getLogger("cxr.service")


class Guard:
    """ASGI middleware: keys, known routes and methods, request ids, one log line, no exception."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self.app = app
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:  # WebSocket: nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self._refusal(scope, request_id)
            await (refusal or self.app)(scope, receive, watched)
        except Exception as error:
            _log_error(request_id, error)
            if not status:
                answer = problem(
                    500, "internal_error", "The service failed; the request id names it in the log.", request_id
                )
                await answer(scope, receive, watched)
        finally:
            self._log(scope, status, time.perf_counter() - started, request_id)

    def _refusal(self, scope: Scope, request_id: str) -> Response | None:
        path, method = scope["path"], scope["method"]
        methods = ROUTES.get(path)
        if not (path in OPEN and methods and method in methods):
            holder = self._holder(Headers(scope=scope))
            if holder is None:
                challenge = {"WWW-Authenticate": 'Bearer realm="cxr"'}
                detail = "Send a valid API key in the header X-API-Key, or as Authorization: Bearer."
                return problem(401, "unauthorized", detail, request_id, challenge)
            scope["state"]["key_id"] = holder
        if methods is None:
            return problem(404, "not_found", "There is no such route.", request_id)
        if method not in methods:
            allow = ", ".join(methods)
            return problem(405, "method_not_allowed", f"This route answers {allow}.", request_id, {"Allow": allow})
        return None

    def _holder(self, headers: Headers) -> str | None:
        key = headers.get("x-api-key")
        if key is None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            key = token.strip() if scheme.lower() == "bearer" else None
        return self.runtime.keys.holder(key) if key and self.runtime.keys else None

    def _log(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        path = scope["path"]
        if path in ("/livez", "/readyz", "/health") and status == 200:
            return  # probes come every few seconds
        known = path in ROUTES
        method = scope["method"] if known and scope["method"] in ROUTES[path] else "-"
        _logger.info("%s %s %d %.0f ms request=%s", method, path if known else "-", status, seconds * 1000, request_id)


def _log_error(request_id: str, error: Exception) -> None:
    """Say what failed and where, without the message: it may quote what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-5:]))
    _logger.error("%s at %s request=%s", type(error).__name__, where, request_id)
