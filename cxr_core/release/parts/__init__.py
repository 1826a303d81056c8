"""Optional parts of a model package. Adding one: a module here with a :class:`Part`, and its line in ``PARTS``."""

from __future__ import annotations

from cxr_core.release.parts.base import OpenFile, Part, PartAnswer, Scored
from cxr_core.release.parts.calibration import CalibrationPart
from cxr_core.release.parts.embedding import EmbeddingPart
from cxr_core.release.parts.explain import ExplainPart
from cxr_core.release.parts.int8 import Int8Part

__all__ = ["PARTS", "OpenFile", "Part", "PartAnswer", "Scored", "answer_schema"]

# Known parts by name. A package that holds others is served without them, with a warning in the log.
PARTS: dict[str, type[Part]] = {part.name: part for part in (CalibrationPart, EmbeddingPart, ExplainPart, Int8Part)}


def answer_schema() -> dict[str, object]:
    """JSON schema of an answer's field ``parts``: one optional property a part that adds to answers."""
    properties = {
        name: {"description": part.title, **part.answer_model.model_json_schema()}
        for name, part in PARTS.items()
        if part.answer_model is not None
    }
    return {
        "type": "object",
        "description": "What the optional parts of the model package add; a part that is not there adds nothing.",
        "properties": properties,
        "additionalProperties": {"type": "object"},
    }
