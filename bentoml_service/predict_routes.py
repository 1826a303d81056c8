"""The routes that judge films: one, one with its heat map, up to ten at once."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import anyio.to_thread
import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from bentoml_service.inference import Runtime
from bentoml_service.openapi import FILE_BODY, FILES_BODY, problems
from bentoml_service.problems import RequestError
from bentoml_service.refusals import describe_refusal
from bentoml_service.review.flagging import queue_flagged, reasons_of
from bentoml_service.review.pictures import encode_png, heat_colours
from bentoml_service.schemas import (
    Answer,
    BatchAnswer,
    BatchItem,
    ExplainedAnswer,
    Explanation,
    PredictAnswer,
    Problem,
    Review,
)
from bentoml_service.telemetry import Observation
from bentoml_service.uploads import Upload, read_upload, read_uploads
from cxr_core.errors import CxrError, ImageRejected
from cxr_core.release.predictor import Prediction, Prepared

__all__ = ["add_predict_routes"]

_METHOD = "Grad-CAM at the last map"  # computed as CAM, which it equals below a linear head: TRAPS 15


def add_predict_routes(app: FastAPI, runtime: Runtime) -> None:
    """Add ``/predict``, ``/predict/explain`` and ``/batch_predict``."""

    @app.post(
        "/predict",
        response_model=PredictAnswer,
        openapi_extra=FILE_BODY,
        responses=problems(400, 408, 413, 415, 422, 429, 503),
    )
    async def predict(request: Request) -> Response:
        """Classify one film."""
        upload = await _receive(request, runtime)
        found, prepared = await runtime.predict(upload.data)
        _observe(runtime, found, prepared)
        answer = await _answer(request, runtime, upload.data, found, prepared)
        _note(request, answer=_summary(answer))
        return _json(PredictAnswer(**dict(answer), **_about(request, runtime)))

    @app.post(
        "/predict/explain",
        response_model=ExplainedAnswer,
        openapi_extra=FILE_BODY,
        responses=problems(400, 404, 408, 413, 415, 422, 429, 503),
    )
    async def explain(request: Request, label: Annotated[str | None, Query()] = None) -> Response:
        """Classify one film and show where in it the evidence for a class lies.

        A second look at a film, so it does not count in the drift window.
        """
        upload = await _receive(request, runtime)
        found, prepared, heat, shown = await runtime.explain(upload.data, label)
        answer = await _answer(request, runtime, upload.data, found, prepared)
        _note(request, answer={**_summary(answer), "explained": shown})
        explanation = await anyio.to_thread.run_sync(_explanation, prepared.frame, heat, shown)
        return _json(ExplainedAnswer(**dict(answer), **_about(request, runtime), explanation=explanation))

    @app.post(
        "/batch_predict",
        response_model=BatchAnswer,
        openapi_extra=FILES_BODY,
        responses=problems(400, 408, 413, 415, 422, 429, 503),
    )
    async def batch_predict(request: Request) -> Response:
        """Classify one to ten films; each has its own answer or problem, in the order of the files."""
        service = runtime.service
        uploads = await read_uploads(request, service.max_bytes, service.max_files, service.body_seconds)
        _note_patient(request, runtime, uploads.patient_id)
        films = [item.data for item in uploads.items if isinstance(item, Upload)]
        answers = iter(await runtime.predict_all(films))
        items = []
        for place, item in enumerate(uploads.items):
            found = next(answers) if isinstance(item, Upload) else item
            items.append(await _item(request, runtime, place, item, found))
        _note(request, items=[_outcome(item) for item in items])
        if not any(item.answer for item in items):
            shown = [item.model_dump(mode="json", exclude_none=True) for item in items]
            raise RequestError(422, "no_usable_file", "No file of the batch could be judged: see each.", items=shown)
        return _json(BatchAnswer(items=items, **_about(request, runtime)))


def _json(answer: BaseModel) -> Response:
    """The answer as it is: FastAPI would validate it a second time."""
    return Response(answer.model_dump_json(), media_type="application/json")


async def _receive(request: Request, runtime: Runtime) -> Upload:
    upload = await read_upload(request, runtime.service.max_bytes, runtime.service.body_seconds)
    _note_patient(request, runtime, upload.patient_id)
    return upload


async def _item(request: Request, runtime: Runtime, place: int, upload: Upload | RequestError, found: Any) -> BatchItem:
    if isinstance(found, RequestError | ImageRejected):
        return BatchItem(index=place, problem=Problem(**describe_refusal(found, _state(request)["request_id"])))
    if isinstance(found, CxrError):
        raise found  # ours, not the film's
    assert isinstance(upload, Upload)  # only a film has an answer
    _observe(runtime, *found)
    return BatchItem(index=place, answer=await _answer(request, runtime, upload.data, *found))


def _observe(runtime: Runtime, found: Prediction, prepared: Prepared) -> None:
    if runtime.telemetry is not None:
        grey = prepared.grey
        codes = tuple(warning.code for warning in found.warnings)
        runtime.telemetry.prediction(
            Observation(found.label, found.confidence, grey.mean, grey.std, grey.width / grey.height, codes)
        )


async def _answer(request: Request, runtime: Runtime, data: bytes, found: Prediction, prepared: Prepared) -> Answer:
    """What is said of a film, once it is kept for a reader where it is flagged."""
    case = None
    if runtime.review is not None and reasons_of(found):
        case = await anyio.to_thread.run_sync(
            queue_flagged, runtime.review, found, prepared.frame, data, runtime.limits, _state(request)["request_id"]
        )
    return Answer(
        prediction=found.label,
        confidence=found.confidence,
        probabilities=found.probabilities,
        uncertainty=found.uncertainty,
        warnings=found.warnings,
        parts=found.parts,
        review=Review(case=case),
    )


def _about(request: Request, runtime: Runtime) -> dict[str, Any]:
    """Which model answered: in the answer and in the trail."""
    predictor = runtime.loaded()
    _state(request)["model"] = predictor.identity.digest
    return {
        "model": predictor.identity,
        "request_id": _state(request)["request_id"],
        "notice": predictor.manifest.notice,
    }


def _state(request: Request) -> dict[str, Any]:
    state: dict[str, Any] = request.scope["state"]
    return state


def _note(request: Request, **detail: Any) -> None:
    """What the audit trail keeps of the answer."""
    _state(request)["detail"] = detail


def _note_patient(request: Request, runtime: Runtime, patient_id: str | None) -> None:
    if patient_id and runtime.secrets is not None:
        _state(request)["patient"] = runtime.secrets.pseudonym(patient_id)


def _summary(answer: Answer) -> dict[str, Any]:
    return {
        "prediction": answer.prediction,
        "confidence": round(answer.confidence, 6),
        "warnings": [warning.code for warning in answer.warnings],
        "case": answer.review.case,
    }


def _outcome(item: BatchItem) -> dict[str, Any]:
    if item.answer:
        return _summary(item.answer)
    return {"problem": item.problem.code if item.problem else None}


def _explanation(frame: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32], label: str) -> Explanation:
    overlay = encode_png(heat_colours(heat))
    return Explanation(method=_METHOD, label=label, frame=_data_url(encode_png(frame)), overlay=_data_url(overlay))


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
