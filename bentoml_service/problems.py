"""Error answers: RFC 9457 problem details with stable codes, never a message of a library."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from cxr_core.errors import CxrError

__all__ = ["RequestError", "describe_problem", "problem", "problem_answer"]

_RETRY_SECONDS = "5"  # after a 503: a queue of two seconds is empty by then


class RequestError(CxrError):
    """A request that is answered with a problem.

    Attributes:
        status: HTTP status, 400-599.
        code: stable machine name.
        detail: one sentence for a person; holds nothing that the client sent.
        more: further members of the problem, JSON values.
    """

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.more = more


def describe_problem(status: int, code: str, detail: str, request_id: str = "", **more: Any) -> dict[str, Any]:
    """Problem details (RFC 9457) with our ``code`` and ``request_id`` beside its own members."""
    return {
        "type": f"urn:cxr:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
        **more,
    }


def problem(
    status: int, code: str, detail: str, request_id: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An answer with problem details."""
    return problem_answer(describe_problem(status, code, detail, request_id), headers)


def problem_answer(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer with the given problem details; 503 says when to try again."""
    retry = {"Retry-After": _RETRY_SECONDS} if body["status"] == 503 else {}
    all_headers = {"Cache-Control": "no-store", **retry, **(headers or {})}
    return JSONResponse(dict(body), body["status"], all_headers, media_type="application/problem+json")
