"""Part ``operating_points``: thresholds in calibrated probability, and whether a film reaches them.

They were fixed on validation films, under a digest, before any test film was looked at (TRAPS 11). A site may put its
own in their place (``service.operating_points``): the same thresholds find other shares of the sick elsewhere.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from cxr_core.errors import CxrError
from cxr_core.evaluation.operating_points_record import OperatingPoint, OperatingPoints, read_operating_points
from cxr_core.evaluation.site_points import load_site_points
from cxr_core.evaluation.temperature import TemperatureScaling
from cxr_core.release.manifest import PackageManifest
from cxr_core.release.parts.base import OpenFile, Part, PartAnswer, Scored, read_record
from cxr_core.release.parts.calibration import CALIBRATION_FILE, CalibrationPart
from cxr_core.release.prediction import Advice

__all__ = ["POINTS_FILE", "TB_FLAG", "OperatingPointsAnswer", "OperatingPointsPart", "PointAnswer"]

POINTS_FILE = "operating_points.json"
TB_FLAG = "tb_flag"  # code of the advice
_SCREENING = "tb_sensitivity_90"  # the point of the TB flag; WHO, target product profiles 2014: sensitivity >= 90 %

Source = Literal["model package", "site"]


class PointAnswer(BaseModel):
    """One film at one operating point.

    Attributes:
        label: the class that the threshold is about.
        threshold: in calibrated probability, 0-1.
        probability: of the class for this film.
        flagged: whether it is not below the threshold.
        validation_sensitivity, validation_specificity: of the threshold on the films that chose it (validation, or the
            site's own), and so favourable; null where they cannot be had.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    threshold: float = Field(ge=0, le=1)
    probability: float = Field(ge=0, le=1)
    flagged: bool
    validation_sensitivity: float | None
    validation_specificity: float | None


class OperatingPointsAnswer(RootModel[dict[str, PointAnswer]]):
    """Every operating point that has a threshold, by name."""


class OperatingPointsPart(Part):
    """The thresholds in force.

    Attributes:
        record: the thresholds, and what chose them.
        source: who fixed them.
    """

    name = "operating_points"
    file = POINTS_FILE
    title = "Thresholds for each class, and the TB flag at a sensitivity of 90 % on validation."
    answer_model = OperatingPointsAnswer
    advice_codes = (TB_FLAG,)

    def __init__(self, record: OperatingPoints, source: Source = "model package") -> None:
        self.record = record
        self.source: Source = source

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> OperatingPointsPart:
        """Load the thresholds, and see that they are of this model and of the temperature that it answers with."""
        record = read_operating_points(data, f"{POINTS_FILE} of the model package")
        wrong = _misfit(record, manifest, _temperature(open_file, manifest))
        if wrong:
            raise CxrError(f"{POINTS_FILE} of the model package, {wrong}: package the model again.")
        return cls(record)

    @classmethod
    def of_site(cls, path: Path, manifest: PackageManifest, temperature: float) -> OperatingPointsPart:
        """Thresholds of a site's own, in place of the package's.

        Args:
            path: file that ``cxr fit-points`` wrote.
            manifest: of the package that is served.
            temperature: that it answers with; 1 without the part ``calibration``.

        Raises:
            CxrError: it is not there, was changed since, or is for another model.
        """
        record = load_site_points(path, manifest.model)
        if wrong := _misfit(record, manifest, temperature):
            raise CxrError(f"{path}, {wrong}; fit them again by cxr fit-points with the package in service.")
        return cls(record, "site")

    def summary(self) -> dict[str, Any]:
        """Whose thresholds are in force, and each of them."""
        record = self.record
        points = {point.name: point.model_dump(mode="json", exclude={"name", "label_index"}) for point in record.points}
        about = {name: getattr(record, name) for name in ("digest", "temperature", "films", "groups")}
        return {"source": self.source, **about, "points": points}

    def answer(self, scored: Scored) -> PartAnswer:
        """The film at every point; advice where the screening point flags it and another label is answered."""
        found = {point.name: one for point in self.record.points if (one := _judge(point, scored)) is not None}
        return PartAnswer(OperatingPointsAnswer(found), _advice(found.get(_SCREENING), scored))


def _judge(point: OperatingPoint, scored: Scored) -> PointAnswer | None:
    if point.threshold is None or point.label_index is None:
        return None  # GET /model says why
    probability = float(scored.probabilities[point.label_index])
    return PointAnswer(
        label=point.label,
        threshold=point.threshold,
        probability=probability,
        flagged=bool(point.flags(scored.probabilities[None])[0]),
        validation_sensitivity=point.sensitivity.value,
        validation_specificity=point.specificity.value,
    )


def _advice(point: PointAnswer | None, scored: Scored) -> tuple[Advice, ...]:
    answered = scored.labels[int(scored.logits.argmax())]
    if point is None or not point.flagged or point.label == answered:
        return ()
    message = (
        f"{point.label} probability {point.probability:.3f} is at or above the threshold {point.threshold:.3f} of the "
        f"operating point {_SCREENING}: have a reader look."
    )
    return (Advice(code=TB_FLAG, message=message),)


def _misfit(record: OperatingPoints, manifest: PackageManifest, temperature: float) -> str:
    """What does not fit the package: field and values; empty where all does."""
    if record.labels != manifest.labels:
        return f"field labels: {', '.join(record.labels)} but the model has {', '.join(manifest.labels)}"
    model = str(manifest.data.get("trained_model", ""))
    if record.trained_model and model and record.trained_model != model:
        return f"field trained_model: {record.trained_model} but the model is {model}"
    if not math.isclose(record.temperature, temperature, rel_tol=1e-9):
        return f"field temperature: {record.temperature:g} but the model is calibrated with {temperature:g}"
    return ""


def _temperature(open_file: OpenFile, manifest: PackageManifest) -> float:
    if CalibrationPart.name not in manifest.parts:
        return 1.0
    return read_record(TemperatureScaling, open_file(CALIBRATION_FILE), CALIBRATION_FILE).temperature
