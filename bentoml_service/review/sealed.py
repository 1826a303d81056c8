"""Between the cases of the queue and the sealed bytes of its rows."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Protocol

from bentoml_service.review.cases import Case, Correction, Decision, NewCase
from cxr_core.release.predictor import Advice

__all__ = ["SealedRows", "Sealer"]

_PARTS = ("record", "frame", "film")


class Sealer(Protocol):
    """Authenticated encryption; ``context`` binds the sealed bytes to their place."""

    def seal(self, plain: bytes, context: str) -> bytes: ...

    def open(self, sealed: bytes, context: str) -> bytes: ...

    def reseal(self, sealed: bytes, context: str) -> bytes: ...


class SealedRows:
    """Seals what goes into a row and opens what comes out.

    Each value is bound to its case, to what it is, and to the film and model that it speaks of: one that was moved
    to another row, or whose digests were changed, cannot be opened.

    Raises:
        CxrError: from every method: the cipher has no key for it, or it was altered.
    """

    def __init__(self, cipher: Sealer) -> None:
        self._cipher = cipher

    def new_case(self, case_id: str, case: NewCase) -> tuple[bytes, bytes, bytes]:
        """Record, frame and film of a new case, sealed."""
        record = {
            "reasons": case.reasons,
            "prediction": case.prediction,
            "confidence": case.confidence,
            "probabilities": list(case.probabilities.items()),  # in label order
            "warnings": [warning.model_dump() for warning in case.warnings],
            "request_id": case.request_id,
            "parts": dict(case.parts),
        }
        plain = json.dumps(record).encode(), case.frame, case.film
        place = case.content_digest, case.model_digest
        record_, frame, film = (
            self._cipher.seal(value, _context(case_id, part, *place)) for part, value in zip(_PARTS, plain, strict=True)
        )
        return record_, frame, film

    def case(self, row: sqlite3.Row) -> Case:
        """Case of a row that is joined with its latest decision."""
        place = row["content_digest"], row["model_digest"]
        said = self._json(row["record"], _context(row["id"], "record", *place))
        decision = None
        if row["decision"] is not None:
            decision = Decision(**self._json(row["decision"], _context(row["id"], row["decision_id"], *place)))
        return Case(
            id=row["id"],
            created=row["created"],
            state=row["state"],
            content_digest=row["content_digest"],
            model_digest=row["model_digest"],
            reasons=tuple(said["reasons"]),
            prediction=said["prediction"],
            confidence=said["confidence"],
            probabilities=dict(said["probabilities"]),
            warnings=tuple(Advice(**warning) for warning in said["warnings"]),
            request_id=said["request_id"],
            decision=decision,
            decisions=row["decisions"],
            parts=said.get("parts", {}),  # cases from before the parts were kept have none
        )

    def picture(self, row: sqlite3.Row, part: str) -> bytes:
        """The ``film`` or ``frame`` of a case's row."""
        return self._cipher.open(row[part], _context(row["id"], part, row["content_digest"], row["model_digest"]))

    def new_decision(self, decision_id: str, case: Case, decision: Decision) -> bytes:
        """A decision, sealed."""
        place = case.content_digest, case.model_digest
        return self._cipher.seal(_decision_bytes(decision), _context(case.id, decision_id, *place))

    def decision(self, row: sqlite3.Row) -> Decision:
        """Decision of a row of the table of decisions."""
        return Decision(**self._json(row["record"], _decision_context(row)))

    def correction(self, row: sqlite3.Row) -> Correction:
        """What a decision says of its film's label."""
        said = self.decision(row)
        return Correction(
            content_digest=row["content_digest"],
            case_id=row["case_id"],
            model_digest=row["model_digest"],
            action=said.action,
            label=said.label,
            reviewer=said.reviewer,
            decided=said.decided,
        )

    def without_comment(self, row: sqlite3.Row) -> bytes:
        """The decision of a row without its comment, sealed."""
        said = self.decision(row)
        bare = Decision(said.action, said.label, "", said.reviewer, said.decided)
        return self._cipher.seal(_decision_bytes(bare), _decision_context(row))

    def reseal_case(self, row: sqlite3.Row) -> tuple[bytes, ...]:
        """Record, frame and film of a row under the present key."""
        place = row["content_digest"], row["model_digest"]
        return tuple(self._cipher.reseal(row[part], _context(row["id"], part, *place)) for part in _PARTS)

    def reseal_decision(self, row: sqlite3.Row) -> bytes:
        """A decision under the present key."""
        return self._cipher.reseal(row["record"], _decision_context(row))

    def _json(self, sealed: bytes, context: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._cipher.open(sealed, context))
        return found


def _context(case_id: str, part: str, content_digest: str, model_digest: str) -> str:
    return f"review/{case_id}/{part}/{content_digest}/{model_digest}"


def _decision_context(row: sqlite3.Row) -> str:
    return _context(row["case_id"], row["id"], row["content_digest"], row["model_digest"])


def _decision_bytes(decision: Decision) -> bytes:
    return json.dumps(vars(decision)).encode()
