"""A number with its interval, or why there is none: what every report says of a value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError

__all__ = ["available", "finite_probabilities", "is_available", "unavailable"]


def unavailable(reason: str, **more: Any) -> dict[str, Any]:
    """A value that cannot be computed from these films.

    Args:
        reason: why, as it ends the sentence "not available: ...".
        more: further fields, for example ``films``.
    """
    return {"value": None, "low": None, "high": None, "reason": reason, **more}


def available(value: float, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    """A value with its interval; a value that is not finite is not available.

    Args:
        value: the number.
        low, high: ends of its interval; None where it has none.
        more: further fields.
    """
    if not math.isfinite(value):
        return unavailable("the value is not finite", **more)
    return {"value": float(value), "low": low, "high": high, **more}


def is_available(entry: Any) -> bool:
    """Whether an entry of a report holds a number."""
    return isinstance(entry, dict) and isinstance(entry.get("value"), int | float) and math.isfinite(entry["value"])


def finite_probabilities(probabilities: npt.NDArray[np.floating], prefix: str = "p_") -> npt.NDArray[np.float64]:
    """Probabilities (n, k) as float64, seen to be finite.

    Args:
        probabilities: columns of a predictions table.
        prefix: of the columns' names, for the error.

    Raises:
        CxrError: a value is NaN or infinite; names the column.
    """
    values = np.asarray(probabilities, np.float64)
    wrong = ~np.isfinite(values)
    if wrong.any():
        column = int(np.flatnonzero(wrong.any(axis=0))[0])
        raise CxrError(
            f"Column {prefix}{column} of the predictions table holds {int(wrong[:, column].sum())} values that are no "
            "numbers: materialise predictions again."
        )
    return values
