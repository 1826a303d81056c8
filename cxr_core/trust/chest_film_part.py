"""The part ``film_detector`` of a new model package: the pipeline's detector, and whether it holds in 8 bits, too."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.release.engines import OnnxRuntimeEngine, open_engine
from cxr_core.release.parts.embedding import EMBEDDING_FILE, EmbeddingPart, EmbeddingRecord
from cxr_core.release.parts.film_detector import FILM_DETECTOR_FILE, FilmDetectorRecord
from cxr_core.trust.chest_film import ChestFilmDetector
from cxr_core.trust.chest_film_fit import spread
from cxr_core.trust.chest_film_record import ARRAYS_FILE, RECORD_FILE, ShareOfFilms
from cxr_core.trust.chest_film_report import exact_share, keeps_promise

__all__ = ["film_detector_part"]

_FILMS = 200  # test films that the 8-bit network is tried on: a share of 5 % instead of 1 % shows
_BATCH = 16  # films at once
_DIGITS = 6  # of the recorded median


def film_detector_part(
    records: Mapping[str, bytes],
    embedding: Mapping[str, bytes] | None,
    int8: bytes | None,
    test: Frames,
    preprocessing: Preprocessing,
) -> dict[str, bytes]:
    """Files of the part.

    Args:
        records: with the detector's two files.
        embedding: files of the package's part ``embedding``; None where it has none.
        int8: the 8-bit network, where there is one.
        test: frames of the test films.
        preprocessing: of the frames.

    Raises:
        CxrError: there is no detector, it is damaged, or the network gives no embedding, or one of another length.
    """
    if RECORD_FILE not in records or ARRAYS_FILE not in records:
        raise CxrError("No film detector was fitted: the report film_detector says why.")
    if embedding is None:
        raise CxrError("The network gives no embedding that the film detector could judge by.")
    detector = ChestFilmDetector.read(records[RECORD_FILE], records[ARRAYS_FILE])
    said = EmbeddingRecord.model_validate_json(embedding[EMBEDDING_FILE])
    if detector.record.embedding_size != said.size:
        raise CxrError("The film detector knows embeddings of another length: materialise film_detector again.")
    share, scores = None, None
    if int8 is not None and "int8" in said.precisions and len(test):
        network = EmbeddingPart(said, lambda: embedding[said.network]).extended(int8, "int8")
        scores = _scores(detector, network, test, preprocessing)
        share = ShareOfFilms(**exact_share(int((~detector.is_chest(scores)).sum()), len(scores)))
    record = FilmDetectorRecord(
        detector=RECORD_FILE,
        answers=("fp32", "int8") if share is not None and _holds(share, detector) else ("fp32",),
        int8_false_rejection=share,
        int8_median_score=None if scores is None else round(float(np.median(scores)), _DIGITS),
    )
    text = json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True)
    return {FILM_DETECTOR_FILE: text.encode(), **{name: records[name] for name in (RECORD_FILE, ARRAYS_FILE)}}


def _scores(
    detector: ChestFilmDetector, network: bytes, test: Frames, preprocessing: Preprocessing
) -> npt.NDArray[np.float64]:
    """Scores of test films by the embeddings that a network gives."""
    engine = open_engine(OnnxRuntimeEngine.name, network)
    rows = spread(len(test), _FILMS)
    found: list[npt.NDArray[np.float64]] = []
    for start in range(0, len(rows), _BATCH):
        frames = test.take(rows[start : start + _BATCH])
        embeddings = engine.run(preprocessing.tensor(frames)).embedding
        assert embeddings is not None  # the record of the part embedding says so
        found.append(detector.score(embeddings, frames))
    return np.concatenate(found)


def _holds(share: ShareOfFilms, detector: ChestFilmDetector) -> bool:
    record = detector.record
    return keeps_promise(round(share.value * share.films), share.films, record.rate, record.calibration_films)
