"""The routes of the review queue. Who may use them is said in :mod:`bentoml_service.permissions`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, Protocol, TypeVar

import anyio.to_thread
from fastapi import FastAPI, Path, Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from bentoml_service.openapi import problems
from bentoml_service.problems import RequestError
from bentoml_service.review.cases import State
from bentoml_service.review.pictures import decode_grey, encode_png, film_part, heat_colours
from bentoml_service.review.queue import ReviewQueue
from bentoml_service.review.schemas import (
    DECISION_BODY,
    LISTED,
    LONGEST_COMMENT,
    PAGE_QUERY,
    PNG,
    CaseAnswer,
    CasesAnswer,
    DecisionBody,
)
from cxr_core.errors import CxrError
from cxr_core.release.predictor import Predictor

__all__ = ["ReviewRuntime", "add_review_routes"]

_BODY = 32_768  # bytes: a comment of 2,000 characters, each escaped as two times \uXXXX, and the rest
_BODY_SECONDS = 10.0

_logger = logging.getLogger("cxr.service")

_CaseId = Annotated[str, Path(alias="id", description="A case of the review queue.")]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ReviewRuntime(Protocol):
    """What the routes work with: the queue, ``None`` where it is switched off, and the loaded model."""

    review: ReviewQueue | None
    predictor: Predictor | None


def add_review_routes(app: FastAPI, runtime: ReviewRuntime) -> None:
    """Add the routes over ``runtime.review``; the guard has let in whom they are for."""

    def queue() -> ReviewQueue:
        if runtime.review is None:
            raise RequestError(404, "review_disabled", "This service keeps no review queue.")
        return runtime.review

    @app.get("/review/cases", openapi_extra={"parameters": PAGE_QUERY}, responses=problems(400, 404, 429, 503))
    async def review_cases(request: Request) -> CasesAnswer:
        """Cases of one state, oldest first."""
        state, limit, after = _page(request)
        kept = queue()

        def look() -> CasesAnswer:
            counts = kept.counts()
            found = tuple(map(CaseAnswer.of, kept.cases(state, limit, after)))
            return CasesAnswer(cases=found, open=counts["open"], decided=counts["decided"])

        return await _in_thread(look)

    @app.get("/review/cases/{id}", responses=problems(404, 429, 503))
    async def review_case(case_id: _CaseId, request: Request) -> CaseAnswer:
        """One case."""
        case = await _in_thread(queue().case, case_id)
        _note(request, case.model_digest, case=case.id)
        return CaseAnswer.of(case)

    @app.get("/review/cases/{id}/film", response_class=Response, responses={**problems(404, 429, 503), **PNG})
    async def review_film(case_id: _CaseId, request: Request) -> Response:
        """The film, reduced: a grey PNG."""
        film = await _in_thread(queue().film, case_id)
        _note(request, case=case_id)
        return _png(film)

    @app.get("/review/cases/{id}/overlay", response_class=Response, responses={**problems(404, 429, 503), **PNG})
    async def review_overlay(case_id: _CaseId, request: Request) -> Response:
        """What spoke for the predicted label: a PNG with transparency, to be stretched over the film."""
        kept, predictor = queue(), runtime.predictor
        if predictor is None:
            raise RequestError(503, "not_ready", "The model is being loaded: try again in a few seconds.")
        overlay = await _in_thread(_overlay, kept, predictor, case_id)
        _note(request, predictor.identity.digest, case=case_id)
        return _png(overlay)

    @app.post(
        "/review/cases/{id}/decision",
        openapi_extra=DECISION_BODY,
        responses=problems(400, 404, 408, 413, 415, 422, 429, 503),
    )
    async def review_decision(case_id: _CaseId, request: Request) -> CaseAnswer:
        """Accept the model's label or correct it; a later decision replaces an earlier one, and both are kept."""
        kept = queue()
        body = await _decision(request)
        key_id = str(_state(request).get("key_id", ""))
        case = await _in_thread(kept.decide, case_id, body.action, body.label, body.comment, key_id)
        if case.decision is not None:
            _note(request, case.model_digest, case=case.id, action=body.action, label=case.decision.label)
        return CaseAnswer.of(case)


def _state(request: Request) -> dict[str, Any]:
    state: dict[str, Any] = request.scope.setdefault("state", {})
    return state


def _note(request: Request, model: str | None = None, **detail: Any) -> None:
    """What the audit trail keeps of the answer: which case was seen or decided, once it is known to be one."""
    _state(request).update({"detail": detail, **({"model": model} if model else {})})


async def _in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Off the event loop; a queue that cannot be used is the service's trouble, not the client's."""

    def run() -> _T:
        try:
            return call(*args, **kwargs)
        except RequestError:
            raise
        except CxrError as error:
            _logger.error("%s", error)
            raise RequestError(503, "review_unavailable", "The review queue cannot be used at the moment.") from error

    return await anyio.to_thread.run_sync(run)


def _page(request: Request) -> tuple[State, int, str | None]:
    asked = request.query_params
    states: dict[str, State] = {"open": "open", "decided": "decided"}
    state, limit = states.get(asked.get("state", "open")), asked.get("limit", "50")
    if state is None:
        raise RequestError(400, "malformed_query", "state must be open or decided.")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 4 and 1 <= int(limit) <= LISTED):
        raise RequestError(400, "malformed_query", f"limit must be a number from 1 to {LISTED}.")
    return state, int(limit), asked.get("after")


async def _decision(request: Request) -> DecisionBody:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, "unsupported_media_type", "Send the decision as application/json.")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _BODY:
                    raise RequestError(413, "body_too_large", f"A decision must be smaller than {_BODY} bytes.")
    except TimeoutError as error:
        raise RequestError(408, "body_timeout", "The body did not arrive in time.") from error
    except ClientDisconnect as error:
        raise RequestError(400, "malformed_body", "The body ended early.") from error
    try:
        return DecisionBody.model_validate_json(bytes(body))
    except ValidationError:
        detail = (
            'Send {"action": "accept" or "correct", "label": the right one, with correct alone, '
            f'"comment": at most {LONGEST_COMMENT} characters}}.'
        )
        raise RequestError(422, "malformed_body", detail) from None  # the cause quotes what was sent


def _overlay(kept: ReviewQueue, predictor: Predictor, case_id: str) -> bytes:
    case = kept.case(case_id)
    if not predictor.can_explain:
        raise RequestError(404, "part_missing", "The model that is served cannot explain its predictions.")
    if case.model_digest != predictor.identity.digest:
        raise RequestError(404, "model_replaced", "The model that judged this film is not the one that is served.")
    label = predictor.manifest.labels.index(case.prediction)
    heat = predictor.explain(decode_grey(kept.frame(case_id)), label)
    return encode_png(heat_colours(film_part(heat, decode_grey(kept.film(case_id)))))


def _png(picture: bytes) -> Response:
    return Response(picture, media_type="image/png", headers={"Cache-Control": "no-store"})
