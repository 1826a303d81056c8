"""What the promotion gate says: one result a rule, and the verdict. Light, since every package carries one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["GateDecision", "RuleResult"]


class RuleResult(BaseModel):
    """What one rule found.

    Attributes:
        name: stable machine name of the rule.
        value: what was measured; null where it is missing, not a number, or not needed.
        limit: what it was compared with; null where the rule compares with no single number.
        passed: whether the rule holds.
        sentence: the finding for a person.
        low, high: 95 % interval of the value, where it has one.
        needed: false where the rule had nothing to judge, for a reason that the sentence gives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    limit: float | None
    passed: bool
    sentence: str
    low: float | None = None
    high: float | None = None
    needed: bool = True


class GateDecision(BaseModel):
    """The verdict: passed when every rule is.

    Attributes:
        passed: whether the model may be served.
        rules: what each rule found.
        champion: digest of the champion's package that the model was judged against; empty where there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    rules: tuple[RuleResult, ...]
    champion: str = ""

    @property
    def reasons(self) -> list[str]:
        """The sentences of the rules that failed."""
        return [rule.sentence for rule in self.rules if not rule.passed]

    @property
    def summary(self) -> str:
        """The sentences of the rules that failed, or of all when none did."""
        return " ".join(self.reasons or [rule.sentence for rule in self.rules])
