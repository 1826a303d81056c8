"""One figure that the technical report printed: its section, what rounding hides, and where ours is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CENT", "CLASSES", "MILLE", "Published"]

CLASSES: tuple[str, ...] = ("Normal", "Pneumonia", "Tuberculosis")
CENT, MILLE = 0.005, 0.0005  # half of the last digit of .78 and of 78.4 %


@dataclass(frozen=True)
class Published:
    """One printed figure.

    Attributes:
        key: stable name.
        section: of the technical report, or ``its code`` for a count of its reference implementation.
        title: what it is.
        value: as printed, shares as 0-1.
        half: half of its last printed digit: what rounding may hide. Counts have 0.
        ours: asset and JSON pointer of the same quantity here; empty where there is none. A step ``last`` is a list's
            last entry.
        absent: why there is none, as it follows "not available:"; empty where there is one.
        unit: as of :class:`cxr_core.release.document.Number`.
        bounds: JSON pointer of our interval where it stands apart from our value.
    """

    key: str
    section: str
    title: str
    value: float | int
    half: float = 0.0
    ours: tuple[str, str] | tuple[()] = ()
    absent: str = ""
    unit: str = ""
    bounds: str = ""

    @property
    def range(self) -> tuple[float, float]:
        """The values that print as this one."""
        return self.value - self.half, self.value + self.half
