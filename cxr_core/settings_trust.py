"""Sections of the settings for evaluation and trust: every constant with its source, in its description."""

from __future__ import annotations

from pydantic import Field

from cxr_core.settings_sections import Section

__all__ = [
    "CalibrationSettings",
    "EvaluationSettings",
    "FilmDetectorSettings",
    "LabelAuditSettings",
    "ShortcutSettings",
    "SubgroupSettings",
    "UncertaintySettings",
]


class EvaluationSettings(Section):
    """Intervals of every score."""

    resamples: int = Field(2000, ge=100, description="bootstrap resamples; Efron and Tibshirani 1993, section 14.3")


class CalibrationSettings(Section):
    """Calibration and operating points (report 4.3, 4.4)."""

    tb_sensitivities: tuple[float, ...] = Field(
        (0.90, 0.95), description="sensitivities of the TB operating points; WHO target product profile: at least .90"
    )


class UncertaintySettings(Section):
    """Prediction sets, Monte Carlo dropout, selective prediction."""

    level: float = Field(0.90, gt=0.5, lt=1, description="coverage that prediction sets promise")


class ShortcutSettings(Section):
    """What can be known without looking at lungs (TRAPS 1, 4)."""


class LabelAuditSettings(Section):
    """Search for wrong labels (TRAPS 2)."""


class SubgroupSettings(Section):
    """Gaps between groups of films (report 6.3)."""


class FilmDetectorSettings(Section):
    """Whether a picture is a chest film at all."""
