"""What a prediction is made of and what it says: the prepared film, the answer, its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from cxr_core.imaging.advice import Advice

__all__ = [
    "Advice",
    "GreyStatistics",
    "ModelIdentity",
    "Outputs",
    "Prediction",
    "Prepared",
    "Uncertainty",
    "uncertainty",
]

Floats = npt.NDArray[np.float64]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelIdentity(_Answer):
    """Which model answered.

    Attributes:
        name, version: of the model.
        digest: SHA-256 of the model package.
        preprocessing_digest: of the preprocessing.
    """

    name: str
    version: str
    digest: str
    preprocessing_digest: str


class Uncertainty(_Answer):
    """How undecided the probabilities are; what they are worth is said by the evaluation, not here.

    Attributes:
        entropy: Shannon entropy of the probabilities over that of a uniform guess, 0 (certain) - 1 (no idea);
            Shannon, Bell System Technical Journal 1948.
        margin: largest minus second largest probability, 0 (a tie) - 1; Scheffer et al., Advances in Intelligent Data
            Analysis 2001.
    """

    entropy: float
    margin: float


class Prediction(_Answer):
    """The answer for one film.

    Attributes:
        label: the class with the largest probability.
        confidence: that probability, 0-1.
        probabilities: softmax probability of each class, in label order; they add up to 1.
        uncertainty: how undecided the probabilities are.
        warnings: what a reader should know before trusting it.
        parts: what the optional parts of the package add, by part name; see :mod:`cxr_core.release.parts`.
        model: which model answered.
        notice: the research-use notice.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    uncertainty: Uncertainty
    warnings: tuple[Advice, ...]
    parts: dict[str, dict[str, Any]]
    model: ModelIdentity
    notice: str


class Outputs(NamedTuple):
    """What one pass of the network gives, of a batch of films or of one.

    Attributes:
        logits: (n, classes) or (classes,).
        embedding: (n, size) or (size,) float32, what the head is applied to; None where the network does not give it.
    """

    logits: npt.NDArray[np.floating]
    embedding: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class GreyStatistics:
    """Grey values and shape of a film as it came.

    Attributes:
        mean, std: of the grey levels, 0-255.
        width, height: pixels, upright.
        tint: mean spread between the largest and smallest colour channel, 0-255.
    """

    mean: float
    std: float
    width: int
    height: int
    tint: float

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height


@dataclass(frozen=True)
class Prepared:
    """A film on its way to the network.

    Attributes:
        frame: (size, size) uint8, the canonical frame.
        advice: warnings that the film alone gives.
        grey: its statistics.
    """

    frame: npt.NDArray[np.uint8]
    advice: tuple[Advice, ...]
    grey: GreyStatistics


def uncertainty(probabilities: Floats) -> Uncertainty:
    """Uncertainty of one film's probabilities, (classes,), two classes or more."""
    present = probabilities[probabilities > 0]  # p log p tends to 0
    entropy = float(-(present * np.log(present)).sum() / np.log(len(probabilities)))
    second, first = np.sort(probabilities)[-2:].tolist()
    return Uncertainty(entropy=min(max(entropy, 0.0), 1.0), margin=first - second)
