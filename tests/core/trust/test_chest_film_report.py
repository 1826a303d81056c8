"""The report of the film detector says what was measured; intervals and areas against scipy and scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from chest_films import PREPROCESSING, embed, films
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.errors import CxrError
from cxr_core.plotting import png_bytes
from cxr_core.settings_trust import FilmDetectorSettings
from cxr_core.trust.chest_film import MEASURES, ChestFilmDetector
from cxr_core.trust.chest_film_figures import pictures_figure, strangeness_figure
from cxr_core.trust.chest_film_fit import TooFewFilms, fit_chest_film_detector
from cxr_core.trust.chest_film_record import ChestFilmRecord, DetectionRate
from cxr_core.trust.chest_film_report import (
    Measured,
    detector_report,
    exact_share,
    measure_detector,
    no_detector,
    verdict,
)
from cxr_core.trust.other_pictures import ALTERED, DRAWN, altered_films

SETTINGS = FilmDetectorSettings(false_rejection=0.05, pictures=7)


@pytest.fixture(scope="module")
def measured() -> Measured:
    fitted = fit_chest_film_detector(films("train"), films("val"), films("calibration"), "m", SETTINGS)
    return measure_detector(fitted, films("test"), embed, PREPROCESSING, 4, SETTINGS)


def test_rates_and_areas_are_those_of_the_scores(measured: Measured) -> None:
    record = measured.detector.record
    assert set(record.detection) == {*DRAWN, *ALTERED}
    embeddings, frames = films("test")
    strange = measured.detector.strangeness(embeddings, frames.take(np.arange(len(frames))))
    np.testing.assert_allclose(measured.test, strange)
    assert record.false_rejection is not None
    assert record.false_rejection.value == (strange > measured.detector.limit).mean()
    for kind, other in measured.others.items():
        said, again = record.detection[kind], measured.detector.strangeness(embed(other.frames), other.frames)
        np.testing.assert_allclose(other.strangeness, again)
        assert (said.films, said.value) == (7, (again > measured.detector.limit).mean())
        expected = roc_auc_score(np.r_[np.zeros(len(strange)), np.ones(7)], np.r_[strange, again])
        assert said.auc == pytest.approx(expected, abs=1e-9)
        assert sum(other.leading.values()) == pytest.approx(1)
    first = films("test")[1].take(np.array([0]))
    np.testing.assert_array_equal(measured.others["rotated_180"].frames[0], altered_films("rotated_180", first)[0])


@pytest.mark.parametrize(("part", "whole"), [(0, 40), (1, 56), (20, 41), (40, 40)])
def test_intervals_are_exact(part: int, whole: int) -> None:
    found = exact_share(part, whole)
    expected = binomtest(part, whole).proportion_ci(0.95, method="exact")
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def rates(detector: ChestFilmDetector, refused: int, found: int) -> ChestFilmDetector:
    """The detector with other measurements: of 200 test films, and of 50 hands."""
    record: dict[str, Any] = json.loads(detector.record.model_dump_json())
    record["false_rejection"] = exact_share(refused, 200)
    record["detection"] = {
        "hand": DetectionRate(**exact_share(found, 50), auc=0.9).model_dump(),
        "noise": DetectionRate(**exact_share(50, 50), auc=1.0).model_dump(),
    }
    return ChestFilmDetector(ChestFilmRecord.model_validate(record), detector.arrays)


@pytest.mark.parametrize(
    ("refused", "found", "passed", "said"),
    [
        (8, 45, True, "fewest of drawn hands (90%)"),
        (60, 45, False, "too many for chance"),
        (8, 10, False, "too few are found of drawn hands (20%)"),
        (8, 38, True, "fewest of drawn hands (76%)"),  # the interval reaches the limit of 80 %
    ],
)
def test_the_verdict_follows_the_numbers(measured: Measured, refused: int, found: int, passed: bool, said: str) -> None:
    judged = verdict(rates(measured.detector, refused, found), SETTINGS)
    assert judged["passed"] is passed
    assert said in judged["sentence"]
    assert f"{refused / 200:.1%} of 200 test films are refused" in judged["sentence"]
    assert judged["value"] == refused / 200
    assert judged["limit"] == measured.detector.threshold


def test_the_report_is_plain_json_of_the_same_numbers(measured: Measured) -> None:
    report = json.loads(json.dumps(detector_report(measured, SETTINGS), allow_nan=False))
    assert report["verdict"] == json.loads(json.dumps(verdict(measured.detector, SETTINGS)))
    assert report["threshold"]["strangeness"] == measured.detector.limit
    said = {entry["kind"]: entry for entry in report["kinds"]}
    assert said["text"]["value"] == measured.detector.record.detection["text"].value
    assert set(said["text"]["leading"]) == set(MEASURES)
    assert report["calibration_films"] == 59


def test_without_films_the_report_says_why_there_is_no_detector(measured: Measured) -> None:
    nothing = films("test")[0][:0], ArrayFrames(films("test")[1].take(np.arange(0)))
    with pytest.raises(TooFewFilms, match="no test films"):
        measure_detector(measured.detector, nothing, embed, PREPROCESSING, 4, SETTINGS)
    report = no_detector("There are no test films.")
    assert report["verdict"]["passed"] is False
    assert report["verdict"]["value"] is None
    assert report["verdict"]["sentence"] == "There is no film detector: There are no test films."
    bare = ChestFilmDetector(
        measured.detector.record.model_copy(update={"false_rejection": None}), measured.detector.arrays
    )
    with pytest.raises(CxrError, match="has not been measured"):
        verdict(bare, SETTINGS)


def test_the_figures_are_drawn_alike_each_time(measured: Measured) -> None:
    for draw in (strangeness_figure, pictures_figure):
        png = png_bytes(draw(measured), dpi=40)
        assert png.startswith(b"\x89PNG")
        assert png == png_bytes(draw(measured), dpi=40)
