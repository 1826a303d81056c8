"""Quality rules quarantine or flag exactly beyond their limits."""

from __future__ import annotations

import pytest

from cxr_core.imaging.quality import RULES, broken_rules
from cxr_core.settings_sections import QualitySettings

GOOD = {"mean": 120.0, "std": 50.0, "width": 1000, "height": 900, "tint": 0.5}
LIMITS = QualitySettings()


def test_a_good_film_breaks_no_rule():
    assert broken_rules(GOOD, LIMITS) == []


@pytest.mark.parametrize(
    ("change", "code", "effect"),
    [
        ({"mean": 49.9}, "under_exposed", "flag"),
        ({"mean": 200.1}, "over_exposed", "flag"),
        ({"std": 4.9}, "near_uniform", "quarantine"),
        ({"width": 2001, "height": 1000}, "aspect", "quarantine"),
        ({"width": 499, "height": 1000}, "aspect", "quarantine"),
        ({"tint": 6.1}, "tint", "flag"),
    ],
)
def test_each_rule_fires_beyond_its_limit(change: dict[str, float], code: str, effect: str):
    row = {**GOOD, **change}
    broken = broken_rules(row, LIMITS)
    assert [(rule.code, rule.effect) for rule in broken] == [(code, effect)]
    assert broken_rules(row, LIMITS, effect) == broken
    assert broken[0].reason(row, LIMITS).endswith((".", "it."))


@pytest.mark.parametrize(
    "change", [{"mean": 50.0}, {"mean": 200.0}, {"std": 5.0}, {"width": 2000, "height": 1000}, {"tint": 6.0}]
)
def test_a_value_on_the_limit_is_good(change: dict[str, float]):
    assert broken_rules({**GOOD, **change}, LIMITS) == []


def test_codes_are_unique():
    assert len({rule.code for rule in RULES}) == len(RULES)
