"""Error answers: RFC 9457 problem details with stable codes, never a message of a library."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse

from cxr_core.errors import CxrError

__all__ = ["RequestError", "problem"]


class RequestError(CxrError):
    """A request that is answered with a problem.

    Attributes:
        status: HTTP status, 400-599.
        code: stable machine name.
        detail: one sentence for a person; holds nothing that the client sent.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


def problem(
    status: int, code: str, detail: str, request_id: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Problem details (RFC 9457) with our ``code`` and ``request_id`` beside its own members."""
    body = {
        "type": f"urn:cxr:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
    return JSONResponse(
        body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type="application/problem+json"
    )
