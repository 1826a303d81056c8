"""Part ``prediction_sets``: the classes that cannot be ruled out for a film, at a promised level.

The scores are those of the uncalibrated softmax, so that a temperature fitted on the same films voids no promise.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cxr_core.errors import CxrError
from cxr_core.evaluation.prediction_sets import RECORD, PredictionSets
from cxr_core.release.manifest import PackageManifest
from cxr_core.release.parts.base import OpenFile, Part, PartAnswer, Scored, read_record
from cxr_core.release.prediction import Advice

__all__ = ["EMPTY_SET", "OTHER_LABEL", "SETS_FILE", "SEVERAL_LABELS", "PredictionSetsAnswer", "PredictionSetsPart"]

SETS_FILE = RECORD
EMPTY_SET = "empty_set"  # codes of the advice
SEVERAL_LABELS = "several_labels"
OTHER_LABEL = "other_label"

Kind = Literal["class_conditional", "marginal"]


class PredictionSetsAnswer(BaseModel):
    """The prediction set of one film.

    Attributes:
        level: share of films, 0-1, whose set was made to hold the true label.
        labels: the set, in label order; it may be empty.
        kind: ``class_conditional``: the level is promised inside each class; ``marginal``: over all films together,
            where some class has too few calibration films for a promise of its own.
        marginal: the marginal set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: float = Field(gt=0, lt=1)
    labels: tuple[str, ...]
    kind: Kind
    marginal: tuple[str, ...]


class PredictionSetsPart(Part):
    """The fitted quantiles.

    Attributes:
        record: the quantiles, and what they were fitted on.
        kind: of the sets that are answered.
    """

    name = "prediction_sets"
    file = SETS_FILE
    title = "Prediction set: the labels that the true one is among, in a promised share of films."
    answer_model = PredictionSetsAnswer
    advice_codes = (EMPTY_SET, SEVERAL_LABELS, OTHER_LABEL)

    def __init__(self, record: PredictionSets) -> None:
        self.record = record
        self.kind: Kind = "class_conditional" if all(one.quantile is not None for one in record.classes) else "marginal"

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> PredictionSetsPart:
        """Load the quantiles, and see that they are of the package's classes."""
        record = read_record(PredictionSets, data, SETS_FILE)
        if record.labels != manifest.labels:
            raise CxrError(
                f"{SETS_FILE} of the model package, field classes: {', '.join(record.labels)} but the model has "
                f"{', '.join(manifest.labels)}: package the model again."
            )
        return cls(record)

    def summary(self) -> dict[str, Any]:
        """The quantiles, and which sets are answered."""
        return {"kind": self.kind, **self.record.model_dump(mode="json")}

    def answer(self, scored: Scored) -> PartAnswer | None:
        """The set of the film, with advice where it is not the answered label alone; nothing without any quantile."""
        if self.kind == "marginal" and self.record.quantile is None:
            return None
        marginal = self._labels(scored, conditional=False)
        labels = self._labels(scored, conditional=True) if self.kind == "class_conditional" else marginal
        said = PredictionSetsAnswer(level=self.record.level, labels=labels, kind=self.kind, marginal=marginal)
        return PartAnswer(said, _advice(said, scored.labels[int(scored.logits.argmax())]))

    def _labels(self, scored: Scored, conditional: bool) -> tuple[str, ...]:
        row = self.record.sets(scored.uncalibrated[None], conditional)[0]
        return tuple(scored.labels[place] for place in np.flatnonzero(row))


def _advice(said: PredictionSetsAnswer, answered: str) -> tuple[Advice, ...]:
    level = f"{100 * said.level:g}%"
    if not said.labels:
        message = f"None of the classes fits at the level of {level}: have a reader decide."
        return (Advice(code=EMPTY_SET, message=message),)
    if len(said.labels) > 1:
        *first, last = said.labels
        message = f"{', '.join(first)} and {last} fit at the level of {level}: have a reader decide."
        return (Advice(code=SEVERAL_LABELS, message=message),)
    if said.labels != (answered,):  # quantiles that differ by class can let in a less probable one
        message = f"{said.labels[0]} fits at the level of {level}, {answered} does not: have a reader decide."
        return (Advice(code=OTHER_LABEL, message=message),)
    return ()
