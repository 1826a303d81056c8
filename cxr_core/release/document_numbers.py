"""How a report writes a number: decimals, separators, percent, interval; and how it cleans foreign text."""

from __future__ import annotations

import math

from cxr_core.release.document import COUNT, PERCENT, Number

__all__ = ["NOT_AVAILABLE", "clean", "shown"]

NOT_AVAILABLE = "not available: "

_DECIMALS = 3  # of a number without an interval
_MOST = 4  # decimals, however narrow the interval
_TWO_DIGITS = 3.55  # below it the first digits of a width round to 35 at most
_MINUS, _SPACE, _UP_TO = "\u2212", "\u00a0", "\u2013"  # minus sign, space that keeps a unit on its line, en dash
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SMALLEST = 1e-4  # of what is written without a power of ten
# Characters that turn the direction of a line or show nothing: text that came from a file name could hide behind them.
_HIDDEN = {0x061C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def shown(number: Number) -> str:
    """A number as it is read: ``0.81 (0.70–0.91)``, ``78.4 % (70.1–85.0)``, ``1,024 films``; else why there is none.

    With an interval its width says how many decimals mean anything: two digits of the width are kept, and four decimals
    at most. Without one there are three decimals, or three digits of what is below 0.1, and one decimal in percent;
    what would be written as nothing has two digits.
    """
    if number.value is None:
        return NOT_AVAILABLE + clean(number.reason)
    scale = 100 if number.unit == PERCENT else 1
    ends = None if number.low is None or number.high is None else (number.low * scale, number.high * scale)
    value = number.value * scale
    decimals = 0 if _is_whole(number) else _decimals(value, ends, 1 if number.unit == PERCENT else _DECIMALS)
    text = _digits(value, decimals) if ends else _told(value, decimals)
    if number.unit and number.unit != COUNT:
        text += _SPACE + clean(number.unit)
    if ends is None:
        return text
    between = f"{_UP_TO}" if min(ends) >= 0 else " to "
    return f"{text} ({_digits(ends[0], decimals)}{between}{_digits(ends[1], decimals)})"


def clean(text: str) -> str:
    """Text with nothing in it that a reader cannot see: no control, direction or half characters; one line."""
    return "".join(_seen(letter) for letter in " ".join(text.split()))


def _seen(letter: str) -> str:
    code = ord(letter)
    hidden = code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in _HIDDEN
    return "\ufffd" if hidden else letter


def _is_whole(number: Number) -> bool:
    if number.unit == COUNT:
        return True
    if number.unit == PERCENT or number.low is not None or number.value is None:
        return False
    # 1.0 may be a score, 11.0 is none.
    return isinstance(number.value, int) or (
        float(number.value).is_integer() and (number.unit != "" or abs(number.value) >= 2)
    )


def _decimals(value: float, ends: tuple[float, float] | None, default: int) -> int:
    width = abs(ends[1] - ends[0]) if ends else 0.0
    if width > 0:
        power = math.floor(math.log10(width))
        return min(max(int(width / 10**power < _TWO_DIGITS) - power, 0), _MOST)
    if abs(value) >= 1000:
        return 0
    if default == _DECIMALS and _SMALLEST <= abs(value) < 0.1:
        digits = 2 - math.floor(math.log10(abs(value)))  # three of them: a learning rate of 0.00071 is not 0.001
        return next(count for count in range(default, digits + 1) if round(value, count) == round(value, digits))
    return min(default, 1) if abs(value) >= 100 else default


def _told(value: float, decimals: int) -> str:
    """A number alone: one that the decimals would show as nothing has two digits, or a power of ten."""
    if not value or float(f"{value:.{decimals}f}"):
        return _digits(value, decimals)
    if abs(value) < _SMALLEST:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa}×10{str(int(power)).translate(_RAISED)}".replace("-", _MINUS)
    return _digits(value, 1 - math.floor(math.log10(abs(value))))


def _digits(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    return text.replace("-", _MINUS if float(text.replace(",", "")) else "")
