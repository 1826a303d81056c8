"""Settings of what puts a model and its explanations under stress: shifts, mitigation, lung masks, faithfulness."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cxr_core.settings_sections import Section

__all__ = [
    "ExplainSettings",
    "FaithfulnessSettings",
    "LungSettings",
    "MitigationSettings",
    "RobustnessSettings",
    "ShiftSettings",
]


class RobustnessSettings(Section):
    """Report 5.1. The clinical preset is the report's; the severe one, which it does not print, doubles it."""

    clinical_brightness: float = Field(0.2, description="+-20 %; report 5.1")
    clinical_contrast: float = Field(0.2, description="+-20 %; report 5.1")
    clinical_blur_kernel: int = Field(3, description="pixels; report 5.1")
    clinical_noise_sigma: float = Field(0.02, description="share of full range; report 5.1")
    clinical_downscale: float = Field(0.75, description="report 5.1")
    severe_brightness: float = Field(0.4, description="twice the clinical value")
    severe_contrast: float = Field(0.4, description="twice the clinical value")
    severe_blur_kernel: int = Field(5, description="next kernel above the clinical one")
    severe_noise_sigma: float = Field(0.04, description="twice the clinical value")
    severe_downscale: float = Field(1.0, description="none: the report's severe set leaves it out (TRAPS 10)")
    max_accuracy_loss: float = Field(
        0.04, ge=0, le=1, description="under the clinical preset, share; report 5.1: less than 4 % drop"
    )
    seed: int = Field(42, description="report 8.2")


class ExplainSettings(Section):
    """Explanation maps and their gallery (report 6.1)."""

    films_per_class: int = Field(3, ge=1, description="of each class and outcome in the gallery; fits one page")
    alpha: float = Field(
        0.4, gt=0, le=1, description="opacity of the heat map over the film; pytorch-grad-cam's 0.5 less a fifth"
    )
    occlusion_window: float = Field(
        0.25, gt=0, le=1, description="side of the covering square, share of the frame's; Zeiler and Fergus 2014"
    )
    occlusion_stride: float = Field(
        0.125, gt=0, le=1, description="step of the square, share of the frame's side; half a window: 49 squares a film"
    )
    occlusion_fill: Literal["mean", "blur"] = Field(
        "mean", description="what the square shows: the film's mean grey (Zeiler and Fergus 2014) or its blur"
    )


class ShiftSettings(Section):
    """Distances between embeddings of clean and corrupted films, with their nulls (report 5.3; TRAPS 13, 14)."""

    seed: int = Field(42, description="report 8.2")
    max_films: int = Field(
        256,
        ge=12,
        description="drawn by whole groups from more test films; a condition then takes 1.3 seconds of one core, 72 "
        "take a minute and a half, and the time of the Fréchet distance's null grows with the third power",
    )
    permutations: int = Field(
        9999,
        ge=39,
        description="exchanges of versions over patient groups; smallest p 1 / 10,000, which Holm's correction of six "
        "distances under 72 conditions makes .043: fewer than 8,639 could make nothing significant at .05",
    )
    frechet_permutations: int = Field(
        199, ge=39, description="of them after which the Fréchet distance is computed; a gamma fits its tail"
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
    seed: int = Field(42, description="of both trained arms and of the bootstrap; report 8.2")


class LungSettings(Section):
    """The lung segmenter and the phantoms that its quality is stated against."""

    phantom_patients: int = Field(20, ge=5, description="of each class, drawn for the judgement alone")
    seed: int = Field(2006, ge=0, description="of those phantoms; the next number where the data set has this one")
    min_dice: float = Field(
        0.85,
        ge=0,
        le=1,
        description="lowest median Dice on the phantoms; on JSRT films one mean shape for all reaches 0.83, a second "
        "reader 0.97 (overlap 0.713 and 0.946): van Ginneken, Stegmann and Loog, Medical Image Analysis 2006",
    )
    shown_per_class: int = Field(4, ge=1, description="test films in the figure of outlines; fits one page")


class FaithfulnessSettings(Section):
    """Whether the maps show what the model uses (report 6.1; TRAPS 15)."""

    films: int = Field(40, ge=1, description="test films of each class that are explained, drawn at random")
    occlusion_films: int = Field(12, ge=1, description="of those, for occlusion: hundreds of passes a film")
    steps: int = Field(
        20, ge=2, description="of deletion and insertion; 5 % of the pixels each: the maps' grain is 2 % of a film"
    )
    random_maps: int = Field(4, ge=1, description="for each film; the mean over them has half of one's spread")
    blur_share: float = Field(
        0.1, gt=0, description="blur from which insertion starts, share of the side: opacities are gone (RISE: 5 / 224)"
    )
    centre_width: float = Field(
        0.25, gt=0, description="standard deviation of the centre map, share of the side: its middle half at one sigma"
    )
    draws: int = Field(2, ge=1, description="of all weights in the cascade; the head alone is three random directions")
    border_share: float = Field(
        0.07, gt=0, lt=0.5, description="width of the band along the film's edge, as the shortcut audit's ring"
    )
    tolerance: float = Field(15 / 224, ge=0, description="of the pointing game, share of the side; Zhang et al. 2016")
    second_seed: int = Field(43, description="of the second training; that of the first is training.seed")
    second_epochs: int | None = Field(
        None,
        ge=1,
        description="of the second training at most; none: as many as the first, so that only the seed differs",
    )
    seed: int = Field(42, description="report 8.2")
