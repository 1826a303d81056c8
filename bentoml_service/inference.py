"""From a model package to predictions: verified at start-up, decoded and run off the event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bentoml_service.batching import MicroBatcher, Place
from bentoml_service.problems import RequestError
from bentoml_service.security import KeyRing, key_file
from cxr_core.errors import CxrError
from cxr_core.release.engine_choice import choose_engine
from cxr_core.release.engines import usable_cores
from cxr_core.release.package import MANIFEST, PackageManifest, load_manifest, open_parts
from cxr_core.release.prediction import Outputs, Prediction, Prepared
from cxr_core.release.predictor import Predictor
from cxr_core.settings import Settings, load_settings
from cxr_core.settings_sections import QualitySettings
from cxr_core.settings_service import ServiceSettings

__all__ = ["BUNDLED", "Answer", "Runtime", "expected_labels", "package_folder", "require_promoted"]

BUNDLED = Path(__file__).resolve().parent.parent / "model"  # where packaging puts the model inside a bento
_CHOICES = "engine.json"  # in the service's state folder: which engine was fastest here

Answer = tuple[Prediction, Prepared]


def package_folder() -> Path:
    """Folder of the model package to serve: the bento's own, else ``CXR_MODEL``.

    Raises:
        CxrError: neither is there.
    """
    if (BUNDLED / MANIFEST).is_file():
        return BUNDLED
    if configured := os.environ.get("CXR_MODEL"):
        return Path(configured).expanduser().resolve()
    raise CxrError("No model to serve: serve a bento, or set CXR_MODEL to the folder of a model package.")


def require_promoted(folder: Path, manifest: PackageManifest) -> None:
    """Refuse a model that did not pass the promotion gate.

    Raises:
        CxrError: with the sentences of the rules that failed.
    """
    if not manifest.decision.passed:
        raise CxrError(f"{folder} did not pass the promotion gate: {manifest.decision.summary}")


def expected_labels(settings: Settings) -> tuple[str, ...] | None:
    """The label order that the service must have, where ``CXR_LABELS`` says one; None accepts the package's."""
    return settings.labels if "labels" in settings.model_fields_set else None


class Runtime:
    """What the routes of one process work with. Empty until :meth:`start`.

    Attributes:
        settings: the settings; those of the service and of image quality are used.
        keys: the API keys.
        predictor: the loaded model.
        batcher: the queue in front of it.
        secrets, audit, telemetry, review, limiter, cors: of the service that runs; None where it has none.
        limits: what a film must keep to.
    """

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.keys: KeyRing | None = None
        self.predictor: Predictor | None = None
        self.batcher: MicroBatcher[Outputs] | None = None
        self.secrets: Any = None
        self.audit: Any = None
        self.telemetry: Any = None
        self.review: Any = None
        self.limiter: Any = None
        self.cors: Any = None
        self.limits = QualitySettings()
        self._decoders: ThreadPoolExecutor | None = None

    def check(self) -> None:
        """Verify, before any process is started, that the service can run.

        Raises:
            CxrError: no key, no package, a package that is altered, does not fit this code, has other labels than
                ``CXR_LABELS``, or was not promoted; or the site's operating points are not of this model.
        """
        self.settings = load_settings()
        self.keys = KeyRing(key_file())
        self.keys.require_some()
        folder = package_folder()
        manifest = load_manifest(folder, expected_labels(self.settings))
        require_promoted(folder, manifest)
        open_parts(folder, manifest, self.settings.service.operating_points)

    def start(self) -> None:
        """Check, and load the model.

        Raises:
            CxrError: as :meth:`check`, or the engine cannot run the model.
        """
        self.check()
        assert self.settings is not None
        service = self.settings.service
        inference = service.inference
        folder, threads = package_folder(), max(1, usable_cores() // service.workers)
        engine: str = inference.engine
        if engine == "auto":
            assert service.state_dir is not None  # load_settings has made it absolute
            engine = choose_engine(folder, inference.precision, threads, service.state_dir / _CHOICES)
        predictor = Predictor.load(
            folder,
            threads,
            service.low_confidence,
            low_contrast_std=service.low_contrast_std,
            engine=engine,
            precision=inference.precision,
            labels=expected_labels(self.settings),
            operating_points=service.operating_points,
        )
        self.limits = self.settings.quality.model_copy(
            update={"min_side": service.min_side, "max_side": service.max_side}
        )
        # As many films at once as there are cores: more would only hold more decoded pixels in memory.
        self._decoders = ThreadPoolExecutor(threads, "cxr-decode")
        self.batcher = MicroBatcher(
            predictor.rows, inference.max_batch, inference.queue, inference.patience_ms, _film_seconds(predictor)
        )
        self.predictor = predictor

    async def stop(self) -> None:
        """Answer the films that wait, refuse others, end the threads."""
        if self.batcher is not None:
            await self.batcher.close()
        if self._decoders is not None:
            self._decoders.shutdown(wait=False, cancel_futures=True)

    @property
    def service(self) -> ServiceSettings:
        """Settings of the service.

        Raises:
            RequestError: 503 ``not_ready`` until the model is loaded.
        """
        return self._ready()[2].service

    def loaded(self) -> Predictor:
        """The model.

        Raises:
            RequestError: 503 ``not_ready`` until it is loaded.
        """
        return self._ready()[0]

    async def predict(self, data: bytes, patient: bool = False) -> Answer:
        """Classify one file: decoded in one thread, run in another together with what else waits.

        Args:
            data: content of the file.
            patient: for the later films of one request: see :meth:`~bentoml_service.batching.MicroBatcher.reserve`.

        Raises:
            ImageRejected: the file cannot be used.
            RequestError: 503 ``overloaded`` or ``not_ready``.
        """
        predictor, batcher, _ = self._ready()
        with batcher.reserve(patient) as place:
            prepared = await self._prepare(predictor, data, place)
            row = await batcher.submit(prepared.frame, place)
            return predictor.answer(prepared, *row), prepared

    async def predict_all(self, files: Sequence[bytes]) -> list[Answer | CxrError]:
        """Classify the files of one request, in their order; as many on their way at once as there are decoders.

        Returns:
            For each file its answer, or why it has none.

        Raises:
            RequestError: 503 ``overloaded`` or ``not_ready``: there was no place for the first file.
        """
        slots = asyncio.Semaphore(usable_cores())

        async def one(data: bytes, patient: bool) -> Answer | CxrError:
            async with slots:
                try:
                    return await self.predict(data, patient)
                except CxrError as error:
                    return error

        first = await one(files[0], patient=False) if files else None
        if isinstance(first, RequestError) and first.status == 503:
            raise first
        rest = await asyncio.gather(*(one(data, patient=True) for data in files[1:]))
        return [first, *rest] if first is not None else []

    async def explain(
        self, data: bytes, label: str | None = None
    ) -> tuple[Prediction, Prepared, npt.NDArray[np.float32], str]:
        """Classify one file and show what speaks for a class.

        Args:
            data: content of the file.
            label: the class; default the predicted one.

        Returns:
            Prediction, film, heat map (size, size) float32 0-1, and the class that it is of.

        Raises:
            ImageRejected: the file cannot be used.
            RequestError: 404 ``part_missing``, 422 ``unknown_label``, 503 ``overloaded`` or ``not_ready``.
        """
        predictor, batcher, _ = self._ready()
        labels = predictor.manifest.labels
        if not predictor.can_explain:
            raise RequestError(404, "part_missing", "The model that is served cannot explain its predictions.")
        if label is not None and label not in labels:
            raise RequestError(422, "unknown_label", f"The label must be one of {', '.join(labels)}.")
        with batcher.reserve() as place:
            prepared = await self._prepare(predictor, data, place)
            found = predictor.answer(prepared, *await batcher.submit(prepared.frame, place))
            shown = label or found.label
            heat = await batcher.alone(predictor.explain, prepared.frame, labels.index(shown))
            return found, prepared, heat, shown

    async def _prepare(self, predictor: Predictor, data: bytes, place: Place) -> Prepared:
        assert self._decoders is not None  # made together with the predictor

        def decode() -> Prepared:
            place.wait_ended()
            return predictor.prepare(data, self.limits)

        work = self._decoders.submit(decode)
        place.hold(work)
        return await asyncio.wrap_future(work)

    def _ready(self) -> tuple[Predictor, MicroBatcher[Outputs], Settings]:
        if self.predictor is None or self.batcher is None or self.settings is None:
            raise RequestError(503, "not_ready", "The model is being loaded: try again in a few seconds.")
        return self.predictor, self.batcher, self.settings


def _film_seconds(predictor: Predictor) -> float:
    """What the network takes for one film alone: a first guess for the queue."""
    size = predictor.manifest.preprocessing.size
    started = time.monotonic()
    predictor.logits(np.zeros((1, size, size), np.uint8))
    return time.monotonic() - started
