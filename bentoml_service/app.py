"""Routes and schemas of the prediction API (report 7.2)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from bentoml_service.inference import Runtime
from bentoml_service.problems import RequestError, problem
from bentoml_service.uploads import read_upload, status_of
from cxr_core.errors import ImageRejected
from cxr_core.release.gate import GateDecision
from cxr_core.release.predictor import Advice, ModelIdentity

__all__ = ["Health", "ModelCard", "PredictAnswer", "create_app"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelName(_Answer):
    """Name and version of the model that is served."""

    name: str
    version: str


class Health(_Answer):
    """Answer of ``GET /health``."""

    status: str
    model: ModelName
    notice: str


class ModelCard(_Answer):
    """Answer of ``GET /model``: what the package says of itself; see ``PackageManifest``."""

    name: str
    version: str
    notice: str
    digest: str
    labels: tuple[str, ...]
    backbone: str
    preprocessing_digest: str
    data: dict[str, Any]
    files: dict[str, str]
    parts: dict[str, str]
    gate: GateDecision


class PredictAnswer(_Answer):
    """Answer of ``POST /predict``; see ``Prediction``."""

    prediction: str
    confidence: float
    probabilities: dict[str, float]
    warnings: tuple[Advice, ...]
    model: ModelIdentity
    request_id: str
    notice: str


def create_app(runtime: Runtime) -> FastAPI:
    """The routes over one runtime; keys and unknown routes are the guard's business."""
    app = FastAPI(title="cxr", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> Health:
        manifest = runtime.loaded().manifest
        return Health(
            status="ready", model=ModelName(name=manifest.name, version=manifest.version), notice=manifest.notice
        )

    @app.get("/model")
    async def model() -> ModelCard:
        manifest = runtime.loaded().manifest
        values = {name: getattr(manifest, name) for name in ModelCard.model_fields}
        return ModelCard(**values)

    @app.post("/predict")
    async def predict(request: Request) -> PredictAnswer:
        runtime.loaded()  # before ten megabytes are read
        upload = await read_upload(request, runtime.max_bytes, runtime.body_seconds)
        found, _ = await runtime.predict(upload.data)
        return PredictAnswer(
            prediction=found.label,
            confidence=found.confidence,
            probabilities=found.probabilities,
            warnings=found.warnings,
            model=found.model,
            request_id=_request_id(request),
            notice=found.notice,
        )

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> JSONResponse:
        headers = {"Retry-After": "5"} if error.status == 503 else {}
        return problem(error.status, error.code, error.detail, _request_id(request), headers)

    @app.exception_handler(ImageRejected)
    async def rejected(request: Request, error: ImageRejected) -> JSONResponse:
        return problem(status_of(error), error.code, error.reason, _request_id(request))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, "not_served", "The request cannot be served.", _request_id(request))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        detail = "The service failed; the request id names it in the log."
        return problem(500, "internal_error", detail, _request_id(request))

    return app


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
