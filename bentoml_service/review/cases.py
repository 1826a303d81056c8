"""What the review queue is made of: cases, decisions, and the labels that come out of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cxr_core.release.predictor import Advice

__all__ = ["Action", "Case", "Correction", "Decision", "NewCase", "State"]

Action = Literal["accept", "correct"]
State = Literal["open", "decided"]


@dataclass(frozen=True)
class NewCase:
    """A flagged film, before it has a place in the queue.

    Attributes:
        content_digest: SHA-256 of the file that was sent, 64 hexadecimal digits.
        film: PNG of the film, reduced; grey.
        frame: PNG of the canonical frame; grey.
        reasons: codes of the warnings, in their order.
        prediction: label that the model gave.
        confidence: its probability, 0-1.
        probabilities: of each label, in label order.
        warnings: what the answer warned of.
        model_digest: SHA-256 of the model package that answered.
        request_id: of the request that brought the film.
        parts: what the optional parts of the model package added to the answer, by name.
    """

    content_digest: str
    film: bytes = field(repr=False)
    frame: bytes = field(repr=False)
    reasons: tuple[str, ...]
    prediction: str
    confidence: float
    probabilities: Mapping[str, float]
    warnings: tuple[Advice, ...]
    model_digest: str
    request_id: str
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What a reader said of a case.

    Attributes:
        action: ``accept`` (the model's label is right) or ``correct``.
        label: the label that holds from now on: the model's own where it was accepted.
        comment: free text; may name a patient, so it is shown to readers and nowhere else.
        reviewer: id of the API key that decided.
        decided: when, ISO 8601 in UTC.
    """

    action: Action
    label: str
    comment: str = field(repr=False)
    reviewer: str
    decided: str


@dataclass(frozen=True)
class Case:
    """A case of the queue, without its pictures.

    Attributes:
        id: random UUID.
        created: when it was queued, ISO 8601 in UTC.
        state: ``open`` until a reader decided.
        decision: the latest one; ``None`` while it is open.
        decisions: how many there are; earlier ones are kept.

    The others are those of :class:`NewCase`.
    """

    id: str
    created: str
    state: State
    content_digest: str
    model_digest: str
    reasons: tuple[str, ...]
    prediction: str
    confidence: float
    probabilities: Mapping[str, float]
    warnings: tuple[Advice, ...]
    request_id: str
    decision: Decision | None
    decisions: int
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Correction:
    """The label that readers gave to one content: that of the latest decision, whichever model it was about.

    Attributes:
        content_digest: SHA-256 of the file that was sent.
        case_id: the case that it was decided in; its film may be gone.
        model_digest: the model whose label was accepted or corrected.
        action, label, reviewer, decided: as in :class:`Decision`.
    """

    content_digest: str
    case_id: str
    model_digest: str
    action: Action
    label: str
    reviewer: str
    decided: str
