"""What every optional part of a model package has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from cxr_core.errors import CxrError
from cxr_core.release.manifest import PackageManifest, first_problem
from cxr_core.release.prediction import Advice, Prepared

__all__ = ["OpenFile", "Part", "PartAnswer", "Scored", "read_record"]

OpenFile = Callable[[str], bytes]  # verified content of a file of the package by name
_Record = TypeVar("_Record", bound=BaseModel)


@dataclass(frozen=True)
class Scored:
    """A film after the network, as a part sees it.

    Attributes:
        prepared: its frame, warnings and grey statistics.
        labels: class names in output order.
        logits: (classes,) float64.
        probabilities: (classes,) float64, what is answered: calibrated where the package has the part ``calibration``.
        uncalibrated: (classes,) float64, softmax of the logits as they are.
        precision: of the network that answered, ``fp32`` or ``int8``.
        embedding: (size,) float32, pooled; None where the network does not give it.
    """

    prepared: Prepared
    labels: tuple[str, ...]
    logits: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    uncalibrated: npt.NDArray[np.float64]
    precision: str
    embedding: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PartAnswer:
    """What a part adds to one answer: its fields, and warnings of its own."""

    fields: BaseModel
    advice: tuple[Advice, ...] = ()


class Part(ABC):
    """One loaded part.

    Attributes:
        name: key in the manifest's ``parts`` and in an answer's ``parts``.
        file: its file in the package; it may name further files of the package.
        recorded: further files of a part that an asset writes and packaging only takes along.
        title: one sentence for a person.
        answer_model: schema of what it adds to an answer; None where it adds nothing.
        advice_codes: codes of the warnings that it may give.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    recorded: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str]
    answer_model: ClassVar[type[BaseModel] | None] = None
    advice_codes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> Part:
        """Load and check the part.

        Args:
            data: content of its file.
            open_file: gives further files of the package.
            manifest: of the package.

        Raises:
            CxrError: the content is not this part, or does not fit the package.
        """

    def summary(self) -> dict[str, Any]:
        """What ``GET /model`` says of it, JSON values."""
        return {}

    def answer(self, scored: Scored) -> PartAnswer | None:
        """What it adds to the answer of one film; None: nothing."""
        return None


def read_record(model: type[_Record], data: bytes, file: str) -> _Record:
    """A part's JSON file as an object.

    Raises:
        CxrError: it is not JSON, or not this record; names file and field.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise CxrError(f"{file} of the model package, {first_problem(error)}: package the model again.") from error
