import math
from typing import Any

import pytest
from tiny_package import CALIBRATION, good_facts

from cxr_core.release.gate import RULES, Comparison, Evidence, GateDecision, GateFacts, RuleResult, evaluate_gate
from cxr_core.settings_sections import GateSettings

GOOD = {"macro_f1": 0.9}


def failed(decision: GateDecision) -> list[str]:
    return [rule.name for rule in decision.rules if not rule.passed]


def judged(facts: GateFacts, name: str, **gates: Any) -> RuleResult:
    (result,) = (rule for rule in evaluate_gate(GOOD, GateSettings(**gates), facts).rules if rule.name == name)
    return result


def compared(low: float, high: float, **more: Any) -> Comparison:
    return Comparison(
        champion="c" * 64, name="cxr 1.0.0 (cccc)", difference=(low + high) / 2, low=low, high=high, films=56,
        groups=40, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("macro_f1", "passes"), [(0.9, True), (0.7501, True), (0.75, False), (0.2, False), (math.nan, False), (None, False)]
)
def test_macro_f1_must_be_above_the_reports_limit(macro_f1: float | None, passes: bool) -> None:
    decision = evaluate_gate({"macro_f1": macro_f1}, GateSettings(), good_facts())
    assert decision.passed is passes
    assert decision.rules[0].name == "macro_f1"
    assert decision.rules[0].limit == 0.75


def test_a_metric_that_was_never_measured_fails_the_gate() -> None:
    decision = evaluate_gate({}, GateSettings(), good_facts())
    assert not decision.passed
    assert decision.summary == "Macro F1 on test was not measured; it must be above 0.75."


def test_the_limit_is_a_setting() -> None:
    assert not evaluate_gate({"macro_f1": 0.8}, GateSettings(min_macro_f1=0.85), good_facts()).passed


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"package_preprocessing_digest": "b" * 64}, "preprocessing"),
        ({"export_difference": 2e-4}, "export_difference"),
        ({"export_difference": math.nan}, "export_difference"),
    ],
)
def test_a_package_that_differs_from_what_was_trained_fails_the_gate(changes: dict[str, Any], rule: str) -> None:
    assert failed(evaluate_gate(GOOD, GateSettings(), good_facts(**changes))) == [rule]


def test_the_sentence_carries_the_measured_number_and_the_limit() -> None:
    decision = evaluate_gate({"macro_f1": 0.7312}, GateSettings(), good_facts())
    assert decision.summary == "Macro F1 on test is 0.7312, but must be above 0.75."
    assert decision.reasons == [decision.summary]


def test_rule_names_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_what_the_gate_is_not_told_fails_its_rule() -> None:
    decision = evaluate_gate(GOOD, GateSettings(), GateFacts("a", "a", 1e-6))
    assert failed(decision) == ["champion", "calibration", "shortcut", "evidence"]


def test_without_a_champion_nothing_is_compared_and_the_gate_says_so() -> None:
    result = judged(good_facts(), "champion")
    assert (result.passed, result.needed, result.value) == (True, False, None)
    assert result.sentence == "There is no champion yet to compare with."
    assert evaluate_gate(GOOD, GateSettings(), good_facts()).champion == ""


@pytest.mark.parametrize(
    ("low", "high", "passes"), [(-0.2, -0.01, False), (-0.2, 0.001, True), (-0.1, 0.0, True), (0.01, 0.1, True)]
)
def test_a_candidate_fails_when_its_whole_interval_is_below_the_champion(low: float, high: float, passes: bool) -> None:
    decision = evaluate_gate(GOOD, GateSettings(), good_facts(comparison=compared(low, high, left_out=7)))
    assert decision.passed is passes
    assert decision.champion == "c" * 64
    result = decision.rules[3]
    assert (result.low, result.high) == (low, high)
    for part in (f"{low:+.4g} to {high:+.4g}", "cxr 1.0.0 (cccc)", "56 test films of 40 patient groups", "7 that"):
        assert part in result.sentence
    assert ("but the interval must not lie below 0" in result.sentence) is not passes


@pytest.mark.parametrize(
    "comparison",
    [
        Comparison(champion="c" * 64, name="cxr 1.0.0 (cccc)", problem="its classes are A, B"),
        Comparison(champion="c" * 64, name="cxr 1.0.0 (cccc)", difference=0.1, films=3, groups=2),
        Comparison(champion="c" * 64, name="cxr 1.0.0 (cccc)", difference=0.1, low=math.nan, high=0.2),
    ],
)
def test_a_comparison_that_cannot_be_made_fails_until_a_person_waives_it(comparison: Comparison) -> None:
    facts = good_facts(comparison=comparison)
    refused = judged(facts, "champion")
    assert not refused.passed
    assert "could not be compared with cxr 1.0.0 (cccc) because" in refused.sentence
    assert "gates.allow_unmeasured_champion can waive this" in refused.sentence
    waived = judged(facts, "champion", allow_unmeasured_champion=True)
    assert waived.passed
    assert waived.needed
    assert "gates.allow_unmeasured_champion lets it pass" in waived.sentence


def test_the_waiver_waives_no_measured_loss() -> None:
    assert not judged(good_facts(comparison=compared(-0.3, -0.1)), "champion", allow_unmeasured_champion=True).passed


def test_the_champion_itself_keeps_the_decision_that_it_entered_service_with() -> None:
    entered = evaluate_gate(GOOD, GateSettings(), good_facts(comparison=compared(-0.02, 0.06)))
    again = good_facts(comparison=Comparison(champion="d" * 64, name="cxr 1.0.0 (dddd)", standing=entered))
    assert evaluate_gate(GOOD, GateSettings(), again) == entered
    older = GateDecision(passed=True, rules=entered.rules[:3])  # of a time before the rule
    result = judged(good_facts(comparison=Comparison(champion="d" * 64, name="cxr 1", standing=older)), "champion")
    assert result.passed
    assert not result.needed
    assert result.sentence == "The candidate is the champion itself, cxr 1."


def test_calibration_must_be_measured_but_has_no_limit() -> None:
    result = judged(good_facts(), "calibration")
    assert (result.value, result.low, result.high, result.limit) == (0.031, 0.028, 0.06, None)
    assert "0.031 (95 % interval 0.028 to 0.06" in result.sentence
    assert "below 0.034" in result.sentence
    poor = {**CALIBRATION, "expected_calibration_error": {"value": 0.6, "low": 0.5, "high": 0.7}}
    assert judged(good_facts(calibration=poor), "calibration").passed


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"expected_calibration_error": None}, "value"),
        ({"expected_calibration_error": {"value": math.nan, "low": 0.0, "high": 1.0}}, "value"),
        ({"expected_calibration_error": {"value": 0.1, "low": None, "high": None}}, "interval"),
        ({"null": {}}, "null"),
        ({"null": {"high": math.inf}}, "null"),
    ],
)
def test_calibration_without_a_number_an_interval_or_a_null_fails(change: dict[str, Any], missing: str) -> None:
    result = judged(good_facts(calibration={**CALIBRATION, **change}), "calibration")
    assert not result.passed
    assert result.sentence == f"Expected calibration error on test was not measured: its {missing} is missing."


FLAGGED = {
    "passed": False, "sentence": "Without lungs .91 of the pooled AUC is explained.",
    "value": 0.91, "low": 0.8, "high": 0.97, "limit": 0.5,
}  # fmt: skip


def test_a_score_that_is_to_be_had_without_lungs_fails_until_a_person_waives_it() -> None:
    facts = good_facts(verdicts={"shortcut_audit": FLAGGED})
    result = judged(facts, "shortcut")
    assert (result.passed, result.value, result.low, result.high, result.limit) == (False, 0.91, 0.8, 0.97, 0.5)
    assert result.sentence == "Without lungs .91 of the pooled AUC is explained; gates.allow_shortcut can waive this."
    waived = judged(facts, "shortcut", allow_shortcut=True)
    assert waived.passed
    assert waived.sentence.endswith("gates.allow_shortcut lets it pass.")


def test_a_shortcut_verdict_that_is_no_number_still_decides() -> None:
    unknown = {**FLAGGED, "passed": True, "value": None, "low": math.nan, "high": None, "sentence": "One source only."}
    result = judged(good_facts(verdicts={"shortcut_audit": unknown}), "shortcut")
    assert (result.passed, result.value, result.low) == (True, None, None)
    assert result.sentence == "One source only."


def test_evidence_must_be_of_this_very_model() -> None:
    made_from = {"evaluation": "e" * 64, "robustness": "f" * 64, "gradcam_gallery": None}
    result = judged(good_facts(evidence=Evidence("e" * 64, made_from)), "evidence")
    assert not result.passed
    assert (result.value, result.limit) == (1.0, 3.0)
    assert result.sentence == (
        "Evidence of this model is incomplete: gradcam_gallery is not there; robustness was made from another model, "
        "ffffffffffff."
    )
    assert not judged(good_facts(evidence=Evidence("e" * 64, {})), "evidence").passed


def test_an_unpassed_check_upstream_fails_the_gate() -> None:
    unpassed = Evidence("e" * 64, {"evaluation": "e" * 64}, ("splits failed its check class_balance: too far.",))
    result = judged(good_facts(evidence=unpassed), "evidence")
    assert not result.passed
    assert result.sentence == "Evidence of this model is incomplete: splits failed its check class_balance: too far."
