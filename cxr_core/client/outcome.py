"""What becomes of one film: an answer, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxr_core.client.answers import Answer

__all__ = ["Origin", "Outcome", "Refusal", "Row"]

# How an outcome came about: the model was asked now; an earlier run asked; another file of the same content was asked;
# it was told here, because the file cannot be read or is too large.
Origin = Literal["asked", "journal", "copy", "here"]


@dataclass(frozen=True)
class Refusal:
    """Why a film has no answer.

    Attributes:
        code: stable machine name.
        detail: one sentence for a person.
        lasting: it would be the same another time, so it need not be asked again.
    """

    code: str
    detail: str
    lasting: bool = True


Outcome = Answer | Refusal


@dataclass(frozen=True)
class Row:
    """One file of a folder.

    Attributes:
        file: its path relative to the folder, with slashes.
        digest: SHA-256 of its content; empty where it could not be read.
        outcome: its answer, or why there is none.
        origin: how the outcome came about.
    """

    file: str
    digest: str
    outcome: Outcome
    origin: Origin
