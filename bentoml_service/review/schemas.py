"""What the routes of the review queue take and give."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from bentoml_service.review.cases import Case, Decision
from cxr_core.release.parts import answer_schema
from cxr_core.release.predictor import Advice

__all__ = [
    "DECISION_BODY",
    "LISTED",
    "LONGEST_COMMENT",
    "PAGE_QUERY",
    "PNG",
    "CaseAnswer",
    "CasesAnswer",
    "DecisionAnswer",
    "DecisionBody",
]

LONGEST_COMMENT = 2000  # characters
LISTED = 200  # cases of one answer at most


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DecisionBody(_Answer):
    """Body of ``POST /review/cases/{id}/decision``.

    Attributes:
        action: ``accept``: the model's label is right; ``correct``: another one is.
        label: the right label; with ``correct`` alone.
        comment: free text, 2,000 characters at most.
    """

    action: Literal["accept", "correct"]
    label: str | None = None
    comment: str = Field("", max_length=LONGEST_COMMENT)

    @model_validator(mode="after")
    def _label_with_correct(self) -> DecisionBody:
        if (self.action == "correct") != (self.label is not None):
            raise ValueError("label goes with correct, and with nothing else")
        return self


class DecisionAnswer(_Answer):
    """The latest decision of a case; ``by`` is the id of the reader's key, ``decided`` a time in ISO 8601, UTC."""

    action: str
    label: str
    comment: str
    by: str
    decided: str

    @classmethod
    def of(cls, said: Decision) -> DecisionAnswer:
        """The answer that shows a decision."""
        return cls(action=said.action, label=said.label, comment=said.comment, by=said.reviewer, decided=said.decided)


class CaseAnswer(_Answer):
    """One case of the queue; ``decisions`` counts all that were made, of which ``decision`` is the latest.

    ``parts`` is what the answer said there; empty for a case from before it was kept.
    """

    id: str
    created: str
    reasons: tuple[str, ...]
    prediction: str
    confidence: float
    probabilities: dict[str, float]
    warnings: tuple[Advice, ...]
    parts: Annotated[dict[str, Any], WithJsonSchema(answer_schema())]
    model_digest: str
    state: str
    decision: DecisionAnswer | None
    decisions: int

    @classmethod
    def of(cls, case: Case) -> CaseAnswer:
        """The answer that shows a case."""
        values = {name: getattr(case, name) for name in cls.model_fields if name != "decision"}
        return cls(**values, decision=DecisionAnswer.of(case.decision) if case.decision else None)


class CasesAnswer(_Answer):
    """Cases of one state, oldest first, and how many there are of each state."""

    cases: tuple[CaseAnswer, ...]
    open: int
    decided: int


PAGE_QUERY: list[dict[str, Any]] = [
    {
        "name": "state",
        "in": "query",
        "schema": {"type": "string", "enum": ["open", "decided"], "default": "open"},
        "description": "Cases that wait for a reader, or those that are decided.",
    },
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": LISTED, "default": 50},
        "description": "At most so many.",
    },
    {
        "name": "after",
        "in": "query",
        "schema": {"type": "string", "format": "uuid"},
        "description": "The last case of the page before.",
    },
]
DECISION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": DecisionBody.model_json_schema(),
                "example": {"action": "correct", "label": "Normal", "comment": "Nipple shadow, no nodule."},
            }
        },
    }
}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
