"""Quality rules: which decoded images are quarantined and which are only flagged (report 2.3, 2.5; TRAPS 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cxr_core.settings_sections import QualitySettings

__all__ = ["RULES", "Rule", "broken_rules"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """One rule over the recorded statistics of an image.

    Attributes:
        code: stable machine name.
        effect: ``quarantine`` keeps the image out of the data set, ``flag`` marks it.
        broken: whether a row breaks the rule.
        reason: one sentence for a person.
    """

    code: str
    effect: Literal["quarantine", "flag"]
    broken: Callable[[Row, QualitySettings], bool]
    reason: Callable[[Row, QualitySettings], str]


RULES: tuple[Rule, ...] = (
    Rule(
        "near_uniform",
        "quarantine",
        lambda row, s: row["std"] < s.near_uniform_std,
        lambda row, s: f"Grey varies by {row['std']:.1f} levels only: there is no film in it.",
    ),
    Rule(
        "aspect",
        "quarantine",
        lambda row, s: not s.min_aspect <= row["width"] / row["height"] <= s.max_aspect,
        lambda row, s: f"{row['width']} x {row['height']} pixels is not the shape of a chest film: crop or replace it.",
    ),
    Rule(
        "under_exposed",
        "flag",
        lambda row, s: row["mean"] < s.under_exposed_mean,
        lambda row, s: f"Mean grey {row['mean']:.0f} is below {s.under_exposed_mean:.0f}.",
    ),
    Rule(
        "over_exposed",
        "flag",
        lambda row, s: row["mean"] > s.over_exposed_mean,
        lambda row, s: f"Mean grey {row['mean']:.0f} is above {s.over_exposed_mean:.0f}.",
    ),
    Rule(
        "tint",
        "flag",
        lambda row, s: row["tint"] > s.tint_levels,
        lambda row, s: f"Colour channels differ by {row['tint']:.0f} levels on average.",
    ),
)


def broken_rules(row: Row, settings: QualitySettings, effect: str | None = None) -> list[Rule]:
    """Rules that a row of statistics (``mean``, ``std``, ``width``, ``height``, ``tint``) breaks, in rule order."""
    return [rule for rule in RULES if (effect is None or rule.effect == effect) and rule.broken(row, settings)]
