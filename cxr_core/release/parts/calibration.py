"""Part ``calibration``: the temperature that the logits are divided by before the softmax, so that all is calibrated.

Where a package has it, whatever is said of a film's probabilities, from the confidence to the drift window, is said of
the calibrated ones. A positive temperature keeps the order of the classes, so the label is that of the plain softmax
(Guo et al., ICML 2017, section 4.2).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from cxr_core.evaluation.temperature import TemperatureScaling
from cxr_core.release.manifest import PackageManifest
from cxr_core.release.parts.base import OpenFile, Part, PartAnswer, Scored, read_record

__all__ = ["CALIBRATION_FILE", "METHOD", "CalibrationAnswer", "CalibrationPart"]

CALIBRATION_FILE = "temperature.json"
METHOD = "temperature scaling"
_ON_INT8 = (
    "fitted to the exact network and applied to the 8-bit one as it is; what 8 bits cost (part int8) was measured on "
    "uncalibrated probabilities"
)


class CalibrationAnswer(BaseModel):
    """How the probabilities of an answer were calibrated.

    Attributes:
        method: what was done to the logits.
        temperature: that they were divided by.
        films: that it was fitted on, none of them used for training, early stopping or test.
        fitted: whether they decided it; where not, the temperature is 1 and the probabilities are the plain softmax.
        precision: of the network that it was fitted to; the 8-bit network answers with the same temperature.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    temperature: float = Field(gt=0)
    films: int = Field(ge=0)
    fitted: bool
    precision: Literal["fp32"] = "fp32"


class CalibrationPart(Part):
    """The temperature.

    Attributes:
        scaling: what was fitted.
    """

    name = "calibration"
    file = CALIBRATION_FILE
    title = "Temperature of the probabilities, fitted on films that trained nothing."
    answer_model = CalibrationAnswer

    def __init__(self, scaling: TemperatureScaling) -> None:
        self.scaling = scaling
        self._answer = CalibrationAnswer(
            method=METHOD, temperature=scaling.temperature, films=scaling.films, fitted=scaling.fitted
        )

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> CalibrationPart:
        """Load the temperature."""
        return cls(read_record(TemperatureScaling, data, CALIBRATION_FILE))

    def probabilities(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Calibrated probabilities (n, classes) float64 of logits (n, classes)."""
        return self.scaling.probabilities(logits)

    def summary(self) -> dict[str, Any]:
        """The fit, and what is done to the 8-bit network's logits."""
        return {"method": METHOD, **self.scaling.model_dump(mode="json"), "int8": _ON_INT8}

    def answer(self, scored: Scored) -> PartAnswer:
        """Every answer says how it was calibrated."""
        return PartAnswer(self._answer)
