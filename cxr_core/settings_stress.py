"""Settings of what puts a model and its explanations under stress: shifts, mitigation, lung masks, faithfulness."""

from __future__ import annotations

from pydantic import Field

from cxr_core.settings_sections import Section

__all__ = ["FaithfulnessSettings", "LungSettings", "MitigationSettings", "ShiftSettings"]


class ShiftSettings(Section):
    """Distances between embeddings of clean and corrupted films, with their nulls (report 5.3; TRAPS 13, 14)."""

    permutations: int = Field(200, ge=39, description="of clean and corrupted over patient groups; smallest p 1 / 201")


class MitigationSettings(Section):
    """What test-time augmentation, CLAHE, corruption in training and abstention buy (report 5.5)."""

    seed: int = Field(42, description="report 8.2")


class LungSettings(Section):
    """The lung segmenter and the phantoms that its quality is stated against."""

    phantom_patients: int = Field(20, ge=5, description="of each class, drawn for the judgement alone")


class FaithfulnessSettings(Section):
    """Whether the maps show what the model uses (report 6.1; TRAPS 15)."""

    seed: int = Field(42, description="report 8.2")
