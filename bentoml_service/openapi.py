"""What OpenAPI says beyond the types: bodies that the routes read themselves, problems, keys."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from bentoml_service.schemas import Problem

__all__ = ["FILES_BODY", "FILE_BODY", "METRICS", "describe_api", "problems"]

_PATIENT = {
    "type": "string",
    "maxLength": 128,
    "description": "Optional. Only a keyed hash of it reaches the audit trail; it is used for nothing else.",
}
_BINARY = {"type": "string", "format": "binary"}
_PARTS = {"patient_id": _PATIENT}

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One film: JPEG, PNG or DICOM by content.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY, **_PARTS}}
            },
            "image/jpeg": {"schema": _BINARY},
            "image/png": {"schema": _BINARY},
            "application/dicom": {"schema": _BINARY},
        },
    },
    "parameters": [
        {"name": "X-Patient-Id", "in": "header", "required": False, "schema": _PATIENT},
    ],
}

FILES_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One to ten films, each a part named file (or files).",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "items": _BINARY, "maxItems": 10}, **_PARTS},
                }
            }
        },
    }
}

METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}, "text/plain": {"schema": {"type": "string"}}}}
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer, beside those of every route."""
    every = sorted({*statuses, 401, 403})
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in every
    }


def describe_api(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document with the two ways to send a key, and the schema of problems."""
    document = app.openapi()
    parts = document.setdefault("components", {})
    parts["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["security"] = [] if path == "/health" else [{"key": []}, {"bearer": []}]
    return document
