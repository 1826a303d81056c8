"""Which problem a refused request or film is answered with."""

from __future__ import annotations

from typing import Any

from bentoml_service.problems import RequestError, describe_problem
from bentoml_service.uploads import status_of
from cxr_core.errors import ImageRejected

__all__ = ["describe_refusal"]


def describe_refusal(error: RequestError | ImageRejected, request_id: str) -> dict[str, Any]:
    """Problem details of a refused request or film."""
    if isinstance(error, RequestError):
        return describe_problem(error.status, error.code, error.detail, request_id, **error.more)
    return describe_problem(status_of(error), error.code, error.reason, request_id)
