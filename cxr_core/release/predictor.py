"""Prediction from a model package: what ``cxr predict`` and the service both call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.probabilities import softmax
from cxr_core.imaging.advice import image_advice
from cxr_core.imaging.decode import decode
from cxr_core.imaging.decoded import mean_and_deviation
from cxr_core.release.engine_check import check_engine, reference_frames, reference_logits
from cxr_core.release.engines import Engine, OnnxRuntimeEngine, open_engine
from cxr_core.release.explainer import Explainer
from cxr_core.release.networks import network_of, packaged_logits, reference_frame
from cxr_core.release.package import PackageManifest, load_manifest, open_parts
from cxr_core.release.parts import Part, Scored
from cxr_core.release.parts.calibration import CalibrationPart
from cxr_core.release.parts.explain import ExplainPart
from cxr_core.release.prediction import (
    Advice,
    GreyStatistics,
    ModelIdentity,
    Outputs,
    Prediction,
    Prepared,
    Uncertainty,
    uncertainty,
)
from cxr_core.settings_sections import QualitySettings
from cxr_core.settings_service import ServiceSettings

__all__ = ["Advice", "GreyStatistics", "ModelIdentity", "Outputs", "Prediction", "Predictor", "Prepared", "Uncertainty"]


class Predictor:
    """A loaded model package. Its methods may be called from several threads at once.

    Attributes:
        manifest: the package's manifest, verified.
        identity: what predictions say of the model.
        parts: the loaded optional parts by name.
        unknown_parts: names of parts that this code does not know, and so does not use.
        engine: name of the engine that runs the network.
        precision: ``fp32`` or ``int8``.
    """

    def __init__(
        self,
        manifest: PackageManifest,
        engine: Engine,
        parts: dict[str, Part],
        precision: str,
        low_confidence: float,
        low_contrast_std: float,
    ) -> None:
        self.manifest = manifest
        self.identity = ModelIdentity(
            name=manifest.name,
            version=manifest.version,
            digest=manifest.digest,
            preprocessing_digest=manifest.preprocessing_digest,
        )
        self.parts = parts
        self.unknown_parts = tuple(sorted(set(manifest.parts) - set(parts)))
        self.engine = engine.name
        self.precision = precision
        self._engine = engine
        self._low_confidence = low_confidence
        self._low_contrast_std = low_contrast_std
        self._explainer: Explainer | None = None

    @classmethod
    def load(
        cls,
        folder: Path,
        threads: int | None = None,
        low_confidence: float | None = None,
        *,
        low_contrast_std: float | None = None,
        engine: str = OnnxRuntimeEngine.name,
        precision: str = "fp32",
        labels: tuple[str, ...] | None = None,
        operating_points: Path | None = None,
    ) -> Predictor:
        """Verify a package, load its network and its parts.

        Args:
            folder: the package.
            threads: of the engine inside one call; ``None`` leaves it to the engine.
            low_confidence: confidence below which a prediction is flagged; report 6.4 by default.
            low_contrast_std: standard deviation of the grey below which a film is flagged; the settings' default.
            engine: name in :data:`~cxr_core.release.engines.ENGINES`.
            precision: ``fp32``, or ``int8`` for the quantised network of the part ``int8``.
            labels: the label order that the caller relies on; ``None`` accepts any.
            operating_points: a site's own thresholds, in place of the package's.

        Raises:
            CxrError: as :func:`load_manifest`; the network or a part is not one of ours; the package has no network
                of that precision; or the engine computes other logits, see :func:`check_engine`.
        """
        manifest = load_manifest(folder, labels)
        parts = open_parts(folder, manifest, operating_points)
        network = network_of(folder, manifest, parts, precision)
        if precision != "fp32" and engine != OnnxRuntimeEngine.name:
            raise CxrError(
                f"The {precision} network runs in onnxruntime only, in whose arithmetic its loss was measured."
            )
        default = ServiceSettings()
        try:
            opened = open_engine(engine, network, threads)
        except CxrError as error:
            raise CxrError(f"{folder}: {error}") from error
        predictor = cls(
            manifest,
            opened,
            parts,
            precision,
            default.low_confidence if low_confidence is None else low_confidence,
            default.low_contrast_std if low_contrast_std is None else low_contrast_std,
        )
        frames = reference_frames(reference_frame(folder, manifest))
        tensor = manifest.preprocessing.tensor(frames)
        logits = here = predictor.logits(frames)  # warm, and a first check
        if engine != OnnxRuntimeEngine.name:
            here = np.asarray(reference_logits(network, tensor, threads))
        check_engine(engine, precision, logits, packaged_logits(manifest, parts, precision), here)
        if isinstance(explain := parts.get(ExplainPart.name), ExplainPart):
            predictor._explainer = Explainer(explain, tensor[:1], threads)
        return predictor

    @property
    def can_explain(self) -> bool:
        """Whether :meth:`explain` can answer."""
        return self._explainer is not None

    def prepare(self, data: bytes, limits: QualitySettings | None = None) -> Prepared:
        """Decode one image file and make its frame.

        Args:
            data: the content of the file.
            limits: sizes accepted and exposure limits; the defaults of the data set otherwise.

        Raises:
            ImageRejected: the file cannot be used; its ``code`` is stable.
        """
        limits = limits or QualitySettings()
        image = decode(data, limits, dicom=True)
        height, width = image.grey.shape
        grey = GreyStatistics(*mean_and_deviation(image.grey), width, height, image.tint)
        advice = image_advice(image, limits, self._low_contrast_std)
        return Prepared(self.manifest.preprocessing.frame(image.grey), advice, grey)

    def outputs(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Logits and embeddings of canonical frames, in one pass.

        Args:
            frames: (n, size, size) uint8.

        Returns:
            Logits (n, number of labels) float64; embeddings (n, size) float32, None where the network gives none.

        Raises:
            CxrError: the network gives another shape, or values that are not finite.
        """
        labels, step = len(self.manifest.labels), self._engine.at_once
        logits = np.zeros((len(frames), labels))
        embeddings: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(frames), step):
            chunk = frames[start : start + step]
            found = self._engine.run(self.manifest.preprocessing.tensor(chunk))
            if found.logits.shape != (len(chunk), labels) or not np.isfinite(found.logits).all():
                raise CxrError(
                    f"The network gave logits of shape {found.logits.shape}, or not finite: package the model again."
                )
            logits[start : start + step] = found.logits
            if found.embedding is not None:
                if len(found.embedding) != len(chunk) or not np.isfinite(found.embedding).all():
                    raise CxrError("The network gave embeddings that are not finite: package the model again.")
                embeddings.append(found.embedding)
        return Outputs(logits, np.concatenate(embeddings) if embeddings else None)

    def rows(self, frames: npt.NDArray[np.uint8]) -> list[Outputs]:
        """As :meth:`outputs`, film by film: logits (number of labels,) and embedding (size,) or None."""
        found = self.outputs(frames)
        embeddings = [None] * len(frames) if found.embedding is None else list(found.embedding)
        return [Outputs(logits, embedding) for logits, embedding in zip(found.logits, embeddings, strict=True)]

    def logits(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Logits (n, number of labels) float64 of frames (n, size, size) uint8; errors as :meth:`outputs`."""
        return np.asarray(self.outputs(frames).logits, np.float64)

    def predict_frames(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Class probabilities (n, labels) float64, as they are answered, of frames (n, size, size) uint8."""
        return self.probabilities(self.logits(frames))

    def probabilities(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Class probabilities (n, labels) float64, as they are answered, of logits (n, labels).

        Calibrated where the package has the part ``calibration``, else the softmax.
        """
        part = self.parts.get(CalibrationPart.name)
        return part.probabilities(logits) if isinstance(part, CalibrationPart) else softmax(logits)

    def answer(
        self,
        prepared: Prepared,
        logits: npt.NDArray[np.floating],
        embedding: npt.NDArray[np.float32] | None = None,
    ) -> Prediction:
        """The answer for one film.

        Args:
            prepared: the film.
            logits: (labels,) its row of :meth:`logits`.
            embedding: (size,) of the same pass; without it the parts that judge by it say nothing.
        """
        exact = np.asarray(logits, np.float64)
        row = self.probabilities(exact[None])[0]
        labels = self.manifest.labels
        best = int(exact.argmax())  # no calibration changes it
        confidence = float(row[best])
        scored = Scored(prepared, labels, exact, row, softmax(exact[None])[0], self.precision, embedding)
        said = {name: found for name, part in self.parts.items() if (found := part.answer(scored)) is not None}
        return Prediction(
            label=labels[best],
            confidence=confidence,
            probabilities={label: float(p) for label, p in zip(labels, row, strict=True)},
            uncertainty=uncertainty(row),
            warnings=(
                *prepared.advice,
                *self._confidence_advice(confidence),
                *(advice for found in said.values() for advice in found.advice),
            ),
            parts={name: found.fields.model_dump(mode="json") for name, found in said.items()},
            model=self.identity,
            notice=self.manifest.notice,
        )

    def predict(self, data: bytes, limits: QualitySettings | None = None) -> Prediction:
        """Classify one image file; arguments and errors as :meth:`prepare`."""
        prepared = self.prepare(data, limits)
        return self.answer(prepared, *self.rows(prepared.frame[None])[0])

    def explain(self, frame: npt.NDArray[np.uint8], label_index: int) -> npt.NDArray[np.float32]:
        """Heat map of what speaks for a class, from the exact network whatever the precision.

        Args:
            frame: (size, size) uint8.
            label_index: which class, an index into the labels.

        Returns:
            (size, size) float32, 0-1; all zero where nothing speaks for the class.

        Raises:
            CxrError: the package has no part ``explain``.
        """
        if self._explainer is None:
            raise CxrError("The model package has no part explain: package a model that can explain itself.")
        return self._explainer.explain(self.manifest.preprocessing.tensor(frame[None]), label_index)

    def parts_summary(self) -> dict[str, dict[str, Any]]:
        """What ``GET /model`` says of each part: ``known``, ``title``, and what the part itself says."""
        known = {name: {"known": True, "title": part.title, **part.summary()} for name, part in self.parts.items()}
        return {**known, **{name: {"known": False} for name in self.unknown_parts}}

    def _confidence_advice(self, confidence: float) -> tuple[Advice, ...]:
        if confidence >= self._low_confidence:
            return ()
        message = f"Confidence {confidence:.2f} is below {self._low_confidence:g}: have a reader decide."
        return (Advice(code="low_confidence", message=message),)
