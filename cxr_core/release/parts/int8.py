"""Part ``int8``: the network with 8-bit weights and activations, and what that costs in accuracy.

Served only where ``service.inference.precision`` is ``int8``. The loss is measured at packaging, on the test films.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cxr_core.errors import CxrError
from cxr_core.release.manifest import PackageManifest
from cxr_core.release.parts.base import OpenFile, Part, PartAnswer, Scored, read_record

__all__ = ["INT8_FILE", "INT8_NETWORK", "Int8Answer", "Int8Part", "Int8Record"]

INT8_FILE = "int8.json"
INT8_NETWORK = "int8.onnx"

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Int8Record(BaseModel):
    """Content of ``int8.json``: what was measured, the quantised network beside the exported one.

    Attributes:
        method: how it was quantised.
        network: file of the quantised network.
        reference_logits: its logits of the package's reference frames, by ONNX Runtime where it was packaged.
        calibration_films: validation films that the ranges of the activations come from.
        films, groups: test films, and the patient groups that they come from.
        max_probability_change, mean_probability_change: over all films and classes, 0-1.
        label_agreement: share of films with the same label, 0-1.
        macro_auc, macro_auc_fp32: of the quantised and of the exported network; null where a class is missing.
        macro_auc_difference: the first minus the second.
        low, high: 95 % interval of the difference, paired bootstrap over patient groups; null where it has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    network: str
    reference_logits: list[list[_Finite]]
    calibration_films: int = Field(ge=1)
    films: int = Field(ge=1)
    groups: int = Field(ge=1)
    max_probability_change: _Share
    mean_probability_change: _Share
    label_agreement: _Share
    macro_auc: _Share | None
    macro_auc_fp32: _Share | None
    macro_auc_difference: _Finite | None
    low: _Finite | None
    high: _Finite | None


class Int8Answer(BaseModel):
    """What an answer of the quantised network says of it.

    Attributes:
        max_probability_change, mean_probability_change: against the exact network, measured on the test films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_probability_change: float
    mean_probability_change: float


class Int8Part(Part):
    """The quantised network.

    Attributes:
        record: what was measured.
        network: content of the network's file: input ``input``, output ``logits``, both float32.
    """

    name = "int8"
    file = INT8_FILE
    title = "8-bit network, served where the setting service.inference.precision is int8."
    answer_model = Int8Answer

    def __init__(self, record: Int8Record, network: Callable[[], bytes]) -> None:
        self.record = record
        self.network = network
        self._answer = Int8Answer(
            max_probability_change=record.max_probability_change,
            mean_probability_change=record.mean_probability_change,
        )

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> Int8Part:
        """Load the record and see that the network is there."""
        record = read_record(Int8Record, data, INT8_FILE)
        if record.network not in manifest.files:
            raise CxrError(f"{INT8_FILE} names {record.network}, which is not in the package: package it again.")
        return cls(record, lambda: open_file(record.network))

    def summary(self) -> dict[str, Any]:
        """The measured loss."""
        return self.record.model_dump(exclude={"network", "reference_logits"})

    def answer(self, scored: Scored) -> PartAnswer | None:
        """Only answers of the quantised network say what it costs."""
        return PartAnswer(self._answer) if scored.precision == self.name else None
