"""The gate in front of every route, BentoML's own included: what is not named in ``permissions`` does not exist.

A pure ASGI class that lets no exception through, because one outside the mounted app leaves the client hanging
(TRAPS 25). Every answer to a key holder leaves only after its row is in the audit trail. Its log line names a known
route, never a path, header, query or file name that a client sent.
"""

from __future__ import annotations

import logging
import math
import time
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentoml_service.audit_log import AuditEvent
from bentoml_service.headers import security_headers, with_headers
from bentoml_service.inference import Runtime
from bentoml_service.permissions import Route, find_route
from bentoml_service.problems import problem
from bentoml_service.rate_limits import RateLimiter
from bentoml_service.security import Holder
from bentoml_service.telemetry import OTHER
from cxr_core.errors import CxrError

__all__ = ["Guard"]

_PROBES = frozenset({"/health", "/livez", "/readyz"})  # asked every few seconds: neither logged nor audited
# Without a row in the trail these must not answer: they work on films. The others keep an operator informed.
_ONLY_AUDITED = ("/predict", "/batch_predict", "/review/")

_logger = logging.getLogger("cxr.service")


class Guard:
    """ASGI middleware: keys, roles, limits, known routes and methods, audit, metrics, one log line, no exception."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self.app = app
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await _Call(self.app, self.runtime, scope, receive, send).answer()
        else:  # WebSocket: nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})


class _Call:
    """One request on its way through."""

    def __init__(self, app: ASGIApp, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        self.app, self.runtime = app, runtime
        self.scope, self.receive, self.send = scope, receive, send
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.request_id = self.state["request_id"] = str(uuid.uuid4())
        self.route: Route | None = find_route(scope["path"])
        # How trail, metrics and log name the request: never by what a client chose.
        self.template = self.route.template if self.route else OTHER
        self.method = scope["method"] if self.route and scope["method"] in self.route.methods else "-"
        self.holder: Holder | None = None
        self.status = 0
        self.recorded = True  # whether the trail is to hold this request
        self.replaced = False

    async def answer(self) -> None:
        started = time.perf_counter()
        try:
            refusal = await self._refusal()
            await (refusal or self.app)(self.scope, self.receive, self._leave)
        except Exception as error:
            _log_error(self.request_id, error)
            if not self.status:
                detail = "The service failed; the request id names it in the log."
                await self._problem(500, "internal_error", detail)(self.scope, self.receive, self._leave)
        finally:
            self._account(time.perf_counter() - started)

    async def _refusal(self) -> Response | None:
        method, headers = self.scope["method"], Headers(scope=self.scope)
        if self.runtime.cors and (answer := self.runtime.cors.preflight(method, headers, self.route)):
            return answer
        if self.route and self.route.open_to_all(method):
            return None
        if (wait := await self._identify(headers)) is not None:
            return self._slow_down(wait, "Too many wrong keys came from this address.")
        if self.holder is None:
            challenge = {"WWW-Authenticate": 'Bearer realm="cxr"'}
            detail = "Send a valid API key in the header X-API-Key, or as Authorization: Bearer."
            return self._problem(401, "unauthorized", detail, challenge)
        if self.route is None:
            return self._problem(404, "not_found", "There is no such route.")
        if method not in self.route.methods:
            allow = ", ".join(self.route.methods)
            return self._problem(405, "method_not_allowed", f"This route answers {allow}.", {"Allow": allow})
        if not self.route.allows(method, self.holder.role):
            roles = ", ".join(sorted(self.route.methods[method] or ()))
            return self._problem(403, "forbidden", f"This route is for the roles {roles}.")
        return await self._limited(self.holder)

    async def _identify(self, headers: Headers) -> float | None:
        """Find the key's holder; seconds to wait where an address has tried too many wrong keys."""
        key = headers.get("x-api-key")
        if key is None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            key = token.strip() if scheme.lower() == "bearer" else None
        limiter = self.runtime.limiter
        client = (self.scope.get("client") or ("", 0))[0]
        if limiter and (wait := await _limits(limiter, limiter.barred, client)) is not None:
            self.recorded = False  # whoever has no key must not fill the disk: the failures before this one are there
            return wait
        self.holder = self.runtime.keys.holder(key) if key and self.runtime.keys else None
        if self.holder:
            self.state["key_id"] = self.holder.id
        elif limiter:
            # Requests without any key bar nobody; the trail keeps as many of one address as of wrong keys.
            over = await _limits(limiter, limiter.strike, client if key else f"{client} without a key")
            self.recorded = key is not None or over is None
        return None

    async def _limited(self, holder: Holder) -> Response | None:
        limiter = self.runtime.limiter
        wait = await _limits(limiter, limiter.spend, holder.id) if limiter else None
        return None if wait is None else self._slow_down(wait, "This key has made too many requests.")

    def _slow_down(self, seconds: float, detail: str) -> Response:
        return self._problem(429, "rate_limited", detail, {"Retry-After": str(max(1, math.ceil(seconds)))})

    def _problem(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
        self.state["code"] = code
        return problem(status, code, detail, self.request_id, headers)

    async def _leave(self, message: Message) -> None:
        """Let an answer out: audited first, with the security headers."""
        if self.replaced:
            return  # the rest of an answer that was taken back
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not await self._audited() and self._needs_audit():
                self.replaced = True
                self.status = 503
                detail = "The audit trail cannot be written, so no film is judged: tell whoever runs the service."
                taken = self._problem(503, "audit_unavailable", detail, {"Retry-After": "30"})
                await taken(self.scope, self.receive, self._send_with_headers)
                return
        await self._send_with_headers(message)

    async def _send_with_headers(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            added = security_headers(self.route, self.scope.get("scheme") == "https")
            if self.runtime.cors:
                added += self.runtime.cors.headers(Headers(scope=self.scope).get("origin"))
            message = {**message, "headers": with_headers(message.get("headers", ()), added)}
        await self.send(message)

    def _needs_audit(self) -> bool:
        return self.holder is not None and self.template.startswith(_ONLY_AUDITED)

    async def _audited(self) -> bool:
        trail = self.runtime.audit
        if self.route and self.route.open_to_all(self.scope["method"]):
            return True  # pages and probes hold no data
        if not self.recorded:
            return True
        if trail is None:
            return False
        event = AuditEvent(
            request_id=self.request_id,
            key_id=self.holder.id if self.holder else None,
            role=self.holder.role if self.holder else None,
            method=self.method,
            route=self.template,
            status=self.status,
            code=self.state.get("code", "ok"),
            model=self.state.get("model"),
            patient=self.state.get("patient"),
            detail=self.state.get("detail", {}),
        )
        try:
            await trail.record(event)
        except CxrError as error:
            _logger.error("%s", error)
            return False
        return True

    def _account(self, seconds: float) -> None:
        if self.template in _PROBES and self.status in (200, 503):
            return
        if self.runtime.telemetry:
            self.runtime.telemetry.request(self.template, self.status, seconds)
        _logger.info(
            "%s %s %d %.0f ms request=%s", self.method, self.template, self.status, seconds * 1000, self.request_id
        )


async def _limits(limiter: RateLimiter, ask: Callable[[str], float | None], whose: str) -> float | None:
    """Ask the limiter: at once where it counts on this machine, in a thread where it waits for the network."""
    return await anyio.to_thread.run_sync(ask, whose) if limiter.blocking else ask(whose)


def _log_error(request_id: str, error: Exception) -> None:
    """Say what failed and where, without the message: it may quote what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-5:]))
    _logger.error("%s at %s request=%s", type(error).__name__, where, request_id)
