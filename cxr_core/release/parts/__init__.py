"""Optional parts of a model package. Adding one: a module here with a :class:`Part`, and its line in ``PARTS``."""

from __future__ import annotations

from typing import Any

from cxr_core.release.parts.base import OpenFile, Part, PartAnswer, Scored
from cxr_core.release.parts.calibration import CalibrationPart
from cxr_core.release.parts.embedding import EmbeddingPart
from cxr_core.release.parts.explain import ExplainPart
from cxr_core.release.parts.film_detector import FilmDetectorPart
from cxr_core.release.parts.int8 import Int8Part
from cxr_core.release.parts.operating_points import OperatingPointsPart
from cxr_core.release.parts.prediction_sets import PredictionSetsPart

__all__ = ["PARTS", "OpenFile", "Part", "PartAnswer", "Scored", "answer_schema"]

# Known parts by name. A package that holds others is served without them, with a warning in the log.
PARTS: dict[str, type[Part]] = {
    part.name: part
    for part in (
        CalibrationPart,
        EmbeddingPart,
        ExplainPart,
        FilmDetectorPart,
        Int8Part,
        OperatingPointsPart,
        PredictionSetsPart,
    )
}


def answer_schema() -> dict[str, object]:
    """JSON schema of an answer's field ``parts``: one optional property a part that adds to answers."""
    properties = {
        name: {**_whole(part.answer_model.model_json_schema()), "description": part.title}
        for name, part in PARTS.items()
        if part.answer_model is not None
    }
    return {
        "type": "object",
        "description": "What the optional parts of the model package add; a part that is not there adds nothing.",
        "properties": properties,
        "additionalProperties": {"type": "object"},
    }


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to in its place: references would point nowhere inside another document."""
    inner = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return put(inner[value["$ref"].removeprefix("#/$defs/")])
            return {name: put(one) for name, one in value.items()}
        return [put(one) for one in value] if isinstance(value, list) else value

    return dict(put(schema))
