"""From a model package to predictions: verified at start-up, run off the event loop."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import anyio.to_thread

from bentoml_service.problems import RequestError
from bentoml_service.security import KeyRing, key_file
from cxr_core.errors import CxrError
from cxr_core.release.package import MANIFEST, PackageManifest, load_manifest
from cxr_core.release.predictor import Prediction, Predictor
from cxr_core.settings import Settings, load_settings

__all__ = ["BUNDLED", "Runtime", "package_folder", "require_promoted"]

BUNDLED = Path(__file__).resolve().parent.parent / "model"  # where packaging puts the model inside a bento


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


class Runtime:
    """What the routes of one process work with. Empty until :meth:`start`.

    Attributes:
        settings: the settings; those of the service and of image quality are used.
        keys: the API keys.
        predictor: the loaded model.
    """

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.keys: KeyRing | None = None
        self.predictor: Predictor | None = None
        self._limiter: anyio.CapacityLimiter | None = None

    def check(self) -> None:
        """Verify, before any process is started, that the service can run.

        Raises:
            CxrError: no key, no package, a package that is altered or does not fit this code, or was not promoted.
        """
        self.settings = load_settings()
        self.keys = KeyRing(key_file())
        self.keys.require_some()
        folder = package_folder()
        require_promoted(folder, load_manifest(folder))

    def start(self) -> None:
        """Check, and load the model.

        Raises:
            CxrError: as :meth:`check`.
        """
        self.check()
        assert self.settings is not None
        low_confidence = self.settings.service.low_confidence
        self.predictor = Predictor.load(package_folder(), low_confidence=low_confidence)
        # As many films at once as there are cores: more would only hold more decoded pixels in memory.
        self._limiter = anyio.CapacityLimiter(os.cpu_count() or 1)

    @property
    def max_bytes(self) -> int:
        """Files must be smaller, bytes."""
        return self._ready()[1].service.max_bytes

    @property
    def body_seconds(self) -> float:
        """Within which a body must arrive."""
        return self._ready()[1].service.body_seconds

    def loaded(self) -> Predictor:
        """The model.

        Raises:
            RequestError: 503 ``not_ready`` until it is loaded.
        """
        return self._ready()[0]

    async def predict(self, data: bytes) -> Prediction:
        """Classify one file in a worker thread.

        Raises:
            ImageRejected: the file cannot be used.
            RequestError: 503 ``not_ready``.
        """
        predictor, settings = self._ready()
        service = settings.service
        limits = settings.quality.model_copy(update={"min_side": service.min_side, "max_side": service.max_side})
        return await anyio.to_thread.run_sync(predictor.predict, data, limits, limiter=self._limiter)

    def _ready(self) -> tuple[Predictor, Settings]:
        if self.predictor is None or self.settings is None:
            raise RequestError(503, "not_ready", "The model is being loaded: try again in a few seconds.")
        return self.predictor, self.settings
