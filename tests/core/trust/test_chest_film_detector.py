"""The film detector: refuses no more chest films than promised, finds what is none, and stands on what it is given."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chest_films import PREPROCESSING, chest_frames, embed, films
from sklearn.covariance import shrunk_covariance
from sklearn.decomposition import PCA

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.errors import CxrError
from cxr_core.settings_trust import FilmDetectorSettings
from cxr_core.trust.chest_film import ChestFilmDetector
from cxr_core.trust.chest_film_fit import TooFewFilms, fit_chest_film_detector, promised_rate, spread
from cxr_core.trust.chest_film_record import ARRAYS_FILE, RECORD_FILE
from cxr_core.trust.chest_film_report import keeps_promise
from cxr_core.trust.chest_film_statistics import STATISTICS, frame_statistics, thumbnails
from cxr_core.trust.other_pictures import ALTERED, DRAWN, altered_films, draw_pictures

SETTINGS = FilmDetectorSettings(false_rejection=0.05)


def fit(**changes: Any) -> ChestFilmDetector:
    settings = changes.pop("settings", SETTINGS)
    given = {"training": films("train"), "validation": films("val"), "calibration": films("calibration"), **changes}
    return fit_chest_film_detector(**given, trained_model="m" * 64, settings=settings)


@pytest.fixture(scope="module")
def detector() -> ChestFilmDetector:
    return fit()


def strangeness(detector: ChestFilmDetector, split: str) -> np.ndarray:
    embeddings, frames = films(split)
    return detector.strangeness(embeddings, frames.take(np.arange(len(frames))))


@pytest.mark.parametrize("kind", [*DRAWN, *ALTERED])
def test_every_kind_of_other_picture_is_found(detector: ChestFilmDetector, kind: str) -> None:
    if kind in DRAWN:
        frames = np.stack([PREPROCESSING.frame(picture) for picture in draw_pictures(kind, 12, 5)])
    else:
        frames = altered_films(kind, films("test")[1].take(np.arange(12)))
    scores = detector.score(embed(frames), frames)
    assert (~detector.is_chest(scores)).mean() >= 0.9


def test_no_more_test_films_are_refused_than_the_promise_allows(detector: ChestFilmDetector) -> None:
    scores = detector.scores_of(strangeness(detector, "test"))
    refused = int((~detector.is_chest(scores)).sum())
    assert detector.threshold == pytest.approx(3 / 60)  # 59 calibration films
    assert keeps_promise(refused, len(scores), detector.record.rate, 59)
    assert 0.2 < scores.mean() < 0.8  # of chest films the scores are spread over 0-1


def test_a_turned_film_is_found_where_the_embedding_is_blind_to_it(detector: ChestFilmDetector) -> None:
    embeddings, frames = films("test")
    upright = frames.take(np.arange(len(frames)))
    for kind in ALTERED:
        scores = detector.score(embeddings, altered_films(kind, upright))
        assert (~detector.is_chest(scores)).mean() > 0.9, kind


def test_a_strange_embedding_is_found_where_the_frame_is_a_chest_film(detector: ChestFilmDetector) -> None:
    frames = films("test")[1].take(np.arange(20))
    noise = np.stack([PREPROCESSING.frame(picture) for picture in draw_pictures("noise", 20, 5)])
    assert not detector.is_chest(detector.score(embed(noise), frames)).any()


def test_a_score_is_the_share_of_calibration_films_at_least_as_strange(detector: ChestFilmDetector) -> None:
    calibration, found = strangeness(detector, "calibration"), strangeness(detector, "test")
    expected = [(1 + (calibration >= value - 1e-6).sum()) / (len(calibration) + 1) for value in found]
    np.testing.assert_allclose(detector.scores_of(found), expected, atol=1e-12)
    np.testing.assert_array_equal(detector.is_chest(np.asarray(expected)), found <= detector.limit)
    assert detector.scores_of(np.array([1e9, -1e9])).tolist() == [1 / 60, 1.0]


@pytest.mark.parametrize(("requested", "calibration_films"), [(0.01, 60), (0.05, 59), (0.1, 25), (0.02, 300)])
def test_the_promise_holds_for_exchangeable_films_and_its_test_cries_wolf_seldom(
    requested: float, calibration_films: int
) -> None:
    rate = promised_rate(requested, calibration_films)
    assert rate <= max(requested, 1 / (calibration_films + 1)) + 1e-12
    rng = np.random.default_rng(1)
    shares, broken = [], []
    for _ in range(2000):
        calibration, test = np.sort(rng.normal(size=calibration_films)), rng.normal(size=50)
        scores = (1 + calibration_films - np.searchsorted(calibration, test)) / (calibration_films + 1)
        refused = int((scores <= rate).sum())
        shares.append(refused / 50)
        broken.append(not keeps_promise(refused, 50, rate, calibration_films))
    assert np.mean(shares) == pytest.approx(rate, abs=4 * np.std(shares) / np.sqrt(2000))
    assert np.mean(broken) <= 0.035


def test_a_broken_promise_is_seen() -> None:
    assert keeps_promise(3, 200, 0.01, 999)
    assert not keeps_promise(12, 200, 0.01, 999)
    assert keeps_promise(12, 200, 1 / 26, 25)  # of 25 films nobody can promise more


def test_the_embedding_measure_is_the_reconstruction_error_of_principal_components(
    detector: ChestFilmDetector,
) -> None:
    training, test = (films(split)[0].astype(float) for split in ("train", "test"))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (training, test)]
    components = detector.arrays.basis.shape[1]
    assert components == min(SETTINGS.components, len(training) // 4)
    model = PCA(components, svd_solver="full").fit(unit[0])
    expected = ((unit[1] - model.inverse_transform(model.transform(unit[1]))) ** 2).sum(axis=1)
    frames = films("test")[1].take(np.arange(len(test)))
    found = np.exp(detector.arrays.measures(films("test")[0], frames)[:, 0]) - 1e-9
    np.testing.assert_allclose(found, expected, rtol=2e-2)  # the components are kept in 16 bits


def test_the_statistics_measure_is_a_mahalanobis_distance_by_a_shrunk_correlation(detector: ChestFilmDetector) -> None:
    training, test = (
        frame_statistics(films(split)[1].take(np.arange(len(films(split)[1])))) for split in ("train", "test")
    )
    scale = np.maximum(training.std(axis=0), 0.02)
    correlation = np.cov(((training - training.mean(axis=0)) / scale).T, bias=True)
    shrunk = shrunk_covariance(correlation, 0.1) + 0.1 * np.eye(len(scale)) * (1 - np.trace(correlation) / len(scale))
    scaled = np.clip((test - training.mean(axis=0)) / scale, -50, 50)
    expected = np.einsum("ni,ij,nj->n", scaled, np.linalg.inv(shrunk), scaled)
    frames = films("test")[1].take(np.arange(len(test)))
    found = np.exp(detector.arrays.measures(films("test")[0], frames)[:, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # kept in float32


def test_the_tails_come_from_validation_films_and_the_threshold_from_calibration_films_only(
    detector: ChestFilmDetector,
) -> None:
    test = films("test")
    other = fit(calibration=test)
    for name, value in vars(detector.arrays).items():
        same = np.array_equal(value, getattr(other.arrays, name))
        assert same == (name != "calibration"), name
    other = fit(validation=test)
    changed = {
        name for name, value in vars(detector.arrays).items() if not np.array_equal(value, vars(other.arrays)[name])
    }
    assert changed == {"tail_start", "tail_excess", "calibration"}


def test_equal_films_give_equal_bytes_and_files_read_back_score_alike(detector: ChestFilmDetector) -> None:
    files = detector.files()
    assert fit().files() == files
    assert set(files) == {RECORD_FILE, ARRAYS_FILE}
    again = ChestFilmDetector.read(files[RECORD_FILE], files[ARRAYS_FILE])
    embeddings, frames = films("test")
    taken = frames.take(np.arange(len(frames)))
    np.testing.assert_array_equal(again.score(embeddings, taken), detector.score(embeddings, taken))


def test_the_record_stays_small_for_long_embeddings_and_many_films() -> None:
    rng = np.random.default_rng(0)
    frames = ArrayFrames(np.repeat(chest_frames()[:20], 8, axis=0))
    wide = (rng.random((160, 1280)).astype(np.float32), frames)
    found = fit_chest_film_detector(wide, wide, wide, "m", FilmDetectorSettings(fitting_films=40))
    assert sum(map(len, found.files().values())) < 300_000
    assert found.record.training_films == found.record.calibration_films == len(found.arrays.calibration) == 40
    assert spread(160, 40)[[0, -1]].tolist() == [0, 159]


def damaged(detector: ChestFilmDetector, **changes: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{**vars(detector.arrays), **changes})
    return buffer.getvalue()


def test_damaged_files_are_refused_and_pickles_never_opened(detector: ChestFilmDetector) -> None:
    record, arrays = detector.files().values()
    calibration = detector.arrays.calibration
    wrong = {
        "array calibration": damaged(detector, calibration=calibration[::-1]),
        "array centre": damaged(detector, centre=detector.arrays.centre[:-1]),
        "array orientation": damaged(detector, orientation=np.full_like(detector.arrays.orientation, np.nan)),
        "array tail_start": damaged(detector, tail_start=np.array(["a", "b", "c"])),
        "does not hold": b"PK" + arrays[2:-30],
        "components, films or scales": damaged(detector, tail_excess=np.zeros(3, np.float32)),
    }
    for sentence, data in wrong.items():
        with pytest.raises(CxrError, match=sentence):
            ChestFilmDetector.read(record, data)
    buffer = io.BytesIO()
    np.savez(buffer, **{**vars(detector.arrays), "centre": np.array([Bomb()], object)})
    for data in (buffer.getvalue(), pickle.dumps(Bomb()), b""):
        with pytest.raises(CxrError, match="does not hold the arrays"):
            ChestFilmDetector.read(record, data)
    with pytest.raises(CxrError, match=r"chest_film\.json, field rate"):
        ChestFilmDetector.read(record.replace(b'"rate":', b'"rte":'), arrays)


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was opened",))


def test_bad_input_is_a_sentence_and_odd_input_a_score(detector: ChestFilmDetector) -> None:
    embeddings, frames = films("test")
    taken = frames.take(np.arange(3))
    with pytest.raises(CxrError, match="embeddings of 48 values"):
        detector.score(embeddings[:3, :40], taken)
    with pytest.raises(CxrError, match="no numbers"):
        detector.score(np.full_like(embeddings[:3], np.nan), taken)
    assert detector.score(embeddings[:0], taken[:0]).shape == (0,)
    odd = np.stack([np.zeros((224, 224), np.uint8), np.full((224, 224), 255, np.uint8), np.eye(224, dtype=np.uint8)])
    assert not detector.is_chest(detector.score(np.zeros((3, 48), np.float32), odd)).any()
    few = (embeddings[:19], ArrayFrames(frames.take(np.arange(19))))
    for name in ("training", "validation", "calibration"):
        with pytest.raises(TooFewFilms, match=f"20 {name} films, there are 19"):
            fit(**{name: few})
    with pytest.raises(CxrError, match="do not match"):
        fit(training=(embeddings[:30], frames))
    holed = embeddings.copy()
    holed[3, 4] = np.inf
    with pytest.raises(CxrError, match="Embeddings of validation films hold values that are no numbers"):
        fit(validation=(holed, frames))


def test_films_that_are_all_alike_give_a_detector_that_knows_them() -> None:
    frames = np.repeat(chest_frames()[:1], 30, axis=0)
    same = (embed(frames), ArrayFrames(frames))
    found = fit(training=same, validation=same, calibration=same)
    assert found.is_chest(found.score(*(part[:2] for part in (same[0], frames)))).all()
    noise = np.stack([PREPROCESSING.frame(picture) for picture in draw_pictures("noise", 2, 0)])
    assert not found.is_chest(found.score(embed(noise), noise)).any()


def test_statistics_are_named_finite_and_blind_to_padding() -> None:
    film = chest_frames()[0][20:200]
    frames = np.stack([PREPROCESSING.frame(film), np.zeros((224, 224), np.uint8), np.full((224, 224), 7, np.uint8)])
    found = frame_statistics(frames)
    assert found.shape == (3, len(STATISTICS))
    assert len(set(STATISTICS)) == len(STATISTICS)
    assert np.isfinite(found).all()
    assert np.isfinite(thumbnails(frames)).all()
    moved = frames.copy()
    moved[0] = np.roll(frames[0], 15, axis=0)  # more padding above than below
    np.testing.assert_allclose(frame_statistics(moved), found)
    np.testing.assert_allclose(thumbnails(moved), thumbnails(frames))
    row = dict(zip(STATISTICS, found[0], strict=True))
    assert row["log_aspect"] == pytest.approx(np.log(224 / 180), abs=0.02)
    assert row["mean"] == pytest.approx(film.mean() / 255, abs=0.02)
    turned = dict(zip(STATISTICS, frame_statistics(frames[:1, ::-1])[0], strict=True))
    assert turned["top_to_bottom"] == pytest.approx(-row["top_to_bottom"], abs=1e-4)
    assert turned["symmetry_sides"] == pytest.approx(row["symmetry_sides"], abs=1e-4)


def test_the_promise_is_part_of_the_record(detector: ChestFilmDetector) -> None:
    lax = ChestFilmDetector(detector.record.model_copy(update={"rate": 30 / 60}), detector.arrays)
    scores = lax.scores_of(strangeness(lax, "calibration"))
    assert (~lax.is_chest(scores)).sum() == 29  # a film that is itself among them has one more at least as strange
    assert replace(lax, record=detector.record).threshold == detector.threshold
