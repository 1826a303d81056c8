"""Prediction from a model package with ONNX Runtime: what ``cxr predict`` and the service both call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from cxr_core.errors import CxrError
from cxr_core.imaging.decode import DecodedImage, decode
from cxr_core.imaging.preprocess import reference_film
from cxr_core.imaging.quality import broken_rules
from cxr_core.release.package import ONNX, PackageManifest, load_manifest, read_part
from cxr_core.settings_sections import QualitySettings
from cxr_core.settings_service import ServiceSettings

__all__ = ["Advice", "ModelIdentity", "Prediction", "Predictor"]

_CHUNK = 32  # frames at once: 32 x 3 x 224 x 224 float32 = 19 MB, so memory does not grow with the number of frames


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Advice(_Answer):
    """A warning beside a prediction: stable ``code``, ``message`` for a person."""

    code: str
    message: str


class ModelIdentity(_Answer):
    """Which model answered.

    Attributes:
        name, version: of the model.
        digest: SHA-256 of the model package.
        preprocessing_digest: of the preprocessing.
    """

    name: str
    version: str
    digest: str
    preprocessing_digest: str


class Prediction(_Answer):
    """The answer for one film.

    Attributes:
        label: the class with the largest probability.
        confidence: that probability, 0-1.
        probabilities: softmax probability of each class, in label order; they add up to 1.
        warnings: what a reader should know before trusting it.
        model: which model answered.
        notice: the research-use notice.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    warnings: tuple[Advice, ...]
    model: ModelIdentity
    notice: str


class Predictor:
    """A loaded model package. Its methods may be called from several threads at once.

    Attributes:
        manifest: the package's manifest, verified.
        identity: what predictions say of the model.
    """

    def __init__(self, manifest: PackageManifest, session: Any, low_confidence: float) -> None:
        self.manifest = manifest
        self.identity = ModelIdentity(
            name=manifest.name,
            version=manifest.version,
            digest=manifest.digest,
            preprocessing_digest=manifest.preprocessing_digest,
        )
        self._session = session
        self._low_confidence = low_confidence

    @classmethod
    def load(cls, folder: Path, threads: int | None = None, low_confidence: float | None = None) -> Predictor:
        """Verify a package and load its network.

        Args:
            folder: the package.
            threads: of ONNX Runtime inside one call; ``None`` takes one a physical core.
            low_confidence: confidence below which a prediction is flagged; report 6.4 by default.

        Raises:
            CxrError: as :func:`load_manifest`, or the network is not one of ours.
        """
        import onnxruntime as ort

        manifest = load_manifest(folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        try:
            session = ort.InferenceSession(read_part(folder, manifest, ONNX), options, ["CPUExecutionProvider"])
        except Exception as error:  # its exception classes share no base of their own
            raise CxrError(
                f"{folder / ONNX} is not a network that ONNX Runtime can load: package the model again."
            ) from error
        if [i.name for i in session.get_inputs()] != ["input"] or [o.name for o in session.get_outputs()] != ["logits"]:
            raise CxrError(
                f"{folder / ONNX} must have one input 'input' and one output 'logits': export the model again."
            )
        predictor = cls(
            manifest, session, ServiceSettings().low_confidence if low_confidence is None else low_confidence
        )
        predictor.predict_frames(manifest.preprocessing.frame(reference_film())[None])  # warm, and a first check
        return predictor

    def predict_frames(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Class probabilities of canonical frames.

        Args:
            frames: (n, size, size) uint8.

        Returns:
            (n, number of labels) float64: softmax of the logits, rows add up to 1.

        Raises:
            CxrError: the network gives another shape, or values that are not finite.
        """
        labels = len(self.manifest.labels)
        probabilities = np.zeros((len(frames), labels))
        for start in range(0, len(frames), _CHUNK):
            chunk = frames[start : start + _CHUNK]
            logits = self._session.run(["logits"], {"input": self.manifest.preprocessing.tensor(chunk)})[0]
            if logits.shape != (len(chunk), labels) or not np.isfinite(logits).all():
                raise CxrError(
                    f"The network gave logits of shape {logits.shape}, or not finite: package the model again."
                )
            logits = logits.astype(np.float64)
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities[start : start + _CHUNK] = powers / powers.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, data: bytes, limits: QualitySettings | None = None) -> Prediction:
        """Classify one image file.

        Args:
            data: the content of a JPEG or PNG file.
            limits: sizes accepted and exposure limits; the defaults of the data set otherwise.

        Raises:
            ImageRejected: the file cannot be used; its ``code`` is stable.
        """
        limits = limits or QualitySettings()
        image = decode(data, limits)
        row = self.predict_frames(self.manifest.preprocessing.frame(image.grey)[None])[0]
        best = int(row.argmax())
        confidence = float(row[best])
        return Prediction(
            label=self.manifest.labels[best],
            confidence=confidence,
            probabilities={label: float(p) for label, p in zip(self.manifest.labels, row, strict=True)},
            warnings=(*_quality_advice(image, limits), *self._confidence_advice(confidence)),
            model=self.identity,
            notice=self.manifest.notice,
        )

    def _confidence_advice(self, confidence: float) -> tuple[Advice, ...]:
        if confidence >= self._low_confidence:
            return ()
        message = f"Confidence {confidence:.2f} is below {self._low_confidence:g}: have a reader decide."
        return (Advice(code="low_confidence", message=message),)


def _quality_advice(image: DecodedImage, limits: QualitySettings) -> tuple[Advice, ...]:
    height, width = image.grey.shape
    mean, deviation = float(image.grey.mean()), float(image.grey.std())
    row = {"mean": mean, "std": deviation, "width": width, "height": height, "tint": image.tint}
    return tuple(Advice(code=rule.code, message=rule.reason(row, limits)) for rule in broken_rules(row, limits))
