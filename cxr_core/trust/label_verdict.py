"""The verdict of the label audit, by rule, with the numbers that it rests on (TRAPS 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxr_core.evaluation.availability import is_available
from cxr_core.settings_trust import LabelAuditSettings

__all__ = ["noise_verdict"]


def noise_verdict(report: Mapping[str, Any], settings: LabelAuditSettings) -> dict[str, Any]:
    """Whether more labels are wrong than may be.

    A class, or one source's films of a class that are a mixture by the test, fails where even the lower end of its
    share of wrong labels lies above ``max_noise_share``.

    Args:
        report: with ``classes``, ``cells``, ``overall``.
        settings: the limit.

    Returns:
        ``passed``, ``sentence``, ``value``, ``low``, ``high``, ``limit`` of the class or cell with the largest lower
        end, ``worst`` its name. Not passed where nothing could be measured.
    """
    limit = settings.max_noise_share
    shares = [(name, entry["noise"]) for name, entry in report["classes"].items() if is_available(entry["noise"])]
    shares += [
        (f"{cell['label']} of {cell['source']}, which seem to be {cell['other']}", cell["share"])
        for cell in report["cells"]
        if cell["is_mixture"] and is_available(cell["share"])
    ]
    if not shares:
        reason = report["overall"].get("reason", "nothing was measured")
        sentence = f"The share of wrong labels is not available: {reason}."
        return {"passed": False, "sentence": sentence, "worst": None, "value": None, "low": None, "high": None,
                "limit": limit}  # fmt: skip
    name, worst = max(shares, key=lambda pair: (_low(pair[1]), pair[1]["value"]))
    passed = _low(worst) <= limit
    ends = "" if worst["low"] is None else f" ({worst['low']:.1%} to {worst['high']:.1%})"
    relation = "is not surely above" if passed else "is above"
    sentence = f"Of the labels {name} an estimated {worst['value']:.1%}{ends} are wrong, which {relation} {limit:.0%}."
    return {
        "passed": passed,
        "sentence": sentence,
        "worst": name,
        "value": worst["value"],
        "low": worst["low"],
        "high": worst["high"],
        "limit": limit,
    }


def _low(share: Mapping[str, Any]) -> float:
    low = share["low"]
    return float(share["value"] if low is None else low)
