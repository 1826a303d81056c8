"""The conditions under which the measures are tried, and which of them hold a corruption that training never drew."""

from __future__ import annotations

from dataclasses import dataclass

from cxr_core.errors import CxrError
from cxr_core.robustness.corruptions import CLEAN, CORRUPTIONS, Preset, condition, presets
from cxr_core.settings_stress import MitigationSettings, RobustnessSettings

__all__ = ["Trial", "drawn_kinds", "trials_of"]


@dataclass(frozen=True)
class Trial:
    """One condition.

    Attributes:
        preset: what is done to the films.
        held_out: whether it holds a corruption that training with corruptions never draws.
    """

    preset: Preset
    held_out: bool

    @property
    def name(self) -> str:
        """Of the condition."""
        return self.preset.name


def trials_of(settings: MitigationSettings, robustness: RobustnessSettings) -> tuple[Trial, ...]:
    """Clean, then the conditions of the settings in their order.

    Raises:
        CxrError: a condition or a corruption that there is not.
    """
    held_out = set(CORRUPTIONS) - set(drawn_kinds(settings))
    named = presets(robustness)
    found = [CLEAN]
    for name in dict.fromkeys(settings.conditions):
        kind, _, severity = name.rpartition("-")
        if name in named:
            found.append(named[name])
        elif kind and severity.isdecimal():
            found.append(condition(kind, int(severity)))
        else:
            raise CxrError(
                f"Setting mitigation.conditions names {name!r}: use {', '.join(named)}, or a corruption and its "
                "severity such as gamma-3."
            )
    unique = {preset.name: preset for preset in found}
    return tuple(Trial(p, any(step.corruption in held_out for step in p.steps)) for p in unique.values())


def drawn_kinds(settings: MitigationSettings) -> tuple[str, ...]:
    """Corruptions that training with corruptions draws: the registry without those that are held out.

    Raises:
        CxrError: an unknown corruption is held out, or all of them are.
    """
    if unknown := sorted(set(settings.held_out) - set(CORRUPTIONS)):
        raise CxrError(f"Setting mitigation.held_out names {unknown[0]!r}: use one of {', '.join(CORRUPTIONS)}.")
    kinds = tuple(name for name in sorted(CORRUPTIONS) if name not in settings.held_out)
    if not kinds:
        raise CxrError("Setting mitigation.held_out leaves no corruption to train with: hold out fewer.")
    return kinds
