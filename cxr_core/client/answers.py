"""What the prediction service answers, as typed values. Fields that a later service adds are passed over."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = [
    "Answer",
    "Batch",
    "BatchItem",
    "Explanation",
    "Health",
    "ModelCard",
    "ModelIdentity",
    "Problem",
    "Review",
    "Uncertainty",
    "Warned",
]

_PNG = "data:image/png;base64,"
_CODES = ("not_a_chest_film",)  # warnings that are flags, too


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Warned(_Read):
    """A warning beside a prediction: stable ``code``, ``message`` for a person."""

    code: str
    message: str


class ModelIdentity(_Read):
    """Which model answered: name, version, SHA-256 of its package and of its preprocessing."""

    name: str
    version: str
    digest: str
    preprocessing_digest: str


class Uncertainty(_Read):
    """How sure the probabilities are, each 0-1: ``entropy`` (1: all classes alike), ``margin`` of the first two."""

    entropy: float
    margin: float


class Review(_Read):
    """The case that a reader will look at, None where there is none."""

    case: str | None = None


class Explanation(_Read):
    """Where the model looked.

    Attributes:
        method: how the map was computed.
        label: the class that it speaks for.
        frame: PNG of the grey frame that the network saw.
        overlay: PNG of the heat map, RGBA, the same size; transparent where nothing speaks for the label.
    """

    method: str
    label: str
    frame: bytes = Field(repr=False)
    overlay: bytes = Field(repr=False)

    @field_validator("frame", "overlay", mode="before")
    @classmethod
    def _png(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value.startswith(_PNG):
            raise ValueError("not a PNG as a data URL")
        try:
            return base64.b64decode(value.removeprefix(_PNG), validate=True)
        except binascii.Error as error:
            raise ValueError("not base64") from error


class Answer(_Read):
    """The prediction for one film.

    Attributes:
        prediction: the class with the largest probability.
        confidence: that probability, 0-1.
        probabilities: of each class, in label order; they add up to 1.
        uncertainty: how sure they are; None where a service does not say.
        warnings: what a reader should know before trusting it.
        parts: what the optional parts of the model package add, by name.
        review: the case that the service keeps for a reader.
        model: which model answered.
        request_id: names the request in the service's log and audit trail.
        notice: the research-use notice.
        explanation: where it was asked for.
    """

    prediction: str
    confidence: float
    probabilities: dict[str, float]
    uncertainty: Uncertainty | None = None
    warnings: tuple[Warned, ...] = ()
    parts: dict[str, Any] = Field(default_factory=dict)
    review: Review | None = None
    model: ModelIdentity
    request_id: str = ""
    notice: str = ""
    explanation: Explanation | None = None

    @property
    def prediction_set(self) -> tuple[str, ...] | None:
        """The labels that the true one is among at the promised level, maybe none; None where the model has no sets."""
        said = self.parts.get("prediction_sets")
        labels = said.get("labels") if isinstance(said, dict) else None
        return tuple(map(str, labels)) if isinstance(labels, list | tuple) else None

    @property
    def flags(self) -> tuple[str, ...] | None:
        """Names of the operating points whose threshold is reached, and ``not_a_chest_film``; None: no such parts."""
        points, detector = self.parts.get("operating_points"), self.parts.get("film_detector")
        if not isinstance(points, dict) and not isinstance(detector, dict):
            return None
        named = points if isinstance(points, dict) else {}
        reached = [name for name, one in named.items() if isinstance(one, dict) and one.get("flagged") is True]
        return (*reached, *(code for code in _CODES if code in {warning.code for warning in self.warnings}))


class Problem(_Read):
    """An RFC 9457 problem of the service."""

    status: int
    code: str
    detail: str = ""
    request_id: str = ""


class BatchItem(_Read):
    """One film of a batch as it is sent: an answer without what the batch says once, or a problem."""

    index: int
    answer: dict[str, Any] | None = None
    problem: Problem | None = None


class Batch(_Read):
    """Answer of ``POST /batch_predict``."""

    items: tuple[BatchItem, ...]
    model: ModelIdentity
    request_id: str = ""
    notice: str = ""

    def answer(self, item: BatchItem) -> Answer | None:
        """The full answer of one item, None where it has a problem."""
        if item.answer is None:
            return None
        shared = {"model": self.model, "request_id": self.request_id, "notice": self.notice}
        return Answer.model_validate({**shared, **item.answer})


class NamedModel(_Read):
    """Name and version alone, as the open routes say them."""

    name: str
    version: str


class Health(_Read):
    """Answer of ``GET /health``.

    Attributes:
        status: ``ready`` or ``not_ready``.
        live: the process answers.
        ready: predictions can be asked for.
        checks: what was looked at, by name.
        model: the model that is served; None while none is loaded.
        notice: the research-use notice.
    """

    status: str
    live: bool = True
    ready: bool = False
    checks: dict[str, bool] = Field(default_factory=dict)
    model: NamedModel | None = None
    notice: str = ""


class ModelCard(BaseModel):
    """Answer of ``GET /model``: what the package says of itself. Everything beyond these fields is kept as it came."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    version: str
    digest: str
    preprocessing_digest: str
    labels: tuple[str, ...]
    parts: dict[str, Any] = Field(default_factory=dict)
    notice: str = ""

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is, as its answers say it."""
        return ModelIdentity(
            name=self.name,
            version=self.version,
            digest=self.digest,
            preprocessing_digest=self.preprocessing_digest,
        )
