"""JSON pointers (RFC 6901): where in a stored report a number stands."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["escape_step", "follow", "is_number", "unescape_step"]


def is_number(value: Any) -> bool:
    """Whether a value of a report is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def follow(value: Any, pointer: str) -> Any:
    """What stands at a JSON pointer inside a value; None where nothing does."""
    for step in pointer.split("/")[1:]:
        key = unescape_step(step)
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def escape_step(step: str) -> str:
    """A name as one step of a pointer."""
    return step.replace("~", "~0").replace("/", "~1")


def unescape_step(step: str) -> str:
    """The name that a step of a pointer stands for."""
    return step.replace("~1", "/").replace("~0", "~")
