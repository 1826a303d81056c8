"""What an entry of the registry of corruptions says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["RANGE", "SEVERITIES", "Corruption", "Film", "Registry", "sign"]

Film = npt.NDArray[np.float32]

RANGE = 255.0  # full range of grey, to which shares refer
SEVERITIES = (1, 2, 3, 4, 5)  # five of each, as in ImageNet-C (Hendrycks and Dietterich, ICLR 2019)


@dataclass(frozen=True)
class Corruption:
    """One entry of the registry.

    Attributes:
        act: film (height, width) float32 on the 0-255 scale, amount, and the image's generator for this step, to the
            corrupted film of the same shape; it may leave 0-255, as cutting comes last. It draws the same numbers
            whatever the amount, so that a film only gets worse from one severity to the next.
        nothing: amount that leaves every film as it is.
        valid: whether an amount makes sense.
        demand: what ``valid`` asks for, as it ends a sentence.
        title: name for readers.
        unit: what the amount counts.
        severities: amounts of severities 1 to 5, each worse than the one before.
        source: where the five amounts come from.
    """

    act: Callable[[Film, float, np.random.Generator], Film]
    nothing: float
    valid: Callable[[float], bool]
    demand: str
    title: str
    unit: str
    severities: tuple[float, ...]
    source: str


Registry = Mapping[str, Corruption]


def sign(rng: np.random.Generator) -> float:
    """-1 or 1 with equal chance."""
    return 1.0 if rng.random() < 0.5 else -1.0
