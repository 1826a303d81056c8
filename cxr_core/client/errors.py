"""What can go wrong between a client and the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_core.errors import CxrError

__all__ = ["TRANSIENT", "ServiceProblem", "ServiceUnreachable"]

# What time mends: too many requests, overload or restart (429, 503), a proxy that waits for its service (502, 504).
TRANSIENT = frozenset({429, 502, 503, 504})
_OF_A_FILM = frozenset({400, 408, 413, 415, 422, 500})  # other statuses would meet every film alike
_LASTING = frozenset({413, 415, 422})


class ServiceProblem(CxrError):
    """The service refused a request.

    Attributes:
        status: HTTP status.
        code: stable machine name of the reason; ``no_problem_details`` where something else than the service spoke.
        detail: one sentence for a person.
        request_id: names the request in the service's log; empty where there is none.
        items: problems of the single films of a batch, as they came.
    """

    def __init__(
        self, status: int, code: str, detail: str, request_id: str = "", items: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        named = f" (request {request_id})" if request_id else ""
        super().__init__(f"The service answered {status} {code}{named}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.items = tuple(items)

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in TRANSIENT

    @property
    def of_a_film(self) -> bool:
        """Whether the film may be the reason, so that others can still be answered."""
        return self.status in _OF_A_FILM

    @property
    def lasting(self) -> bool:
        """Whether the same film will be refused whenever it is sent."""
        return self.status in _LASTING


class ServiceUnreachable(CxrError):
    """No answer came: nobody listens, the certificate does not fit, the connection broke or the time ran out."""
