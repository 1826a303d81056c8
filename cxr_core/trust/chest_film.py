"""Is this picture a chest film at all? A detector that knows chest films only, and how unusual each of them may look.

Three measures of a frame, each larger the stranger it is: how far the direction of its embedding lies from the space
that training films span (reconstruction error of principal components: Hoffmann, Pattern Recognition 2007; in feature
space, Guan et al., ICCV 2023), the Mahalanobis distance of its picture statistics (Lee et al., NeurIPS 2018), and a
linear discriminant between films as they are and films turned or inverted (the known transformations as the other
class: Hendrycks et al., NeurIPS 2019). Each is expressed in tails: its excess over the level that one validation film
in ten reaches, in units of the mean excess there. The excesses add up.

The score is a conformal p-value (Bates et al., Annals of Statistics 2023): the share of calibration films that are at
least as strange. Of chest films like those, at most the promised share falls at or below the threshold, whatever the
network and the measures are worth. Needs numpy and OpenCV only.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from cxr_core.errors import CxrError
from cxr_core.trust.chest_film_record import RECORD_FILE, ChestFilmRecord
from cxr_core.trust.chest_film_statistics import STATISTICS, THUMBNAIL, frame_statistics, thumbnails

__all__ = ["MEASURES", "ChestFilmArrays", "ChestFilmDetector"]

MEASURES = ("embedding", "statistics", "orientation")

_SMALLEST = 1e-9  # added before a logarithm
_FARTHEST = 50.0  # standard deviations: a statistic further away is as strange as can be

Floats = npt.NDArray[np.float64]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ChestFilmArrays:
    """What was fitted; d: embedding size, k: components, s: statistics, t: pixels of a thumbnail.

    Attributes:
        centre: (d,) float32, mean direction of training embeddings.
        basis: (d, k) float16, their principal components.
        statistics_mean, statistics_scale: (s,) float32 of the picture statistics.
        statistics_precision: (s, s) float32, inverse of their shrunk correlation.
        orientation: (t + 1,) float32, weights of the discriminant, the last one without a pixel.
        tail_start, tail_excess: (3,) float32 of the measures, in the order of ``MEASURES``.
        calibration: (m,) float32, strangeness of calibration films, ascending.
    """

    centre: npt.NDArray[np.float32]
    basis: npt.NDArray[np.float16]
    statistics_mean: npt.NDArray[np.float32]
    statistics_scale: npt.NDArray[np.float32]
    statistics_precision: npt.NDArray[np.float32]
    orientation: npt.NDArray[np.float32]
    tail_start: npt.NDArray[np.float32]
    tail_excess: npt.NDArray[np.float32]
    calibration: npt.NDArray[np.float32]

    def measures(self, embeddings: npt.NDArray[np.float32], frames: Frames) -> Floats:
        """The three measures (n, 3) of embeddings (n, d) and frames (n, size, size) uint8."""
        return np.stack(
            [
                np.log(self._residual(embeddings) + _SMALLEST),
                np.log(self._distance(frame_statistics(frames)) + _SMALLEST),
                np.c_[thumbnails(frames), np.ones(len(frames))] @ self.orientation.astype(np.float64),
            ],
            axis=1,
        )

    def excesses(self, measures: Floats) -> Floats:
        """Measures (n, 3) in tails: 0 where one validation film in ten is as strange, 1 a mean excess further."""
        return np.asarray((measures - self.tail_start) / self.tail_excess, np.float64)

    def _residual(self, embeddings: npt.NDArray[np.float32]) -> Floats:
        directions = embeddings.astype(np.float64)
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        centred = directions / np.maximum(lengths, np.finfo(np.float32).tiny) - self.centre
        basis = self.basis.astype(np.float64)
        left = centred - (centred @ basis) @ basis.T
        return np.asarray((left**2).sum(axis=1))

    def _distance(self, statistics: Floats) -> Floats:
        scaled = (statistics - self.statistics_mean) / self.statistics_scale
        scaled = np.clip(scaled, -_FARTHEST, _FARTHEST)
        return np.maximum(np.einsum("ni,ij,nj->n", scaled, self.statistics_precision, scaled), 0.0)


@dataclass(frozen=True)
class ChestFilmDetector:
    """The fitted detector: what the record says, and the arrays."""

    record: ChestFilmRecord
    arrays: ChestFilmArrays

    @property
    def threshold(self) -> float:
        """A picture whose score is at or below it is taken for no chest film: the promised rate, 0-1."""
        return self.record.rate

    @property
    def limit(self) -> float:
        """The threshold as strangeness: a picture beyond it is taken for no chest film."""
        m = len(self.arrays.calibration)
        return float(self.arrays.calibration[m - round(self.record.rate * (m + 1))])

    def strangeness(self, embeddings: npt.NDArray[np.float32], frames: Frames) -> Floats:
        """How unlike the training films each picture is.

        Args:
            embeddings: (n, d) float32, by the model that the detector was fitted for.
            frames: (n, size, size) uint8 canonical frames, in the same order.

        Returns:
            (n,) float64: sum of the excesses of the measures; negative where none exceeds.

        Raises:
            CxrError: embeddings of another length, or not finite.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.arrays.centre):
            raise CxrError(
                f"The film detector knows embeddings of {len(self.arrays.centre)} values, not of shape "
                f"{embeddings.shape}: materialise film_detector again."
            )
        if not np.isfinite(embeddings).all():
            raise CxrError("The film detector was given embeddings that are no numbers: materialise embeddings again.")
        if not len(frames):
            return np.zeros(0)
        excesses = self.arrays.excesses(self.arrays.measures(embeddings, frames))
        return np.asarray(np.maximum(excesses, 0).sum(axis=1) + np.minimum(excesses.max(axis=1), 0))

    def score(self, embeddings: npt.NDArray[np.float32], frames: Frames) -> Floats:
        """Scores (n,) float64, above 0 to 1: share of calibration films at least as strange, the film itself counted.

        Arguments and errors as :meth:`strangeness`.
        """
        return self.scores_of(self.strangeness(embeddings, frames))

    def scores_of(self, strangeness: Floats) -> Floats:
        """Scores of strangeness (n,)."""
        m = len(self.arrays.calibration)
        below = np.searchsorted(self.arrays.calibration, strangeness.astype(np.float32), side="left")
        return np.asarray((1 + m - below) / (m + 1))

    def is_chest(self, scores: Floats) -> npt.NDArray[np.bool_]:
        """Whether each score is that of a chest film."""
        return np.asarray(scores > self.threshold)

    def files(self) -> dict[str, bytes]:
        """The detector as files, name to content; equal detectors give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, **{field.name: getattr(self.arrays, field.name) for field in fields(self.arrays)})
        text = self.record.model_dump_json(indent=1)
        return {RECORD_FILE: text.encode(), self.record.arrays: buffer.getvalue()}

    @classmethod
    def read(cls, record: bytes, arrays: bytes) -> ChestFilmDetector:
        """The detector of its files' content; pickled content is refused (TRAPS 20).

        Raises:
            CxrError: one of them is not the detector's.
        """
        again = "materialise film_detector again, and package the model again"
        try:
            said = ChestFilmRecord.model_validate_json(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CxrError(f"{RECORD_FILE}, field {where}: {first['msg']}: {again}.") from error
        try:
            with np.load(io.BytesIO(arrays), allow_pickle=False) as stored:
                found = ChestFilmArrays(**{field.name: stored[field.name] for field in fields(ChestFilmArrays)})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise CxrError(f"{said.arrays} does not hold the arrays of the film detector: {again}.") from error
        _check(found, said)
        return cls(said, found)


def _check(arrays: ChestFilmArrays, record: ChestFilmRecord) -> None:
    d, s = record.embedding_size, len(STATISTICS)
    k, m = (arrays.basis.shape[-1] if arrays.basis.ndim == 2 else 0), arrays.calibration.size
    expected = ((d,), (d, k), (s,), (s,), (s, s), (THUMBNAIL**2 + 1,), (len(MEASURES),), (len(MEASURES),), (m,))
    for field, shape in zip(fields(arrays), expected, strict=True):
        value = getattr(arrays, field.name)
        if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
            raise CxrError(
                f"{record.arrays}, array {field.name}: {value.dtype} of shape {value.shape}, not finite numbers of "
                f"shape {shape}: materialise film_detector again, and package the model again."
            )
    if not (k and m and (arrays.tail_excess > 0).all() and (arrays.statistics_scale > 0).all()):
        raise CxrError(f"{record.arrays} holds no components, films or scales: materialise film_detector again.")
    if (np.diff(arrays.calibration) < 0).any():
        raise CxrError(f"{record.arrays}, array calibration: not ascending: materialise film_detector again.")
