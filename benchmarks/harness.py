"""What a benchmark reports, and how two ways are timed fairly on a machine that is not quiet."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Benchmark", "side_by_side"]


@dataclass(frozen=True)
class Benchmark:
    """One measured ratio.

    Attributes:
        name: stable machine name.
        ratio: what was measured.
        goal: what it has to reach.
        better: which direction is better.
        units: what the ratio is of.
        note: the figures behind it.
    """

    name: str
    ratio: float
    goal: float
    better: Literal["higher", "lower"]
    units: str
    note: str

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal

    def line(self) -> str:
        """``name ratio goal met|short``."""
        sign = ">=" if self.better == "higher" else "<="
        return f"{self.name} {self.ratio:.2f} {sign}{self.goal:g} {'met' if self.met else 'short'}"


def side_by_side(ours: Callable[[], None], theirs: Callable[[], None], rounds: int = 5) -> tuple[float, float, float]:
    """Time two ways in turn, A B A B ..., so that a drift of the machine's speed hits both.

    Returns:
        Median of the pairwise ratios theirs / ours, and the median seconds of each.
    """
    ours()  # once uncounted: imports, caches of the file system
    theirs()
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        pairs.append((_seconds(ours), _seconds(theirs)))
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    return ratio, statistics.median(fast for fast, _ in pairs), statistics.median(slow for _, slow in pairs)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
