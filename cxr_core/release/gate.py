"""The promotion gate: rules that a model must pass before it may be served (report 6.4).

Rules live in one registry, ``RULES``; a new kind of evidence adds its rule there and nothing else changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from cxr_core.modelling.tolerance import MAX_EXPORT_DIFFERENCE
from cxr_core.settings_sections import GateSettings

__all__ = ["RULES", "GateDecision", "GateFacts", "GateRule", "RuleResult", "evaluate_gate"]


@dataclass(frozen=True)
class GateFacts:
    """What the gate is told of the package beside its metrics.

    Attributes:
        trained_preprocessing_digest: digest of the preprocessing that the model was trained with.
        package_preprocessing_digest: digest of the preprocessing that the package carries.
        export_difference: largest absolute difference of an output between PyTorch and the exported model.
    """

    trained_preprocessing_digest: str
    package_preprocessing_digest: str
    export_difference: float


class RuleResult(BaseModel):
    """What one rule found.

    Attributes:
        name: stable machine name of the rule.
        value: what was measured; null where it is missing or not a number.
        limit: what it was compared with.
        passed: whether the rule holds.
        sentence: the finding for a person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    limit: float
    passed: bool
    sentence: str


class GateDecision(BaseModel):
    """The verdict: passed when every rule is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    rules: tuple[RuleResult, ...]

    @property
    def summary(self) -> str:
        """The sentences of the rules that failed, or of all when none did."""
        failed = [rule.sentence for rule in self.rules if not rule.passed]
        return " ".join(failed or [rule.sentence for rule in self.rules])


@dataclass(frozen=True)
class GateRule:
    """One rule of the gate.

    Attributes:
        name: stable machine name.
        title: what is measured, as it begins a sentence.
        value: takes it from the metrics and facts; null where it is missing.
        limit: takes the limit from the settings.
        holds: compares value and limit.
        demand: what the value has to be, as in "macro F1 must be *above* 0.75".
    """

    name: str
    title: str
    value: Callable[[Mapping[str, Any], GateFacts], float | None]
    limit: Callable[[GateSettings], float]
    holds: Callable[[float, float], bool]
    demand: str


RULES: tuple[GateRule, ...] = (
    GateRule(
        "macro_f1",
        "Macro F1 on test",
        lambda metrics, facts: metrics.get("macro_f1"),
        lambda gates: gates.min_macro_f1,
        lambda value, limit: value > limit,  # report 6.4: F1 > 0.75
        "above",
    ),
    GateRule(
        "export_difference",
        "Difference between PyTorch and the exported model",
        lambda metrics, facts: facts.export_difference,
        lambda gates: MAX_EXPORT_DIFFERENCE,
        lambda value, limit: value <= limit,
        "at most",
    ),
    GateRule(
        "preprocessing",
        "Number of preprocessings between training and service",
        lambda metrics, facts: float(len({facts.trained_preprocessing_digest, facts.package_preprocessing_digest})),
        lambda gates: 1.0,
        lambda value, limit: value == limit,
        "exactly",
    ),
)


def evaluate_gate(
    metrics: Mapping[str, Any], gates: GateSettings, facts: GateFacts, rules: Sequence[GateRule] = RULES
) -> GateDecision:
    """Judge a model by every rule.

    Args:
        metrics: test metrics by name; ``macro_f1`` is the unweighted mean of the classes' F1, 0-1.
        gates: the limits.
        facts: what is known of the package.
        rules: the registry, or part of it.

    Returns:
        The decision. A value that is missing or not finite fails its rule.
    """
    results = tuple(_judge(rule, metrics, gates, facts) for rule in rules)
    return GateDecision(passed=all(result.passed for result in results), rules=results)


def _judge(rule: GateRule, metrics: Mapping[str, Any], gates: GateSettings, facts: GateFacts) -> RuleResult:
    value, limit = rule.value(metrics, facts), rule.limit(gates)
    demand = f"{rule.demand} {limit:g}"
    if value is None or not math.isfinite(value):
        sentence = f"{rule.title} was not measured; it must be {demand}."
        return RuleResult(name=rule.name, value=None, limit=limit, passed=False, sentence=sentence)
    passed = rule.holds(value, limit)
    sentence = f"{rule.title} is {value:.4g}, {'' if passed else 'but must be '}{demand}."
    return RuleResult(name=rule.name, value=float(value), limit=limit, passed=passed, sentence=sentence)
