"""The promotion gate: rules that a model must pass before it may be served (report 6.4).

Rules live in one registry, ``RULES``; a new kind of evidence adds its rule there and nothing else changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_core.modelling.tolerance import MAX_EXPORT_DIFFERENCE
from cxr_core.release.decision import GateDecision, RuleResult
from cxr_core.release.facts import Comparison, Evidence, GateFacts
from cxr_core.settings_sections import GateSettings

__all__ = ["RULES", "Comparison", "Evidence", "GateDecision", "GateFacts", "GateRule", "RuleResult", "evaluate_gate"]

Judge = Callable[[str, Mapping[str, Any], GateFacts, GateSettings], RuleResult]


@dataclass(frozen=True)
class GateRule:
    """One rule of the gate.

    Attributes:
        name: stable machine name.
        judge: takes that name, the metrics, the facts and the settings, and says what it found.
    """

    name: str
    judge: Judge


def _limit(
    title: str,
    value: Callable[[Mapping[str, Any], GateFacts], float | None],
    limit: Callable[[GateSettings], float],
    holds: Callable[[float, float], bool],
    demand: str,
) -> Judge:
    """A rule that compares one number with one limit.

    Args:
        title: what is measured, as it begins a sentence.
        value: takes it from the metrics and facts; null where it is missing.
        limit: takes the limit from the settings.
        holds: compares value and limit.
        demand: what the value has to be, as in "macro F1 must be *above* 0.75".
    """

    def judge(name: str, metrics: Mapping[str, Any], facts: GateFacts, gates: GateSettings) -> RuleResult:
        found, bound = value(metrics, facts), limit(gates)
        asked = f"{demand} {bound:g}"
        if not _finite(found):
            sentence = f"{title} was not measured; it must be {asked}."
            return RuleResult(name=name, value=None, limit=bound, passed=False, sentence=sentence)
        assert found is not None
        passed = holds(found, bound)
        sentence = f"{title} is {found:.4g}, {'' if passed else 'but must be '}{asked}."
        return RuleResult(name=name, value=float(found), limit=bound, passed=passed, sentence=sentence)

    return judge


def _champion(name: str, metrics: Mapping[str, Any], facts: GateFacts, gates: GateSettings) -> RuleResult:
    """Not worse than the model in service: fails where the whole interval of the paired difference lies below 0."""
    found = facts.comparison

    def result(passed: bool, sentence: str, **more: Any) -> RuleResult:
        return RuleResult(name=name, **{"value": None, "limit": 0.0, **more}, passed=passed, sentence=sentence)

    if found is None:
        return result(False, "The candidate was not compared with the champion.")
    if not found.champion:
        return result(True, "There is no champion yet to compare with.", needed=False)
    if found.standing is not None:  # the same model again: its decision stands, so that equal inputs give equal bytes
        stood = [rule for rule in found.standing.rules if rule.name == name]
        said = f"The candidate is the champion itself, {found.name}."
        return stood[0] if stood else result(True, said, needed=False)
    if found.problem or not _finite(found.difference, found.low, found.high):
        waived = gates.allow_unmeasured_champion
        way_out = "allow_unmeasured_champion lets it pass" if waived else "allow_unmeasured_champion can waive this"
        why = found.problem or "no interval of the difference could be computed"
        sentence = f"The candidate could not be compared with {found.name} because {why}; gates.{way_out}."
        return result(waived, sentence)
    passed = (found.high or 0.0) >= 0
    films = f"{found.films} test films of {found.groups} patient groups"
    left = f", {found.left_out} that the champion may have seen left out" if found.left_out else ""
    sentence = (
        f"Macro F1 differs from that of the champion {found.name} by {found.difference:+.4g} "
        f"(95 % interval {found.low:+.4g} to {found.high:+.4g}; {films}{left})"
        f"{'' if passed else ', but the interval must not lie below 0 as a whole'}."
    )
    return result(passed, sentence, value=found.difference, low=found.low, high=found.high)


def _calibration(name: str, metrics: Mapping[str, Any], facts: GateFacts, gates: GateSettings) -> RuleResult:
    """Calibration is known with its interval and its null; no source gives a limit, so none is set (TRAPS 11)."""
    report = facts.calibration or {}
    error, null = report.get("expected_calibration_error") or {}, report.get("null") or {}
    value, low, high = (error.get(key) for key in ("value", "low", "high"))
    numbers = {"value": value, "interval": low, "interval's upper end": high, "null": null.get("high")}
    missing = [what for what, number in numbers.items() if not _finite(number)]
    if missing:
        sentence = f"Expected calibration error on test was not measured: its {missing[0]} is missing."
        return RuleResult(name=name, value=None, limit=None, passed=False, sentence=sentence)
    sentence = (
        f"Expected calibration error on test is {value:.4g} (95 % interval {low:.4g} to {high:.4g}; a perfectly "
        f"calibrated model stays below {null['high']:.4g} in 95 % of such samples)."
    )
    return RuleResult(name=name, value=value, low=low, high=high, limit=None, passed=True, sentence=sentence)


def _evidence(name: str, metrics: Mapping[str, Any], facts: GateFacts, gates: GateSettings) -> RuleResult:
    """Every report is there and about this model, and every blocking check upstream passed."""
    found = facts.evidence
    reports = dict(found.made_from) if found else {}
    problems = [
        f"{report} {'is not there' if model is None else f'was made from another model, {model[:12]}'}"
        for report, model in sorted(reports.items())
        if found is None or model != found.model
    ]
    fitting = float(len(reports) - len(problems))
    if not reports:
        problems = ["no report was named"]
    problems += [sentence.rstrip(".") for sentence in (found.unpassed if found else ())]
    names = ", ".join(sorted(reports))
    sentence = (
        f"Evidence of this model is incomplete: {'; '.join(problems)}."
        if problems
        else f"Evidence of this very model is there: {names}; every blocking check before it passed."
    )
    limit = float(len(reports))
    return RuleResult(name=name, value=fitting, limit=limit, passed=not problems, sentence=sentence)


def _shortcut(name: str, metrics: Mapping[str, Any], facts: GateFacts, gates: GateSettings) -> RuleResult:
    """The pooled score is not to be had without lungs (TRAPS 1); a person may let a model pass that fails this."""
    found = facts.verdicts.get("shortcut_audit")
    if found is None:
        sentence = "How much of the score is explained without lungs was not measured."
        return RuleResult(name=name, value=None, limit=None, passed=False, sentence=sentence)
    passed, sentence = bool(found.get("passed")), str(found.get("sentence"))
    if not passed:
        waived = gates.allow_shortcut
        sentence = f"{sentence.rstrip('.')}; gates.allow_shortcut {'lets it pass' if waived else 'can waive this'}."
        passed = waived
    numbers = {key: found.get(key) if _finite(found.get(key)) else None for key in ("value", "low", "high", "limit")}
    return RuleResult(name=name, **numbers, passed=passed, sentence=sentence)


def _finite(*values: Any) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


RULES: tuple[GateRule, ...] = (
    GateRule(
        "macro_f1",
        _limit(
            "Macro F1 on test",
            lambda metrics, facts: metrics.get("macro_f1"),
            lambda gates: gates.min_macro_f1,
            lambda value, limit: value > limit,  # report 6.4: F1 > 0.75
            "above",
        ),
    ),
    GateRule(
        "export_difference",
        _limit(
            "Difference between PyTorch and the exported model",
            lambda metrics, facts: facts.export_difference,
            lambda gates: MAX_EXPORT_DIFFERENCE,
            lambda value, limit: value <= limit,
            "at most",
        ),
    ),
    GateRule(
        "preprocessing",
        _limit(
            "Number of preprocessings between training and service",
            lambda metrics, facts: float(len({facts.trained_preprocessing_digest, facts.package_preprocessing_digest})),
            lambda gates: 1.0,
            lambda value, limit: value == limit,
            "exactly",
        ),
    ),
    GateRule("champion", _champion),
    GateRule("calibration", _calibration),
    GateRule("shortcut", _shortcut),
    GateRule("evidence", _evidence),
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
    results = tuple(rule.judge(rule.name, metrics, facts, gates) for rule in rules)
    comparison = facts.comparison or Comparison()
    champion = comparison.standing.champion if comparison.standing else comparison.champion
    return GateDecision(passed=all(result.passed for result in results), rules=results, champion=champion)
