"""Operating points as they are written down: thresholds in calibrated probability, and the digest of the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxr_core.digests import digest_json
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["RULES", "Measured", "OperatingPoint", "OperatingPoints", "read_operating_points"]

Rule = Literal["sensitivity", "youden"]

# What a threshold was chosen by. A film is flagged where its probability reaches the threshold.
RULES: dict[Rule, str] = {
    "sensitivity": "the largest threshold at which the share of films of the class that are flagged reaches the target",
    "youden": "the threshold of largest sensitivity + specificity - 1 (Youden, Cancer 1950), set midway between the "
    "lowest probability that is flagged and the highest that is not; of equal ones the most sensitive",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Frozen):
    """A share with its 95 % interval; the interval is None where the films give none.

    Attributes:
        value, low, high: 0-1.
        reason: why there is no value; empty otherwise.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


class OperatingPoint(_Frozen):
    """One threshold on one class's calibrated probability.

    Attributes:
        name: ``tb_sensitivity_90``, ``youden_Pneumonia`` and so on.
        label: the class, empty where the labels have none such; ``label_index`` its place among them.
        rule: a name in :data:`RULES`; ``target`` is the sensitivity asked for, None for Youden.
        threshold: 0-1, a film is flagged where its probability is not below; None where there is none.
        sensitivity, specificity: on the films that chose the threshold, and so favourable.
        films, positives: that it was chosen on, all and of the class.
        reason: why there is no threshold; empty otherwise.
    """

    name: str
    label: str
    label_index: int | None
    rule: Rule
    target: float | None = None
    threshold: float | None = Field(None, ge=0, le=1)
    sensitivity: Measured = Measured()
    specificity: Measured = Measured()
    films: int = Field(ge=0)
    positives: int = Field(ge=0)
    reason: str = ""

    @model_validator(mode="after")
    def _threshold_or_reason(self) -> Self:
        if (self.threshold is None) == (not self.reason):
            raise ValueError(f"point {self.name} needs a threshold or a reason, and not both")
        if self.threshold is not None and self.label_index is None:
            raise ValueError(f"point {self.name} has a threshold but no class")
        return self

    def flags(self, probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Which films are flagged.

        Args:
            probabilities: (n, k) calibrated.

        Returns:
            (n,) True where the film's probability of the class is not below the threshold.

        Raises:
            CxrError: the point has no threshold.
        """
        if self.threshold is None or self.label_index is None:
            raise CxrError(f"Operating point {self.name} is not available: {self.reason}.")
        return np.asarray(probabilities)[:, self.label_index] >= self.threshold


class OperatingPoints(_Frozen):
    """Thresholds that belong to one model, one temperature and one set of films.

    Attributes:
        format: of this record.
        labels: class names in output order.
        temperature: that the probabilities were calibrated by.
        trained_model: digest of the model; empty where it is not known.
        films, groups: that chose the thresholds.
        per_class: films of each class.
        level, resamples, seed: of the intervals.
        points: in a fixed order: sensitivity targets, then Youden by class.
        digest: SHA-256 of everything above; a record that does not match it is refused.
    """

    format: Literal[1] = 1
    labels: tuple[str, ...]
    temperature: float = Field(gt=0)
    trained_model: str = ""
    films: int
    groups: int
    per_class: dict[str, int]
    level: float
    resamples: int
    seed: int
    points: tuple[OperatingPoint, ...]
    digest: str = ""

    @classmethod
    def sealed(cls, **fields: Any) -> Self:
        """A record with the digest of its content."""
        unsealed = cls.model_construct(**fields)
        return cls(**{**fields, "digest": unsealed.content_digest()})

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.digest != self.content_digest():
            raise ValueError("the content is not what its digest says: it was changed after it was written")
        for point in self.points:
            if point.label_index is not None and self.labels[point.label_index : point.label_index + 1] != (
                point.label,
            ):  # fmt: skip
                raise ValueError(f"point {point.name} is of a class that is not among the labels at its place")
        return self

    def content_digest(self) -> str:
        """SHA-256 of everything but the digest."""
        return digest_json(self.model_dump(mode="json", exclude={"digest"}))

    @property
    def content(self) -> bytes:
        """The bytes of the record's file; equal records give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False).encode()

    def point(self, name: str) -> OperatingPoint | None:
        """The point of that name; None where there is none."""
        return next((point for point in self.points if point.name == name), None)


def read_operating_points(source: Path | bytes, where: str = "operating_points.json") -> OperatingPoints:
    """Read a record and verify its digest.

    Args:
        source: its file, or the content of it.
        where: name of it in the error, where ``source`` is its content.

    Raises:
        CxrError: it is not there, no such record, or was changed after it was written.
    """
    if isinstance(source, Path):
        with explain_os_errors(source, "reading operating points"):
            data, where = source.read_bytes(), str(source)
    else:
        data = source
    try:
        return OperatingPoints.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CxrError(
            f"{where}{f', field {field}' if field else ''}: {first['msg'].removeprefix('Value error, ')}; "
            "fit the operating points again."
        ) from error
