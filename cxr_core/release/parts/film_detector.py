"""Part ``film_detector``: whether a picture is a chest film at all, from its embedding and its frame.

See :mod:`cxr_core.trust.chest_film` for the detector. Fitted and measured in the pipeline with the exact network; the
8-bit network gives other embeddings, so with it the part answers only where packaging found that the promise holds.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cxr_core.errors import CxrError
from cxr_core.release.manifest import PackageManifest
from cxr_core.release.parts.base import OpenFile, Part, PartAnswer, Scored, read_record
from cxr_core.release.parts.embedding import EmbeddingPart
from cxr_core.release.prediction import Advice
from cxr_core.trust.chest_film import ChestFilmDetector
from cxr_core.trust.chest_film_record import ARRAYS_FILE, RECORD_FILE, ShareOfFilms

__all__ = ["FILM_DETECTOR_FILE", "NOT_A_CHEST_FILM", "FilmDetectorAnswer", "FilmDetectorPart", "FilmDetectorRecord"]

FILM_DETECTOR_FILE = "film_detector_part.json"  # the pipeline's report of it is called film_detector.json
NOT_A_CHEST_FILM = Advice(
    code="not_a_chest_film",
    message="The picture looks unlike the chest films that the model knows: see that it is one, upright and not "
    "inverted.",
)
_TRAINED_MODEL = "trained_model"  # key of the manifest's data


class FilmDetectorRecord(BaseModel):
    """Content of ``film_detector_part.json``.

    Attributes:
        detector: file with the detector's record, which names the file with its arrays.
        answers: precisions of the networks with which it answers.
        int8_false_rejection: share of test films refused with the 8-bit network; null where there is none.
        int8_median_score: median score of those films; near .5 where its embeddings are as strange as the exact ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str
    answers: tuple[str, ...]
    int8_false_rejection: ShareOfFilms | None = None
    int8_median_score: float | None = Field(None, ge=0, le=1)


class FilmDetectorAnswer(BaseModel):
    """Whether the picture is a chest film.

    Attributes:
        score: share of held-out chest films that look at least as strange, above 0 to 1.
        threshold: at or below it the picture is taken for no chest film; at most this share of chest films like those
            is refused.
        chest_film: whether the score is above the threshold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float = Field(gt=0, le=1)
    threshold: float = Field(gt=0, lt=1)
    chest_film: bool


class FilmDetectorPart(Part):
    """The detector.

    Attributes:
        record: with which networks it answers.
        detector: what it answers by.
    """

    name = "film_detector"
    file = FILM_DETECTOR_FILE
    recorded = (RECORD_FILE, ARRAYS_FILE)
    title = "Whether the picture looks like a chest film at all, upright and not inverted."
    answer_model = FilmDetectorAnswer
    advice_codes = (NOT_A_CHEST_FILM.code,)

    def __init__(self, record: FilmDetectorRecord, detector: ChestFilmDetector) -> None:
        self.record = record
        self.detector = detector

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> FilmDetectorPart:
        """Load the detector, and see that it is of this model and that the network gives the embedding."""
        record = read_record(FilmDetectorRecord, data, FILM_DETECTOR_FILE)
        arrays = read_record(_Named, open_file(_listed(record.detector, manifest)), RECORD_FILE).arrays
        detector = ChestFilmDetector.read(open_file(record.detector), open_file(_listed(arrays, manifest)))
        if EmbeddingPart.name not in manifest.parts:
            raise CxrError("The part film_detector needs the part embedding: package the model again.")
        model = manifest.data.get(_TRAINED_MODEL)
        if model is not None and model != detector.record.trained_model:
            raise CxrError("The part film_detector was fitted to another model: materialise film_detector again.")
        return cls(record, detector)

    def summary(self) -> dict[str, Any]:
        """Promised and measured false rejection, and the share of each kind of other picture that is found."""
        return {
            "threshold": self.detector.threshold,
            **self.detector.record.model_dump(mode="json", exclude={"arrays", "trained_model", "embedding_size"}),
            **self.record.model_dump(mode="json", exclude={"detector"}),
        }

    def answer(self, scored: Scored) -> PartAnswer | None:
        """Score and warning; nothing where the network that answered gives no embedding that the detector knows."""
        if scored.embedding is None or scored.precision not in self.record.answers:
            return None
        scores = self.detector.score(scored.embedding[None], scored.prepared.frame[None])
        chest = bool(self.detector.is_chest(scores)[0])
        fields = FilmDetectorAnswer(score=float(scores[0]), threshold=self.detector.threshold, chest_film=chest)
        return PartAnswer(fields, () if chest else (NOT_A_CHEST_FILM,))


class _Named(BaseModel):
    """What of the detector's record has to be known before the rest can be read."""

    model_config = ConfigDict(extra="ignore")

    arrays: str


def _listed(file: str, manifest: PackageManifest) -> str:
    if file not in manifest.files:
        raise CxrError(f"The part film_detector names {file}, which is not in the package: package the model again.")
    return file
