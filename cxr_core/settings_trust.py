"""Sections of the settings for evaluation and trust: every constant with its source, in its description."""

from __future__ import annotations

from pydantic import Field, field_validator

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
    tb_specificity: float = Field(
        0.70, gt=0, lt=1, description="least specificity of the TB point; WHO target product profile of a triage test"
    )
    min_films: int = Field(
        30, ge=3, description="fewer fit no temperature; ten errors a parameter (Peduzzi et al. 1996) at one in three"
    )
    min_positives: int = Field(
        10, ge=1, description="films of a class, and of the others, for a threshold; of fewer 90 % is the same as all"
    )
    bins: int = Field(15, ge=2, description="of a reliability diagram, equal mass; Guo et al. 2017, section 2")

    @field_validator("tb_sensitivities")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 for share in value) or len(set(value)) < len(value):
            raise ValueError("name different shares between 0 and 1")
        return value


class UncertaintySettings(Section):
    """Prediction sets, Monte Carlo dropout, selective prediction."""

    level: float = Field(0.90, gt=0.5, lt=1, description="coverage that prediction sets promise")
    passes: int = Field(
        200, ge=2, description="of Monte Carlo dropout: the mean of a probability has a standard error of .035 at most"
    )
    referral_shares: tuple[float, ...] = Field(
        (0.05, 0.10, 0.20, 0.30), description="of the films, the least certain, that a policy sends to a human"
    )
    low_confidence: float = Field(
        0.7, gt=0, lt=1, description="the report's flag for review, compared with those policies; report 6.4"
    )


class ShortcutSettings(Section):
    """What can be known without looking at lungs (TRAPS 1, 4)."""

    folds: int = Field(5, ge=2, description="as in the measurements of the shortcut (TRAPS 1)")
    permutations: int = Field(200, ge=39, description="of labels over groups; a p-value of 1 / 201 passes Holm among 8")
    table_permutations: int = Field(2000, ge=99, description="of labels over groups, for tables of counts")
    alpha: float = Field(0.05, gt=0, lt=1, description="chance of a false alarm among the lung-free views, by Holm")
    max_lung_free_auc: float = Field(
        0.60,
        ge=0.5,
        le=1,
        description="macro AUC that no classifier without lungs may surely exceed; on 900 phantom films without a "
        "shortcut the best such classifier has .53, on 90 with nine tenths of one .73 or more in each of 10 seeds",
    )
    max_explained_share: float = Field(
        0.50, gt=0, description="of the model's macro AUC above .5 that may surely be had without lungs: half of it"
    )
    min_source_films: int = Field(10, ge=2, description="of a source, below which it is not predicted: 2 a fold of 5")
    blanked_pretrained: bool = Field(
        True, description="pass blanked films through the pretrained backbone too: the cost of one pass over all films"
    )
    max_films: int = Field(
        20_000, ge=100, description="that are audited, patient groups whole: intervals are below .01 wide there"
    )


class LabelAuditSettings(Section):
    """Search for wrong labels, at random and by system (TRAPS 2)."""

    folds: int = Field(5, ge=2, description="in which each film is judged by a head that never saw its patient")
    head_strength: float = Field(
        30.0, gt=0, description="C of the head on films of mean length 1; 10 and 100 separate 540 phantoms alike"
    )
    min_films: int = Field(
        20, ge=5, description="of a class, and of a class in a source; below it a quarter wrong is five films or fewer"
    )
    passes: int = Field(
        2, ge=1, le=5, description="of confident learning, each trained without the suspects of the one before"
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="chance that any (source, class) is called a mixture by accident, by Bonferroni"
    )
    min_system_share: float = Field(
        0.10,
        gt=0,
        lt=1,
        description="of a mixture; fewer wrong labels do not pull the head along: confident learning ranks them",
    )
    resamples: int = Field(500, ge=100, description="of the intervals; each fits every mixture again")
    max_noise_share: float = Field(
        0.10,
        gt=0,
        lt=1,
        description="of a class or a source's class that may surely be wrong; ten public sets have 3.3 % on average "
        "(Northcutt, Athalye, Mueller 2021), and films that the head itself confuses count too, 6 % of clean phantoms",
    )
    shown: int = Field(24, ge=1, description="first films of the relabel queue in the contact sheet; four rows of six")
    max_films: int = Field(20_000, ge=100, description="that are audited, patient groups whole; 30 KB a film in memory")


class SubgroupSettings(Section):
    """Gaps between groups of films, crop sensitivity, failures (report 6.2, 6.3)."""

    min_films: int = Field(20, ge=2, description="of a stratum and of its rest: one film is 5 points of accuracy there")
    min_groups: int = Field(10, ge=2, description="patient groups of a stratum and of its rest, which are resampled")
    min_class_films: int = Field(
        5, ge=1, description="of a class on each side, below which the class is left out of the class-standardised gap"
    )
    max_gap: float = Field(
        0.02, ge=0, le=1, description="accuracy lost in a stratum; report 6.3 calls +-2 % by resolution minimal bias"
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="chance of a false alarm in the whole family of tests, by Holm")
    permutations: int = Field(
        5000, ge=99, description="of outcomes over groups; a p-value of 2 / 5,001 passes Holm among 100 tests"
    )
    class_mix_distance: float = Field(
        0.10, ge=0, le=1, description="share of films that would have to change class before a gap is called confounded"
    )
    shifts: tuple[float, ...] = Field(
        (0.05, 0.10), description="of the frame's side, along both axes: 2 and 4 cm of a film of 43 cm (report 6.3)"
    )
    crops: tuple[float, ...] = Field((0.90,), description="share of each side that a crop keeps; report 6.3")
    worst_films: int = Field(24, ge=1, description="most confidently wrong films that are shown; four rows of six")


class FilmDetectorSettings(Section):
    """Whether a picture is a chest film at all."""

    false_rejection: float = Field(
        0.01, gt=0, le=0.2, description="share of chest films that may be called none; one film in a hundred to look at"
    )
    components: int = Field(
        32, ge=1, description="principal components of the embeddings' directions; 64 and 100 detected no more"
    )
    fitting_films: int = Field(
        4000, ge=20, description="films of a split that are used, so that the record stays small"
    )
    pictures: int = Field(
        40, ge=1, description="of each kind that detection is tested on; if all are found, at least 91 % would be"
    )
    min_detection: float = Field(
        0.80, ge=0, le=1, description="share of each kind that must be found; the interval of a kind may reach it"
    )
