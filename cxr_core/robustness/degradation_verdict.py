"""What a robustness report amounts to: confidence that rises while accuracy falls, and the verdict by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import is_available
from cxr_core.evaluation.bootstrap import LEVEL, exact_interval
from cxr_core.robustness.degradation_scores import ScoredConditions, simultaneous_tolerance

__all__ = ["FELL", "FELL_BEYOND_CHANCE", "confidence_flags", "confidence_report", "robustness_verdict"]

Floats = npt.NDArray[np.float64]

FELL = "confidence_rose_while_accuracy_fell"
FELL_BEYOND_CHANCE = "confidence_rose_while_accuracy_fell_beyond_chance"
CLINICAL = "clinical"


def confidence_flags(difference: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Whether confidence rose while accuracy fell, by the values and with both intervals beyond 0.

    Args:
        difference: of ``accuracy`` and ``mean_confidence`` from the clean films, each with value, low, high.
    """
    accuracy, confidence = difference["accuracy"], difference["mean_confidence"]
    return {
        FELL: (confidence["value"] or 0) > 0 > (accuracy["value"] or 0),
        FELL_BEYOND_CHANCE: (confidence["low"] or 0) > 0 > (accuracy["high"] or 0),
    }


def confidence_report(
    scored: ScoredConditions, conditions: Mapping[str, Mapping[str, Any]], presets: Sequence[str]
) -> dict[str, Any]:
    """Conditions under which confidence rises while accuracy falls (report 5.2; TRAPS 10).

    Args:
        scored: the conditions, the clean one first.
        conditions: entries of the report, with their flags.
        presets: conditions that are judged each by itself, as the report's own.

    Returns:
        ``flagged`` (by value), ``flagged_beyond_chance`` (both intervals of that condition), ``flagged_surely`` (both
        differences beyond what chance allows all conditions together), ``failing`` (surely, or a preset beyond
        chance), ``conditions`` (their number), ``sentence``.
    """
    corrupted = scored.conditions[1:]
    flagged = [name for name in corrupted if conditions[name][FELL]]
    beyond = [name for name in corrupted if conditions[name][FELL_BEYOND_CHANCE]]
    surely: list[str] = []
    if scored.counts[0].too_few("accuracy", None) is None and corrupted:
        rises, falls = _changes(scored, "mean_confidence", 1), _changes(scored, "accuracy", -1)
        sure = (rises[0] > rises[1]) & (falls[0] > falls[1])
        surely = [name for name, known in zip(corrupted, sure, strict=True) if known]
    failing = [name for name in corrupted if name in surely or (name in presets and name in beyond)]
    return {
        "flagged": flagged,
        "flagged_beyond_chance": beyond,
        "flagged_surely": surely,
        "failing": failing,
        "conditions": len(corrupted),
        "sentence": _flag_sentence(flagged, beyond, surely, len(corrupted)),
    }


def robustness_verdict(
    conditions: Mapping[str, Mapping[str, Any]], confidence: Mapping[str, Any], limit: float, groups: int
) -> dict[str, Any]:
    """The verdict of check ``robustness``: accuracy lost under the clinical preset, and the confidence flag.

    Args:
        conditions: entries of the report.
        confidence: what :func:`confidence_report` returns.
        limit: largest loss of accuracy that passes, a share (report 5.1).
        groups: patient groups of the films. Where accuracy changes in none of them, resamples do not differ either;
            the interval is then the exact one of none in so many.

    Returns:
        ``passed``: the loss found is within the limit and no condition fails for its confidence; ``value``, ``low``,
        ``high`` of the loss; ``limit``; ``shown``: whether the upper end of the interval is within the limit too;
        ``failing``: conditions that fail for their confidence; ``sentence``. Not passed where the loss is not known.
    """
    change = conditions[CLINICAL]["difference"]["accuracy"] if CLINICAL in conditions else None
    if change is None or not is_available(change):
        why = change["reason"] if change else "the clinical preset was not swept"
        said = f"The accuracy lost under the clinical preset is not available: {why}."
        nothing = {"value": None, "low": None, "high": None, "shown": False}
        return _verdict(False, said, confidence, limit, nothing)
    # A loss is a difference the other way round; 0 is added so that no -0.0 is left.
    change = _widened(change, groups)
    loss = {
        "value": -change["value"] + 0.0,
        "low": None if change["high"] is None else -change["high"] + 0.0,
        "high": None if change["low"] is None else -change["low"] + 0.0,
    }
    within = loss["value"] <= limit
    shown = loss["high"] is not None and loss["high"] <= limit
    said = (
        f"Under the clinical preset accuracy changes by {_signed(change['value'])} points ({_interval(change)}), "
        f"{'within' if within else 'beyond'} the limit, a loss of {_points(limit)}{_bound(loss, limit)}."
    )
    return _verdict(within and not confidence["failing"], said, confidence, limit, {**loss, "shown": shown})


def _widened(change: Mapping[str, Any], groups: int) -> Mapping[str, Any]:
    """A change that is 0 in every resample with the exact interval of no change in so many groups, to either side."""
    exact = exact_interval(0.0, groups)
    if exact is None or (change["value"], change["low"], change["high"]) != (0, 0, 0):
        return change
    return {**change, "low": -exact["high"], "high": exact["high"]}


def _verdict(
    passed: bool, said: str, confidence: Mapping[str, Any], limit: float, loss: Mapping[str, Any]
) -> dict[str, Any]:
    sentence = f"{said} {confidence['sentence']}"
    return {"passed": passed, "sentence": sentence, **loss, "limit": limit, "failing": list(confidence["failing"])}


def _bound(loss: Mapping[str, Any], limit: float) -> str:
    if loss["high"] is None:
        return ""
    side = "within" if loss["high"] <= limit else "beyond"
    return f"; the upper bound of the loss, {_points(loss['high'])}, is {side} it"


def _flag_sentence(flagged: Sequence[str], beyond: Sequence[str], surely: Sequence[str], number: int) -> str:
    if not number:
        return "Whether confidence rises while accuracy falls is not available: no condition was swept."
    if not flagged:
        return f"Under none of {number} conditions does confidence rise while accuracy falls."
    named = f" ({_listed(beyond)})" if beyond else ""
    return (
        f"Confidence rises while accuracy falls under {len(flagged)} of {number} conditions, beyond chance each by "
        f"itself under {len(beyond)}{named}, beyond what chance allows all of them together under {len(surely)}."
    )


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _interval(change: Mapping[str, Any]) -> str:
    if change["low"] is None:
        return "no interval"
    return f"{LEVEL:.0%} interval {_signed(change['low'])} to {_signed(change['high'])}"


def _changes(scored: ScoredConditions, score: str, sign: int) -> tuple[Floats, Floats]:
    """Signed changes from clean of every other condition, (c - 1,), and what chance allows them."""
    values = sign * (scored.values[score][1:] - scored.values[score][0])
    spreads = sign * (scored.spreads[score][1:] - scored.spreads[score][0])
    return values, simultaneous_tolerance(values, spreads)
