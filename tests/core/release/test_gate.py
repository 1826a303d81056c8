import math

import pytest

from cxr_core.release.gate import RULES, GateFacts, evaluate_gate
from cxr_core.settings_sections import GateSettings

GOOD = GateFacts("a" * 64, "a" * 64, 1e-6)


@pytest.mark.parametrize(
    ("macro_f1", "passes"), [(0.9, True), (0.7501, True), (0.75, False), (0.2, False), (math.nan, False), (None, False)]
)
def test_macro_f1_must_be_above_the_reports_limit(macro_f1: float | None, passes: bool) -> None:
    decision = evaluate_gate({"macro_f1": macro_f1}, GateSettings(), GOOD)
    assert decision.passed is passes
    assert decision.rules[0].name == "macro_f1"
    assert decision.rules[0].limit == 0.75


def test_a_metric_that_was_never_measured_fails_the_gate() -> None:
    decision = evaluate_gate({}, GateSettings(), GOOD)
    assert not decision.passed
    assert decision.summary == "Macro F1 on test was not measured; it must be above 0.75."


def test_the_limit_is_a_setting() -> None:
    assert not evaluate_gate({"macro_f1": 0.8}, GateSettings(min_macro_f1=0.85), GOOD).passed


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (GateFacts("a" * 64, "b" * 64, 1e-6), "preprocessing"),
        (GateFacts("a" * 64, "a" * 64, 2e-4), "export_difference"),
        (GateFacts("a" * 64, "a" * 64, math.nan), "export_difference"),
    ],
)
def test_a_package_that_differs_from_what_was_trained_fails_the_gate(facts: GateFacts, rule: str) -> None:
    decision = evaluate_gate({"macro_f1": 0.9}, GateSettings(), facts)
    assert [result.name for result in decision.rules if not result.passed] == [rule]


def test_the_sentence_carries_the_measured_number_and_the_limit() -> None:
    decision = evaluate_gate({"macro_f1": 0.7312}, GateSettings(), GOOD)
    assert decision.summary == "Macro F1 on test is 0.7312, but must be above 0.75."


def test_rule_names_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
