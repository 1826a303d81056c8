"""Canonical frames as the later stages see them: rows that can be taken in batches, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError

__all__ = ["ArrayFrames", "Frames", "LabelledFrames", "ReducedFrames", "SubsetFrames"]

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]


class Frames(Protocol):
    """Any ordered collection of canonical frames."""

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""

    def __len__(self) -> int:
        """Number of frames."""

    def take(self, rows: Rows) -> Pixels:
        """Frames of the given rows, (len(rows), side, side) uint8; the caller may change the array."""


@dataclass(frozen=True)
class ArrayFrames:
    """Frames held in memory: ``array`` is (n, side, side) uint8."""

    array: Pixels

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""
        return int(self.array.shape[1])

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: Rows) -> Pixels:
        """Copy of the given rows."""
        return self.array[rows]


@dataclass(frozen=True)
class SubsetFrames:
    """Some rows of other frames, in the order given."""

    base: Frames
    rows: Rows

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""
        return self.base.side

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Rows) -> Pixels:
        """Frames of the given rows of the subset."""
        return self.base.take(self.rows[rows])


@dataclass(frozen=True)
class ReducedFrames:
    """Other frames area-averaged to a smaller side: a cheap proxy for tuning."""

    base: Frames
    side: int

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: Rows) -> Pixels:
        """Reduced frames of the given rows."""
        frames = self.base.take(rows)
        if self.side == self.base.side:
            return frames
        reduced = [cv2.resize(frame, (self.side, self.side), interpolation=cv2.INTER_AREA) for frame in frames]
        return np.stack(reduced) if reduced else np.zeros((0, self.side, self.side), np.uint8)


@dataclass(frozen=True)
class LabelledFrames:
    """Frames with their classes.

    Attributes:
        frames: n frames.
        labels: (n,) int64, index into the label order.
        keys: n image identifiers, unique; random streams of an image are seeded by its key.
        sources: n names of the data sets that the films come from, or none where they are not known.
    """

    frames: Frames
    labels: npt.NDArray[np.int64]
    keys: Sequence[str]
    sources: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.labels) == len(self.keys):
            raise CxrError(
                f"{len(self.frames)} frames, {len(self.labels)} labels and {len(self.keys)} keys do not match."
            )
        if len(self.sources) not in (0, len(self.frames)):
            raise CxrError(f"{len(self.frames)} frames and {len(self.sources)} sources do not match.")

    def __len__(self) -> int:
        return len(self.frames)

    def subset(self, rows: Rows) -> LabelledFrames:
        """The given rows as labelled frames of their own."""
        sources = [self.sources[row] for row in rows] if self.sources else ()
        keys = [self.keys[row] for row in rows]
        return LabelledFrames(SubsetFrames(self.frames, rows), self.labels[rows], keys, sources)

    def reduced(self, side: int) -> LabelledFrames:
        """The same films at a smaller side, pixels; as they are where they are no larger."""
        smaller = ReducedFrames(self.frames, min(side, self.frames.side))
        return LabelledFrames(smaller, self.labels, self.keys, self.sources)
