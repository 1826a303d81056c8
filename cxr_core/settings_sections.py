"""Sections of the settings: every constant with its source, in its description."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = [
    "AugmentationSettings",
    "CrossValidationSettings",
    "DuplicateSettings",
    "GateSettings",
    "LossSettings",
    "ModelSettings",
    "PreprocessingSettings",
    "QualitySettings",
    "ReleaseSettings",
    "Section",
    "SplitSettings",
    "TrainingSettings",
    "TuningSettings",
]


class Section(BaseModel):
    """Base of the sections: immutable, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PreprocessingSettings(Section):
    """The one preprocessing (report 2.4)."""

    size: int = Field(224, ge=32, le=1024, description="side of the square frame, pixels; report 2.4")
    clahe: bool = Field(False, description="contrast-limited equalisation of each film; report 2.4 calls it optional")
    clahe_clip_limit: float = Field(2.0, gt=0, description="CLAHE clip limit; report 2.4")
    clahe_tiles: int = Field(8, ge=1, description="CLAHE tiles a side; report 2.4")


class QualitySettings(Section):
    """Which images are quarantined or flagged (report 2.3, 2.5; TRAPS 4)."""

    min_side: int = Field(128, ge=1, description="shortest side accepted, pixels; report 2.5")
    max_side: int = Field(16384, ge=1, description="longest side decoded, pixels; three times the report's 4,992 (2.3)")
    max_pixels: int = Field(89_478_485, ge=1, description="pixels decoded at most; Pillow's own bomb limit")
    under_exposed_mean: float = Field(50.0, description="mean grey below it is flagged, 0-255; report 2.3")
    over_exposed_mean: float = Field(200.0, description="mean grey above it is flagged, 0-255; report 2.3")
    near_uniform_std: float = Field(
        5.0,
        description="grey standard deviation below it is quarantined; two orders of "
        "noise (report 5.1, sigma .02 = 5 levels): nothing but noise is left",
    )
    min_aspect: float = Field(
        0.5, description="width / height below it is quarantined; of 1,487 public frontal films 1,483 lie in .5-2"
    )
    max_aspect: float = Field(2.0, description="width / height above it is quarantined; as min_aspect")
    tint_levels: float = Field(
        6.0, description="mean channel spread above it is flagged, 0-255; grey JPEG stays below 3"
    )


class DuplicateSettings(Section):
    """Near-duplicate search (TRAPS 3)."""

    correlation: float = Field(0.98, gt=0, le=1, description="64x64 high-pass correlation of true copies; TRAPS 3")
    candidate_correlation: float = Field(
        0.90, gt=0, le=1, description="16x16 correlation that earns the full test; below every true copy measured"
    )
    block: int = Field(2048, ge=16, description="rows compared at once: 2048 x 2048 float32 = 16 MiB")


class SplitSettings(Section):
    """Train / validation / test (report 2.1), and a part to calibrate on."""

    val_fraction: float = Field(0.1, gt=0, lt=1, description="report 2.1")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="report 2.1")
    calibration_fraction: float = Field(
        0.1, ge=0, lt=1, description="taken from the report's training part, as many as validation; 0: none (TRAPS 11)"
    )
    seed: int = Field(42, description="report 8.2")


class AugmentationSettings(Section):
    """Clinically plausible augmentation on the cached frame (report 2.4)."""

    flip_probability: float = Field(0.5, ge=0, le=1, description="horizontal flip; report 2.4")
    rotation_degrees: float = Field(10.0, ge=0, description="uniform in +- this; report 2.4")
    translation: float = Field(0.1, ge=0, description="share of the side, uniform in +- this; report 2.4")
    brightness: float = Field(0.1, ge=0, description="share of full range, uniform in +- this; report 2.4")
    contrast: float = Field(0.1, ge=0, description="relative, uniform in +- this; report 2.4")
    noise_sigma: float = Field(0.01, ge=0, description="Gaussian, share of full range; report 2.4")
    blur_kernel: int = Field(3, ge=3, description="Gaussian blur kernel side, pixels; report 2.4")
    optional_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        description="of brightness/contrast, noise, blur each; the report gives none: albumentations' default",
    )
    # Left out of every dump while they change nothing, so that what was trained without them keeps its digests.
    corruption_share: float = Field(
        0.0,
        ge=0,
        le=1,
        exclude_if=lambda share: not share,
        description="of an epoch's images that get a random corruption of the registry first; 0: none, as the report; "
        "what it buys and costs is measured by mitigation",
    )
    corruption_kinds: tuple[str, ...] = Field(
        (),
        exclude_if=lambda kinds: not kinds,
        description="corruptions that are drawn; none named: all of the registry",
    )


class ModelSettings(Section):
    """Network (report 3.1)."""

    backbone: str = Field("densenet121", description="timm name; report 3.1")
    weights: str = Field("auto", description="auto, none, timm, or the path of a state-dict file")
    weights_licence: str = Field("unknown", description="of the weights in a file, recorded with the model")
    dropout: float = Field(0.5, ge=0, lt=1, description="before the linear head; report 3.1")


class LossSettings(Section):
    """Loss (report 3.2); focal is the report's, cross entropy the alternative that it names."""

    name: Literal["focal", "cross_entropy"] = Field("focal", description="report 3.2")
    alpha: float | tuple[float, ...] = Field(
        0.25,
        description="focal weight: one for all (report 3.2; it balances no class: TRAPS 6), or one a class",
    )
    gamma: float = Field(2.0, ge=0, description="focusing parameter; report 3.2")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="of cross entropy; balanced: n / (classes x n of the class), as in scikit-learn"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target spread over all classes; Szegedy et al. 2016, section 7"
    )

    @field_validator("alpha")
    @classmethod
    def _positive(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        if min(value if isinstance(value, tuple) else (value,), default=0.0) <= 0:
            raise ValueError("every weight must be above 0")
        return value


class TrainingSettings(Section):
    """Training procedure (report 3.2)."""

    max_epochs: int = Field(100, ge=1, description="report 3.2 (T_max)")
    batch_size: int = Field(32, ge=1, description="middle of the report's search space, 3.3")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="report 3.2; adamw: Loshchilov & Hutter 2019")
    learning_rate: float = Field(1e-4, gt=0, description="report 3.2")
    weight_decay: float = Field(1e-4, ge=0, description="L2; report 3.2")
    beta1: float = Field(0.9, description="report 3.2")
    beta2: float = Field(0.999, description="report 3.2")
    eta_min: float = Field(1e-7, ge=0, description="floor of the cosine; report 3.2")
    warmup_epochs: float = Field(
        0.0, ge=0, description="linear rise of the rate before the cosine; the report has none"
    )
    freeze_epochs: int = Field(5, ge=0, description="backbone frozen, statistics too; report 3.2")
    frozen_stages: int = Field(
        0, ge=0, description="first stages that keep their pretrained weights: 1 the stem, each more a stage; 0: none"
    )
    clip_norm: float = Field(1.0, gt=0, description="gradient norm; report 3.2")
    patience: int = Field(15, ge=1, description="unfrozen epochs without a better validation loss; report 3.2")
    keep: Literal["best", "last"] = Field(
        "best",
        description="epoch whose weights are kept: of the lowest validation loss (report 3.2), or the last one, where "
        "a small validation part would choose by chance",
    )
    sampling: Literal["shuffle", "balanced", "source_balanced"] = Field(
        "shuffle",
        description="how an epoch draws its images: each once (report 3.2), classes equally often, or classes "
        "equally often inside each source that has several, so that the source says nothing of the class (TRAPS 1)",
    )
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="of averaged weights, per step; 0: none (the report has none)"
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="auto: fp16 with loss scaling on CUDA (report 3.2), fp32 on a CPU"
    )
    compile: bool = Field(False, description="torch.compile; it needs a C++ compiler on a CPU")
    processes: int = Field(1, ge=1, description="training processes (torchrun): one per GPU")
    checkpoint_minutes: float = Field(
        5.0, gt=0, description="between checkpoints inside an epoch; each epoch ends with one; what a kill may cost"
    )
    seed: int = Field(42, description="report 8.2")


class TuningSettings(Section):
    """Hyperparameter search (report 3.3). Selection is by validation log loss: TRAPS 5."""

    trials: int = Field(15, ge=1, description="report 3.3")
    startup_trials: int = Field(
        5, ge=1, description="random before TPE guides; a third of the trials, Optuna's own 10 would leave it five"
    )
    pruner: Literal["none", "median"] = Field(
        "median", description="ends trials worse at an epoch than the median of the earlier ones; the report has none"
    )
    prune_after_epochs: int = Field(
        1, ge=0, description="unfrozen epochs that every trial may finish before it can be pruned"
    )
    learning_rate: tuple[float, float] = Field((1e-5, 1e-3), description="log scale; report 3.3")
    weight_decay: tuple[float, float] = Field((1e-5, 1e-3), description="log scale; report 3.3")
    dropout: tuple[float, float] = Field((0.3, 0.7), description="report 3.3")
    batch_size: tuple[int, ...] = Field((16, 32, 64), description="report 3.3")
    freeze_epochs: tuple[int, int] = Field((0, 10), description="report 3.3; cut to the epochs of a trial")
    focal_gamma: tuple[float, float] = Field((1.5, 2.5), description="report 3.3")
    epochs: int = Field(20, ge=1, description="of one trial; the report gives none: twice its longest freeze")
    image_side: int = Field(
        224, ge=32, description="side that cached frames are reduced to for trials, pixels; report 2.4"
    )
    max_images: int = Field(1_000_000, ge=3, description="training images of a trial at most, class shares kept")
    seed: int = Field(42, description="report 8.2")


class CrossValidationSettings(Section):
    """Out-of-fold evidence: every film scored by a model that never saw its patient."""

    folds: int = Field(5, ge=2, description="as in the measurements of the shortcut (TRAPS 1)")
    samplings: tuple[Literal["shuffle", "balanced", "source_balanced"], ...] = Field(
        ("shuffle", "source_balanced"), min_length=1, description="ways of sampling that are compared side by side"
    )
    val_fraction: float = Field(
        0.1, gt=0, lt=1, description="of a fold's training films, for early stopping; report 2.1"
    )
    source_groups: dict[str, tuple[str, ...]] = Field(
        {}, description="sources that are also scored together, name to sources; as JSON in the environment"
    )
    seed: int = Field(42, description="report 8.2")


class GateSettings(Section):
    """Asset checks that stop the pipeline (report 6.4) or warn (report 2.3)."""

    min_macro_f1: float = Field(0.75, ge=0, le=1, description="release gate; report 6.4")
    allow_unmeasured_champion: bool = Field(
        False, description="promote a model that cannot be compared with the one in service; a person's decision"
    )
    allow_shortcut: bool = Field(
        False, description="promote a model whose score is to be had without lungs (TRAPS 1); a person's decision"
    )
    max_quarantine_share: float = Field(
        0.15, ge=0, le=1, description="of all files; a folder with more is not a data set"
    )
    min_images_per_class: int = Field(
        20, ge=1, description="accepted images; 2 each in validation, calibration and test"
    )
    max_class_share_shift: float = Field(
        0.05, ge=0, le=1, description="largest difference of a class's share between splits; report 2.1 (stratified)"
    )
    max_exposure_share: float = Field(
        0.10, ge=0, le=1, description="under- or over-exposed, warning; twice the report's 5 %"
    )


class ReleaseSettings(Section):
    """The packaged model (report 7.5)."""

    name: str = Field("cxr", description="name of model and bento")
    version: str = Field("1.0.0", pattern=r"^\d+\.\d+\.\d+$", description="MAJOR.MINOR.PATCH; report 7.5")
