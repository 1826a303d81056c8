"""What the routes answer: the JSON of the prediction API, with examples for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from cxr_core.release.decision import GateDecision
from cxr_core.release.parts import answer_schema
from cxr_core.release.predictor import Advice, ModelIdentity, Uncertainty

__all__ = [
    "Answer",
    "BatchAnswer",
    "BatchItem",
    "ExplainedAnswer",
    "Explanation",
    "Health",
    "ModelCard",
    "ModelName",
    "PredictAnswer",
    "Problem",
    "Review",
]


_PARTS = {
    "calibration": {
        "method": "temperature scaling", "temperature": 1.42, "films": 600, "fitted": True, "precision": "fp32",
    },
    "operating_points": {
        "tb_sensitivity_90": {
            "label": "Tuberculosis", "threshold": 0.23, "probability": 0.91, "flagged": True,
            "validation_sensitivity": 0.91, "validation_specificity": 0.88,
        }
    },
    "prediction_sets": {
        "level": 0.9, "labels": ["Tuberculosis"], "kind": "class_conditional", "marginal": ["Tuberculosis"],
    },
}  # fmt: skip


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelName(_Answer):
    """Name and version of the model that is served."""

    name: str = Field(examples=["cxr"])
    version: str = Field(examples=["1.0.0"])


class Health(_Answer):
    """Whether the process lives, and whether it can answer; ``checks`` says what is missing."""

    status: str = Field(examples=["ready"])
    live: bool
    ready: bool
    checks: dict[str, bool] = Field(examples=[{"model": True, "keys": True, "audit": True, "telemetry": True}])
    model: ModelName | None
    notice: str


class ModelCard(_Answer):
    """What the model package says of itself; see ``PackageManifest``."""

    name: str
    version: str
    notice: str
    digest: str
    labels: tuple[str, ...]
    backbone: str
    preprocessing_digest: str
    data: dict[str, Any]
    files: dict[str, str]
    parts: dict[str, Any] = Field(description="optional parts that the package has, and what each says of itself")
    gate: GateDecision
    engine: str = Field(description="what runs the network", examples=["onnxruntime"])
    precision: str = Field(description="of that network", examples=["fp32"])


class Review(_Answer):
    """Whether a reader will see the film: ``case`` is its place in the review queue."""

    case: str | None = Field(examples=[None])


class Answer(_Answer):
    """What is said of one film."""

    prediction: str = Field(description="class with the largest probability", examples=["Tuberculosis"])
    confidence: float = Field(description="that probability, 0-1", examples=[0.91])
    probabilities: dict[str, float] = Field(
        description="of each class, in label order; calibrated where parts.calibration says so",
        examples=[{"Normal": 0.06, "Pneumonia": 0.03, "Tuberculosis": 0.91}],
    )
    uncertainty: Uncertainty
    warnings: tuple[Advice, ...] = Field(
        examples=[[{"code": "low_confidence", "message": "Confidence 0.61 is below 0.7: have a reader decide."}]]
    )
    parts: Annotated[dict[str, Any], WithJsonSchema({**answer_schema(), "examples": [_PARTS]})]
    review: Review


class PredictAnswer(Answer):
    """Answer of ``POST /predict``."""

    model: ModelIdentity
    request_id: str
    notice: str


class Explanation(_Answer):
    """Where in the frame the evidence for a class lies. A look, not a validation (TRAPS 15)."""

    method: str = Field(examples=["Grad-CAM at the last map"])
    label: str = Field(description="the class that is explained", examples=["Tuberculosis"])
    frame: str = Field(description="data URL of the grey frame that the network saw, PNG")
    overlay: str = Field(description="data URL of the heat map of the same size, PNG with transparency")


class ExplainedAnswer(PredictAnswer):
    """Answer of ``POST /predict/explain``."""

    explanation: Explanation


class Problem(_Answer):
    """Problem details of RFC 9457 with a stable ``code``."""

    model_config = ConfigDict(extra="allow")  # a batch adds its items

    type: str = Field(examples=["urn:cxr:problem:too_small"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    code: str = Field(examples=["too_small"])
    detail: str = Field(examples=["90 x 90 pixels: the shortest side must be 128 or more."])
    request_id: str


class BatchItem(_Answer):
    """One file of a batch: its answer, or why there is none."""

    index: int = Field(ge=0, description="place in the request, from 0")
    answer: Answer | None = None
    problem: Problem | None = None


class BatchAnswer(_Answer):
    """Answer of ``POST /batch_predict``, in the order of the files."""

    items: list[BatchItem]
    model: ModelIdentity
    request_id: str
    notice: str
