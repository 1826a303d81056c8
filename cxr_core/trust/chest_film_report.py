"""What the film detector is worth: chest films of the test split that it refuses, other pictures that it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import LEVEL, Ranking
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_trust import FilmDetectorSettings
from cxr_core.trust.chest_film import MEASURES, ChestFilmDetector
from cxr_core.trust.chest_film_fit import Films, TooFewFilms, spread, strangeness_of
from cxr_core.trust.chest_film_record import DetectionRate, ShareOfFilms
from cxr_core.trust.failure_shares import exact_interval
from cxr_core.trust.other_pictures import ALTERED, DRAWN, TITLES, altered_films, draw_pictures

__all__ = [
    "REPORT_FILE",
    "Measured",
    "OtherPictures",
    "detector_report",
    "exact_share",
    "keeps_promise",
    "measure_detector",
    "no_detector",
    "verdict",
]

REPORT_FILE = "film_detector.json"

_CHANCE = (1 - LEVEL) / 2  # of so many refused films, were the promise kept, below which it is called broken

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Embed = Callable[[Pixels], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class OtherPictures:
    """Pictures of one kind, as the detector sees them.

    Attributes:
        frames: (n, size, size) uint8.
        strangeness, scores: (n,) float64.
        leading: measure with the largest excess to the share of pictures that it leads in.
    """

    frames: Pixels
    strangeness: Floats
    scores: Floats
    leading: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """The detector with what was measured in its record, and what the figures draw.

    Attributes:
        detector: its record has ``false_rejection`` and ``detection``.
        test: strangeness (n,) of the test films.
        others: pictures by kind.
    """

    detector: ChestFilmDetector
    test: Floats
    others: Mapping[str, OtherPictures]


def measure_detector(
    detector: ChestFilmDetector,
    test: Films,
    embed: Embed,
    preprocessing: Preprocessing,
    seed: int,
    settings: FilmDetectorSettings,
) -> Measured:
    """Measure on the test films, and on pictures made for it.

    Args:
        detector: fitted.
        test: embeddings and frames of the test films.
        embed: (n, size, size) uint8 frames to (n, d) float32 embeddings, by the model of the detector.
        preprocessing: turns a drawn picture into a frame.
        seed: of the pictures.
        settings: pictures of a kind.

    Raises:
        TooFewFilms: no test films.
    """
    if not len(test[1]):
        raise TooFewFilms("There are no test films to measure the film detector on: set split to keep some.")
    strange = strangeness_of(detector, test, np.arange(len(test[1])))
    refused = int((~detector.is_chest(detector.scores_of(strange))).sum())
    chosen = test[1].take(spread(len(test[1]), settings.pictures))
    others: dict[str, OtherPictures] = {}
    for kind in (*DRAWN, *ALTERED):
        if kind in DRAWN:
            frames = np.stack([preprocessing.frame(p) for p in draw_pictures(kind, settings.pictures, seed)])
        else:
            frames = altered_films(kind, chosen)
        others[kind] = _seen(detector, frames, embed(frames))
    record = detector.record.model_copy(
        update={
            "false_rejection": ShareOfFilms(**exact_share(refused, len(strange))),
            "detection": {kind: _detection(detector, other, strange) for kind, other in others.items()},
        }
    )
    return Measured(ChestFilmDetector(record, detector.arrays), strange, others)


def detector_report(measured: Measured, settings: FilmDetectorSettings) -> dict[str, Any]:
    """The report of a measured detector: verdict, promise, what it was fitted to, what each kind of picture shows."""
    record = measured.detector.record
    kinds = [
        {
            "kind": kind,
            "title": TITLES[kind],
            **record.detection[kind].model_dump(),
            "leading": other.leading,
            "least_strange": float(other.strangeness.min()),
            "median_strangeness": float(np.median(other.strangeness)),
        }
        for kind, other in measured.others.items()
    ]
    return {
        "notice": NOTICE,
        "verdict": verdict(measured.detector, settings),
        "threshold": {"score": measured.detector.threshold, "strangeness": measured.detector.limit},
        "kinds": kinds,
        **record.model_dump(mode="json", exclude={"trained_model", "detection", "arrays"}),
    }


def no_detector(reason: str) -> dict[str, Any]:
    """The report where no detector could be fitted."""
    said = unavailable(reason)
    return {
        "notice": NOTICE,
        "verdict": {"passed": False, "sentence": f"There is no film detector: {reason}", "limit": None, **said},
        "kinds": [],
    }


def verdict(detector: ChestFilmDetector, settings: FilmDetectorSettings) -> dict[str, Any]:
    """Whether a measured detector keeps its promise and finds each kind, with the sentence.

    Two-sided at 5 %: the promise counts as broken where so many refused test films would be rare, the threshold coming
    from so few calibration films; a kind as missed where the whole interval of its rate lies below the limit.
    """
    record = detector.record
    if (refusal := record.false_rejection) is None:
        raise CxrError("The film detector has not been measured: materialise film_detector again.")
    kept = keeps_promise(round(refusal.value * refusal.films), refusal.films, record.rate, record.calibration_films)
    missed = [kind for kind, rate in record.detection.items() if rate.high < settings.min_detection]
    worst = min(record.detection, key=lambda kind: record.detection[kind].value)
    said = (
        f"{refusal.value:.1%} of {refusal.films} test films are refused ({refusal.low:.1%} to {refusal.high:.1%}), "
        f"promised are {record.rate:.1%} at most{'' if kept else ', too many for chance'}; "
    )
    if missed:
        said += "too few are found of " + ", ".join(
            f"{TITLES[kind]} ({record.detection[kind].value:.0%})" for kind in missed
        )
    else:
        said += (
            f"of every kind of other picture enough are found, fewest of {TITLES[worst]} "
            f"({record.detection[worst].value:.0%})"
        )
    return {
        "passed": kept and not missed,
        "sentence": said + ".",
        "value": refusal.value,
        "low": refusal.low,
        "high": refusal.high,
        "limit": record.rate,
    }


def keeps_promise(refused: int, films: int, rate: float, calibration_films: int) -> bool:
    """Whether so many refused films are no rarer than one time in forty if the films are like the calibration films.

    Their number is then beta-binomial: the threshold is itself an order statistic of a sample (Bates et al., Annals of
    Statistics 2023, section 2.2), so that with few calibration films the refused share varies more than binomially.

    Args:
        refused, films: of other chest films.
        rate: promised; ``rate * (calibration_films + 1)`` is a whole number.
        calibration_films: that the threshold comes from.
    """
    from scipy.stats import betabinom

    rank = round(rate * (calibration_films + 1))
    return bool(betabinom.sf(refused - 1, films, rank, calibration_films + 1 - rank) >= _CHANCE)


def exact_share(part: int, whole: int) -> dict[str, Any]:
    """A share with its exact 95 % interval (Clopper and Pearson, Biometrika 1934): value, low, high, films."""
    low, high = exact_interval(part, whole)
    return {"value": part / whole, "low": low, "high": high, "films": whole}


def _seen(detector: ChestFilmDetector, frames: Pixels, embeddings: npt.NDArray[np.float32]) -> OtherPictures:
    strange = detector.strangeness(embeddings, frames)
    leader = detector.arrays.excesses(detector.arrays.measures(embeddings, frames)).argmax(axis=1)
    leading = {name: float((leader == place).mean()) for place, name in enumerate(MEASURES)}
    return OtherPictures(frames, strange, detector.scores_of(strange), leading)


def _detection(detector: ChestFilmDetector, other: OtherPictures, films: Floats) -> DetectionRate:
    found = int((~detector.is_chest(other.scores)).sum())
    positive = np.r_[np.zeros(len(films), bool), np.ones(len(other.scores), bool)]
    weights = np.ones((1, len(positive)))
    auc = float(Ranking(positive, np.r_[films, other.strangeness]).auc(weights)[0])
    return DetectionRate(**exact_share(found, len(other.scores)), auc=auc)
