"""Fit the film detector: directions, statistics and orientation of training films, tails of validation films, and the
threshold from calibration films, which the network never saw.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.settings_trust import FilmDetectorSettings
from cxr_core.trust.chest_film import ChestFilmArrays, ChestFilmDetector
from cxr_core.trust.chest_film_record import ARRAYS_FILE, ChestFilmRecord
from cxr_core.trust.chest_film_statistics import STATISTICS, frame_statistics, thumbnails
from cxr_core.trust.other_pictures import ALTERED, altered_films

__all__ = ["FEWEST_FILMS", "TooFewFilms", "fit_chest_film_detector", "promised_rate", "spread", "strangeness_of"]

FEWEST_FILMS = 20  # of training, validation and calibration each: two lie beyond the tenth that a tail starts at
_TAIL = 0.9  # quantile of validation films at which a tail starts; enough lie beyond to average their excess
_SMALLEST_SCALE = 0.02  # of a statistic: two hundredths of its range, so that films all alike forbid no other
_SHRINKAGE = 0.1  # of the correlation towards none; of .05 to .3 none measured better
_RIDGE = 0.01  # of the discriminant, on standardised pixels; of .001 to .1 none measured better
_BLOCK = 256  # frames held at once

Floats = npt.NDArray[np.float64]
Embeddings = npt.NDArray[np.float32]
Films = tuple[Embeddings, Frames]


class TooFewFilms(CxrError):
    """A split has too few films to fit or to measure the detector."""


def fit_chest_film_detector(
    training: Films, validation: Films, calibration: Films, trained_model: str, settings: FilmDetectorSettings
) -> ChestFilmDetector:
    """Fit the detector.

    Args:
        training: embeddings (n, d) float32 and frames of training films, in one order; of many films some are used,
            spread evenly over all.
        validation: films that the tails are measured on.
        calibration: films that the threshold comes from; used for nothing else here.
        trained_model: digest of the model that made the embeddings.
        settings: rate, components, films used.

    Raises:
        TooFewFilms: fewer than 20 in one of the splits.
        CxrError: embeddings that are not finite or do not fit the frames.
    """
    named = {"training": training, "validation": validation, "calibration": calibration}
    for name, (embeddings, frames) in named.items():
        if len(embeddings) != len(frames):
            raise CxrError(f"{len(embeddings)} embeddings and {len(frames)} {name} films do not match.")
        if len(frames) < FEWEST_FILMS:
            raise TooFewFilms(
                f"The film detector needs {FEWEST_FILMS} {name} films, there are {len(frames)}: add films."
            )
        if not np.isfinite(embeddings).all():
            raise CxrError(f"Embeddings of {name} films hold values that are no numbers: materialise embeddings again.")
    rows = spread(len(training[1]), settings.fitting_films)
    centre, basis = _directions(training[0][rows], settings.components)
    statistics, small, turned = _looks(training[1], rows)
    scale = np.maximum(statistics.std(axis=0), _SMALLEST_SCALE)
    arrays = ChestFilmArrays(
        centre=centre,
        basis=basis,
        statistics_mean=statistics.mean(axis=0).astype(np.float32),
        statistics_scale=scale.astype(np.float32),
        statistics_precision=_precision((statistics - statistics.mean(axis=0)) / scale).astype(np.float32),
        orientation=_discriminant(small, turned).astype(np.float32),
        tail_start=np.zeros(3, np.float32),
        tail_excess=np.ones(3, np.float32),
        calibration=np.zeros(1, np.float32),
    )
    scaled = _with_tails(arrays, validation, spread(len(validation[1]), settings.fitting_films))
    kept = spread(len(calibration[1]), settings.fitting_films)
    record = ChestFilmRecord(
        trained_model=trained_model,
        requested_rate=settings.false_rejection,
        rate=promised_rate(settings.false_rejection, len(kept)),
        training_films=len(rows),
        validation_films=min(len(validation[1]), settings.fitting_films),
        calibration_films=len(kept),
        embedding_size=training[0].shape[1],
        arrays=ARRAYS_FILE,
    )
    strangeness = strangeness_of(ChestFilmDetector(record, scaled), calibration, kept)
    return ChestFilmDetector(record, _replaced(scaled, calibration=np.sort(strangeness).astype(np.float32)))


def promised_rate(requested: float, films: int) -> float:
    """The share of chest films that so many calibration films can promise to refuse at most.

    The largest possible score at or below the requested share; of few films the smallest possible one, 1 / (films + 1).
    """
    return max(1, int(requested * (films + 1) + 1e-9)) / (films + 1)


def spread(count: int, most: int) -> npt.NDArray[np.intp]:
    """Up to ``most`` of ``count`` rows, evenly over all of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def strangeness_of(detector: ChestFilmDetector, films: Films, rows: npt.NDArray[np.intp]) -> Floats:
    """Strangeness of some rows of films, without holding all their frames."""
    found = np.zeros(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        found[start : start + _BLOCK] = detector.strangeness(films[0][block], films[1].take(block))
    return found


def _directions(embeddings: Embeddings, components: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float16]]:
    """Mean direction (d,) and principal components (d, k); float16 keeps the record small and is exact enough."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    directions = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    centre = directions.mean(axis=0).astype(np.float32)
    centred = directions - centre
    k = max(1, min(components, len(embeddings) // 4, embeddings.shape[1] - 1))
    vectors = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :k]
    return centre, vectors.astype(np.float16)


def _looks(frames: Frames, rows: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """Statistics (n, s) and thumbnails (n, t) of training films; thumbnails (4 n, t) of them turned and inverted."""
    statistics, small, turned = [], [], []
    for start in range(0, len(rows), _BLOCK):
        block = frames.take(rows[start : start + _BLOCK])
        statistics.append(frame_statistics(block))
        small.append(thumbnails(block))
        turned += [thumbnails(altered_films(kind, block)) for kind in ALTERED]
    return np.concatenate(statistics), np.concatenate(small), np.concatenate(turned)


def _precision(scaled: Floats) -> Floats:
    """Inverse of the shrunk correlation (Ledoit and Wolf, J. Multivariate Analysis 2004, with a fixed weight)."""
    correlation = scaled.T @ scaled / len(scaled)
    return np.asarray(np.linalg.inv((1 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(STATISTICS))))


def _discriminant(upright: Floats, turned: Floats) -> Floats:
    """Ridge regression to -1 for films as they are, 1 for the others; both classes weigh the same."""
    pixels = np.concatenate([upright, turned])
    design = np.c_[pixels, np.ones(len(pixels))]
    target = np.r_[-np.ones(len(upright)), np.ones(len(turned))]
    weights = np.r_[np.full(len(upright), 0.5 / len(upright)), np.full(len(turned), 0.5 / len(turned))]
    gram = (design * weights[:, None]).T @ design + _RIDGE * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(gram, (design * weights[:, None]).T @ target))


def _with_tails(arrays: ChestFilmArrays, films: Films, rows: npt.NDArray[np.intp]) -> ChestFilmArrays:
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    measures = np.concatenate([arrays.measures(films[0][block], films[1].take(block)) for block in blocks])
    start = np.quantile(measures, _TAIL, axis=0)
    beyond = np.maximum(measures - start, 0)
    excess = beyond.sum(axis=0) / np.maximum((beyond > 0).sum(axis=0), 1)
    return _replaced(
        arrays, tail_start=start.astype(np.float32), tail_excess=np.maximum(excess, 1e-3).astype(np.float32)
    )


def _replaced(arrays: ChestFilmArrays, **changes: npt.NDArray[np.float32]) -> ChestFilmArrays:
    return ChestFilmArrays(**{**vars(arrays), **changes})
