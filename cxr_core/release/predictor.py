"""Prediction from a model package: what ``cxr predict`` and the service both call."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.imaging.advice import image_advice
from cxr_core.imaging.decode import decode
from cxr_core.imaging.decoded import mean_and_deviation
from cxr_core.modelling.tolerance import MAX_EXPORT_DIFFERENCE
from cxr_core.release.engines import INPUT, OUTPUT, Engine, OnnxRuntimeEngine, cpu_session, open_engine
from cxr_core.release.package import ONNX, REFERENCE, PackageManifest, load_manifest, read_part
from cxr_core.release.parts import PARTS, Part, Scored
from cxr_core.release.parts.explain import MAPS, ExplainPart, heat_map
from cxr_core.release.parts.int8 import Int8Part
from cxr_core.release.prediction import (
    Advice,
    GreyStatistics,
    ModelIdentity,
    Prediction,
    Prepared,
    Uncertainty,
    softmax,
    uncertainty,
)
from cxr_core.settings_sections import QualitySettings
from cxr_core.settings_service import ServiceSettings

__all__ = ["Advice", "GreyStatistics", "ModelIdentity", "Prediction", "Predictor", "Prepared", "Uncertainty"]

_CHUNK = 32  # frames at once: 32 x 3 x 224 x 224 float32 = 19 MB, so memory does not grow with the number of frames
_logger = logging.getLogger("cxr")


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
        self, manifest: PackageManifest, engine: Engine, parts: dict[str, Part], precision: str, low_confidence: float
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
        self._explainer: Any = None

    @classmethod
    def load(
        cls,
        folder: Path,
        threads: int | None = None,
        low_confidence: float | None = None,
        *,
        engine: str = OnnxRuntimeEngine.name,
        precision: str = "fp32",
        labels: tuple[str, ...] | None = None,
    ) -> Predictor:
        """Verify a package, load its network and its parts.

        Args:
            folder: the package.
            threads: of the engine inside one call; ``None`` leaves it to the engine.
            low_confidence: confidence below which a prediction is flagged; report 6.4 by default.
            engine: name in :data:`~cxr_core.release.engines.ENGINES`.
            precision: ``fp32``, or ``int8`` for the quantised network of the part ``int8``.
            labels: the label order that the caller relies on; ``None`` accepts any.

        Raises:
            CxrError: as :func:`load_manifest`; the network or a part is not one of ours; the package has no network
                of that precision; or the engine does not reproduce ONNX Runtime's logits on the reference frame.
        """
        manifest = load_manifest(folder, labels)
        parts = _read_parts(folder, manifest)
        network = _network(folder, manifest, parts, precision)
        limit = ServiceSettings().low_confidence if low_confidence is None else low_confidence
        try:
            opened = open_engine(engine, network, threads)
        except CxrError as error:
            raise CxrError(f"{folder}: {error}") from error
        predictor = cls(manifest, opened, parts, precision, limit)
        frame = _reference_frame(folder, manifest)
        logits = predictor.logits(frame[None])  # warm, and a first check
        if engine != OnnxRuntimeEngine.name:
            reference = open_engine(OnnxRuntimeEngine.name, network, threads)
            _require_equal(engine, logits, reference.run(manifest.preprocessing.tensor(frame[None])))
        if isinstance(explain := parts.get(ExplainPart.name), ExplainPart):
            predictor._open_explainer(explain, threads, frame)
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
        return Prepared(self.manifest.preprocessing.frame(image.grey), image_advice(image, limits), grey)

    def logits(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Logits of canonical frames.

        Args:
            frames: (n, size, size) uint8.

        Returns:
            (n, number of labels) float64.

        Raises:
            CxrError: the network gives another shape, or values that are not finite.
        """
        labels = len(self.manifest.labels)
        found = np.zeros((len(frames), labels))
        for start in range(0, len(frames), _CHUNK):
            chunk = frames[start : start + _CHUNK]
            logits = self._engine.run(self.manifest.preprocessing.tensor(chunk))
            if logits.shape != (len(chunk), labels) or not np.isfinite(logits).all():
                raise CxrError(
                    f"The network gave logits of shape {logits.shape}, or not finite: package the model again."
                )
            found[start : start + _CHUNK] = logits
        return found

    def predict_frames(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Class probabilities (n, labels) float64 of frames (n, size, size) uint8: softmax of :meth:`logits`."""
        return softmax(self.logits(frames))

    def answer(self, prepared: Prepared, logits: npt.NDArray[np.float64]) -> Prediction:
        """The answer for one film.

        Args:
            prepared: the film.
            logits: (labels,) its row of :meth:`logits`.
        """
        row = softmax(logits[None])[0]
        labels = self.manifest.labels
        best = int(row.argmax())
        confidence = float(row[best])
        scored = Scored(prepared, labels, logits, row, self.precision)
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
        return self.answer(prepared, self.logits(prepared.frame[None])[0])

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
        tensor = self.manifest.preprocessing.tensor(frame[None])
        (maps,) = self._explainer.run([MAPS], {INPUT: tensor})
        return heat_map(maps[0, label_index], self.manifest.preprocessing.size)

    def parts_summary(self) -> dict[str, dict[str, Any]]:
        """What ``GET /model`` says of each part: ``known``, ``title``, and what the part itself says."""
        known = {name: {"known": True, "title": part.title, **part.summary()} for name, part in self.parts.items()}
        return {**known, **{name: {"known": False} for name in self.unknown_parts}}

    def _open_explainer(self, part: ExplainPart, threads: int | None, frame: npt.NDArray[np.uint8]) -> None:
        tensor = self.manifest.preprocessing.tensor(frame[None])
        try:
            explainer = cpu_session(part.network(), threads, (OUTPUT, MAPS))
            logits, maps = explainer.run([OUTPUT, MAPS], {INPUT: tensor})
        except Exception as error:  # ONNX Runtime's exception classes share no base of their own
            raise CxrError(f"{part.file}: its network cannot be loaded: package the model again.") from error
        if maps.ndim != 4 or maps.shape[:2] != logits.shape or not np.isfinite(maps).all():
            raise CxrError(f"{part.file}: its network gives maps of shape {maps.shape}: package the model again.")
        self._explainer = explainer

    def _confidence_advice(self, confidence: float) -> tuple[Advice, ...]:
        if confidence >= self._low_confidence:
            return ()
        message = f"Confidence {confidence:.2f} is below {self._low_confidence:g}: have a reader decide."
        return (Advice(code="low_confidence", message=message),)


def _read_parts(folder: Path, manifest: PackageManifest) -> dict[str, Part]:
    """The parts that this code knows. Others are left alone: what would change the meaning raises the format."""
    open_file = partial(read_part, folder, manifest)
    parts: dict[str, Part] = {}
    for name, file in sorted(manifest.parts.items()):
        if name not in PARTS:
            _logger.warning("%s has a part %s, which this version does not know and does not use.", folder, name)
            continue
        parts[name] = PARTS[name].read(open_file(file), open_file, manifest)
    return parts


def _network(folder: Path, manifest: PackageManifest, parts: dict[str, Part], precision: str) -> bytes:
    if precision == "fp32":
        return read_part(folder, manifest, ONNX)
    if not isinstance(part := parts.get(precision), Int8Part):
        raise CxrError(f"{folder} has no {precision} network: set service.inference.precision to fp32.")
    return part.network()


def _reference_frame(folder: Path, manifest: PackageManifest) -> npt.NDArray[np.uint8]:
    """The packaged frame, whose pixels are the same on every machine; :func:`load_manifest` saw that it is one."""
    return np.asarray(cv2.imdecode(np.frombuffer(read_part(folder, manifest, REFERENCE), np.uint8), -1), np.uint8)


def _require_equal(engine: str, found: npt.NDArray[np.floating], expected: npt.NDArray[np.floating]) -> None:
    difference = float(np.abs(found - expected).max())
    if not difference <= MAX_EXPORT_DIFFERENCE:
        raise CxrError(
            f"The engine {engine} differs from ONNX Runtime by {difference:.2g} on the reference frame, more than "
            f"{MAX_EXPORT_DIFFERENCE:g}: set service.inference.engine to onnxruntime."
        )
