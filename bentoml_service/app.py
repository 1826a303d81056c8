"""The one app that BentoML mounts: the routes of the prediction API (report 7.2), and how errors are answered."""

from __future__ import annotations

from typing import Any, Literal

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from bentoml_service.inference import Runtime
from bentoml_service.openapi import METRICS, describe_api, problems
from bentoml_service.pages.routes import add_page_routes
from bentoml_service.predict_routes import add_predict_routes
from bentoml_service.problems import RequestError, describe_problem, problem_answer
from bentoml_service.prometheus_text import MEDIA_TYPES, choose_format
from bentoml_service.refusals import describe_refusal
from bentoml_service.review.routes import add_review_routes
from bentoml_service.schemas import Health, ModelCard, ModelName
from cxr_core import NOTICE
from cxr_core.errors import CxrError, ImageRejected

__all__ = ["create_app"]

_FROM_MANIFEST = ("name", "version", "notice", "digest", "labels", "backbone", "preprocessing_digest", "data", "files",
                  "gate")  # fmt: skip


def create_app(runtime: Runtime) -> FastAPI:
    """The routes over one runtime; keys, roles, limits and unknown routes are the guard's business."""
    app = FastAPI(title="cxr", description=NOTICE, docs_url=None, redoc_url=None, openapi_url=None)
    _add_status_routes(app, runtime)
    add_predict_routes(app, runtime)
    add_review_routes(app, runtime)
    add_page_routes(app)
    _add_handlers(app)
    return app


def _add_status_routes(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/health", responses={503: {"model": Health}})
    async def health(probe: Literal["live", "ready"] = "ready") -> JSONResponse:
        """Whether the process lives (``probe=live``) and whether it can answer."""
        report = await anyio.to_thread.run_sync(_health, runtime)
        up = report.ready or probe == "live"
        return JSONResponse(report.model_dump(), 200 if up else 503, {} if up else {"Retry-After": "5"})

    @app.get("/model", responses=problems(429, 503))
    async def model() -> ModelCard:
        """What the model package says of itself."""
        predictor = runtime.loaded()
        values = {name: getattr(predictor.manifest, name) for name in _FROM_MANIFEST}
        parts = predictor.parts_summary()
        return ModelCard(**values, parts=parts, engine=predictor.engine, precision=predictor.precision)

    @app.get("/metrics", response_class=Response, responses={**METRICS, **problems(429, 503)})
    async def metrics(request: Request) -> Response:
        """Latency, throughput, errors, availability: JSON, or what Prometheus reads where Accept asks for it."""
        telemetry = _telemetry(runtime)
        wanted = choose_format(request.headers.get("accept", ""))
        if wanted == "json":
            return JSONResponse(await anyio.to_thread.run_sync(telemetry.metrics))
        text = await anyio.to_thread.run_sync(telemetry.prometheus, wanted)
        return Response(text, media_type=MEDIA_TYPES[wanted])

    @app.get("/drift_report", responses=problems(429, 503))
    async def drift_report() -> dict[str, Any]:
        """How the latest films and answers look, compared with the reference profile where the package has one."""
        part = runtime.loaded().parts.get("reference_profile")
        reference = part.summary() if part else None
        report: dict[str, Any] = await anyio.to_thread.run_sync(_telemetry(runtime).drift_report, reference)
        return {**report, "notice": NOTICE}

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return describe_api(app)


def _health(runtime: Runtime) -> Health:
    predictor = runtime.predictor
    checks = {
        "model": predictor is not None,
        "keys": _has_keys(runtime),
        "audit": runtime.audit is not None and runtime.audit.healthy,
        "telemetry": runtime.telemetry is not None and runtime.telemetry.healthy,
    }
    # Counts that wait in memory keep nobody from an answer: a balancer must not drain a service for them.
    ready = all(up for name, up in checks.items() if name != "telemetry")
    manifest = predictor.manifest if predictor else None
    return Health(
        status="ready" if ready else "not_ready",
        live=True,
        ready=ready,
        checks=checks,
        model=ModelName(name=manifest.name, version=manifest.version) if manifest else None,
        notice=NOTICE,
    )


def _has_keys(runtime: Runtime) -> bool:
    try:
        if runtime.keys is not None:
            runtime.keys.require_some()
    except CxrError:
        return False
    return runtime.keys is not None


def _telemetry(runtime: Runtime) -> Any:
    if runtime.telemetry is None:
        raise RequestError(503, "not_ready", "The service is starting: try again in a few seconds.")
    return runtime.telemetry


def _add_handlers(app: FastAPI) -> None:
    def answer(request: Request, body: dict[str, Any]) -> JSONResponse:
        request.scope.setdefault("state", {})["code"] = body["code"]
        return problem_answer(body)

    def request_id(request: Request) -> str:
        return str(request.scope.get("state", {}).get("request_id", ""))

    @app.exception_handler(RequestError)
    @app.exception_handler(ImageRejected)
    async def refused(request: Request, error: RequestError | ImageRejected) -> JSONResponse:
        return answer(request, describe_refusal(error, request_id(request)))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        detail = "A parameter of the request has a value that this route does not take."
        return answer(request, describe_problem(400, "malformed_query", detail, request_id(request)))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = "The request cannot be served."
        return answer(request, describe_problem(error.status_code, "not_served", detail, request_id(request)))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        detail = "The service failed; the request id names it in the log."
        return answer(request, describe_problem(500, "internal_error", detail, request_id(request)))
