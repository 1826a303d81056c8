"""Settings of what puts a model and its explanations under stress: shifts, mitigation, lung masks, faithfulness."""

from __future__ import annotations

from pydantic import Field

from cxr_core.settings_sections import Section

__all__ = ["FaithfulnessSettings", "LungSettings", "MitigationSettings", "ShiftSettings"]


class ShiftSettings(Section):
    """Distances between embeddings of clean and corrupted films, with their nulls (report 5.3; TRAPS 13, 14)."""

    seed: int = Field(42, description="report 8.2")
    max_films: int = Field(
        256,
        ge=12,
        description="drawn by whole groups from more test films; 72 conditions take about 4 minutes on one core, and "
        "the time of the Fréchet distance's null grows with the third power",
    )
    permutations: int = Field(
        9999,
        ge=39,
        description="exchanges of versions over patient groups; smallest p 1 / 10,000, which Holm's correction of six "
        "distances under 72 conditions makes .043: no fewer could be significant at .05",
    )
    frechet_permutations: int = Field(
        299, ge=39, description="of them after which the Fréchet distance is computed; a gamma fits its tail"
    )
    halves: int = Field(200, ge=40, description="splits of the clean films; 2.5 % on each side are 5 of them")
    matched_halves: int = Field(20, ge=5, description="of them in which each condition takes the second half's place")
    folds: int = Field(5, ge=2, description="of the two-sample classifier; as cross-validation in general")
    level: float = Field(0.05, gt=0, lt=1, description="of all tests after correction; Fisher 1925")


class MitigationSettings(Section):
    """What test-time augmentation, CLAHE, corruption in training and abstention buy (report 5.5)."""

    conditions: tuple[str, ...] = Field(
        (
            "clinical",
            "severe",
            "contrast-3",
            "gamma-3",
            "gaussian_noise-3",
            "motion_blur-3",
            "poisson_noise-3",
            "jpeg-3",
        ),
        description="beside clean: the report's two presets (5.1) and the middle severity of kinds that differ",
    )
    flip: bool = Field(True, description="test-time augmentation averages the mirrored film too; as in training, 2.4")
    rotation_degrees: float = Field(
        5.0, ge=0, le=45, description="of its two turned copies, one each way; half the training's, report 2.4"
    )
    shift: float = Field(
        0.03,
        ge=0,
        lt=0.5,
        description="of the same two copies, share of the side; a third of the training's, report 2.4",
    )
    corruption_share: float = Field(
        0.5, ge=0, le=1, description="of an epoch's films that are corrupted: as many as are left as they are"
    )
    held_out: tuple[str, ...] = Field(
        ("jpeg", "motion_blur", "poisson_noise"),
        description="corruptions that training never draws, so that transfer to unseen ones is measured apart",
    )
    epochs: int = Field(5, ge=1, description="that both trained arms go on from the trained model's weights")
    rate_factor: float = Field(
        0.3,
        gt=0,
        le=1,
        description="times the learning rate of the training: weights that are learnt already move less",
    )
    frozen_stages: int = Field(0, ge=0, description="first stages that both trained arms keep as they are; 0: none")
    seed: int = Field(42, description="report 8.2")


class LungSettings(Section):
    """The lung segmenter and the phantoms that its quality is stated against."""

    phantom_patients: int = Field(20, ge=5, description="of each class, drawn for the judgement alone")


class FaithfulnessSettings(Section):
    """Whether the maps show what the model uses (report 6.1; TRAPS 15)."""

    seed: int = Field(42, description="report 8.2")
