"""From the stored values of a DICOM film to 8-bit grey: modality, window, inversion (PS3.3, C.11.1, C.11.2).

Everything is worked out once for each value that can be stored, 65,536 at most, and the film is looked up in that
table: a film of 16 million pixels then needs no floating-point copy of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import ImageRejected
from cxr_core.imaging.decoded import count_values, look_up

__all__ = ["Depth", "GreyRules", "LookUp", "Window", "to_grey"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Depth:
    """How a value is stored.

    Attributes:
        allocated: bits a pixel takes, 8 or 16.
        stored: bits that count, 8-16.
        high: position of the highest of them.
        signed: whether they are a two's complement.
    """

    allocated: int
    stored: int
    high: int
    signed: bool


@dataclass(frozen=True)
class LookUp:
    """A lookup table: ``first`` is the value that the first entry stands for; values beyond the ends take the ends."""

    first: float
    entries: Floats

    def __call__(self, values: Floats) -> Floats:
        places = np.clip(np.floor(values - self.first), 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[places]

    @property
    def top(self) -> float:
        """The entry that means white: all bits set, of as many bits as the largest entry has, 8 at least."""
        return float((1 << max(8, int(self.entries.max()).bit_length())) - 1)


@dataclass(frozen=True)
class Window:
    """Centre and width of a window, and its function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def usable(self) -> bool:
        """Whether the width can be: 1 or more for LINEAR, more than 0 otherwise (C.11.2.1.2)."""
        return self.width >= 1 if self.function == "LINEAR" else self.width > 0

    def __call__(self, values: Floats) -> Floats:
        """Brightness 0-1 of values, formulas of C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2."""
        if self.function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(-4 * (values - self.center) / self.width)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        low, high = self.center - 0.5 - (self.width - 1) / 2, self.center - 0.5 + (self.width - 1) / 2
        inside = (values - (self.center - 0.5)) / max(self.width - 1, 1e-9) + 0.5
        return np.where(values <= low, 0.0, np.where(values > high, 1.0, np.clip(inside, 0, 1)))


@dataclass(frozen=True)
class GreyRules:
    """What a file says of its values.

    Attributes:
        depth: how they are stored.
        slope, intercept: of the rescaling; 1 and 0 where the file has none.
        modality: table in place of them.
        voi: table of the values of interest; counts before the window.
        window: the first window.
        inverted: MONOCHROME1: the smallest value is white.
        padding: range of stored values, both ends included, that are no part of the film.
    """

    depth: Depth
    slope: float = 1.0
    intercept: float = 0.0
    modality: LookUp | None = None
    voi: LookUp | None = None
    window: Window | None = None
    inverted: bool = False
    padding: tuple[int, int] | None = None


def to_grey(raw: npt.NDArray[np.uint16], rules: GreyRules) -> npt.NDArray[np.uint8]:
    """Grey of a film.

    Args:
        raw: (height, width) uint16: the pixels as allocated, neither masked nor sign-extended.
        rules: what the file says of them.

    Returns:
        (height, width) uint8, 0 black - 255 white. Without a window or a table the range of the values that occur,
        padding left out, goes from black to white.

    Raises:
        ImageRejected: ``corrupt``: the rescaled values are not finite.
    """
    stored, values = _values(rules)
    with np.errstate(over="ignore", invalid="ignore"):
        if rules.voi is not None:
            bright = rules.voi(values) / rules.voi.top
        elif rules.window is not None and rules.window.usable:
            bright = rules.window(values)
        else:
            occurs = count_values(raw, len(values)) > 0
            film = occurs & ~_padded(stored, rules.padding)
            bright = _stretched(values, values[film if film.any() else occurs])
    if not np.isfinite(bright).all():
        raise ImageRejected("corrupt", "The window of the DICOM film is beyond all numbers: export the film again.")
    if rules.inverted:
        bright = 1 - bright
    return look_up(np.rint(bright * 255).astype(np.uint8), raw)


def _values(rules: GreyRules) -> tuple[npt.NDArray[Any], Floats]:
    """Stored value and modality value of each number that a pixel can be allocated as."""
    depth = rules.depth
    allocated = np.arange(1 << depth.allocated)
    # What stands above the high bit is an old overlay, what stands below the stored bits is nothing (PS3.5, 8.1.1).
    stored = (allocated >> (depth.high + 1 - depth.stored)) & ((1 << depth.stored) - 1)
    if depth.signed:
        stored = np.where(stored >= 1 << (depth.stored - 1), stored - (1 << depth.stored), stored)
    with np.errstate(over="ignore", invalid="ignore"):
        values: Floats = stored.astype(np.float64)
        values = values * rules.slope + rules.intercept if rules.modality is None else rules.modality(values)
    if not np.isfinite(values).all():
        raise ImageRejected("corrupt", "The rescale values of the DICOM film are beyond all numbers: export it again.")
    return stored, values


def _padded(stored: npt.NDArray[Any], padding: tuple[int, int] | None) -> npt.NDArray[np.bool_]:
    if padding is None:
        return np.zeros(len(stored), bool)
    low, high = sorted(padding)
    return (stored >= low) & (stored <= high)


def _stretched(values: Floats, over: Floats) -> Floats:
    low, high = float(over.min()), float(over.max())
    if high <= low:
        return np.where(values > high, 1.0, 0.0)
    return np.clip((values - low) / (high - low), 0, 1)
