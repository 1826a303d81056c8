"""What a running service works with beside the model: secrets, audit trail, telemetry, review queue, limits."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
from pathlib import Path

import anyio.to_thread

from bentoml_service.audit_log import AuditTrail, AuditUnavailable
from bentoml_service.headers import Cors
from bentoml_service.inference import Runtime
from bentoml_service.permissions import ROUTES
from bentoml_service.rate_limits import RateLimiter
from bentoml_service.review.queue import ReviewQueue
from bentoml_service.secret_keys import Secrets, load_secrets
from bentoml_service.telemetry import Telemetry
from cxr_core.errors import explain_os_errors
from cxr_core.settings_service import ServiceSettings

__all__ = ["check", "start", "stop"]

_logger = logging.getLogger("cxr.service")


def check(runtime: Runtime) -> None:
    """Verify, before any process is started, that the service can run.

    Raises:
        CxrError: as :meth:`Runtime.check`; or no secrets, a folder that cannot be written, an origin
            or a limit that is none.
    """
    runtime.check()
    load_secrets()
    Cors(_settings(runtime).cors_origins)
    _folder(_settings(runtime))
    RateLimiter(_settings(runtime)).close()


def start(runtime: Runtime) -> None:
    """Load the model and open what the service keeps. A trail that cannot be written keeps the service unready, alive.

    Raises:
        CxrError: as :func:`check`.
    """
    runtime.start()
    settings, identity = _settings(runtime), runtime.loaded().identity
    folder, secrets = _folder(settings), load_secrets()
    runtime.secrets = secrets
    runtime.cors = Cors(settings.cors_origins)
    runtime.limiter = RateLimiter(settings, _address_key(secrets))
    templates = [route.template for route in ROUTES]
    runtime.telemetry = Telemetry(folder / "telemetry.sqlite", settings.telemetry, identity, templates)
    if settings.review.enabled:
        runtime.review = ReviewQueue(folder / "review.sqlite", secrets.cipher, settings.review)
    runtime.audit = AuditTrail(folder / "audit.sqlite", secrets, settings.audit)
    try:
        runtime.audit.open()
    except AuditUnavailable as error:
        _logger.error("%s", error)


async def stop(runtime: Runtime) -> None:
    """Answer the films that wait, write what is left, close the files."""
    await runtime.stop()
    for opened in (runtime.audit, runtime.telemetry, runtime.review, runtime.limiter):
        if opened is not None:
            await anyio.to_thread.run_sync(opened.close)


def _settings(runtime: Runtime) -> ServiceSettings:
    assert runtime.settings is not None  # Runtime.check has loaded them
    return runtime.settings.service


def _folder(settings: ServiceSettings) -> Path:
    assert settings.state_dir is not None  # load_settings has made it absolute
    with explain_os_errors(settings.state_dir, "making the folder of the service's state"):
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = settings.state_dir / ".writable"
        probe.touch(mode=0o600)
    with contextlib.suppress(FileNotFoundError):  # another worker was faster
        probe.unlink()
    return settings.state_dir


def _address_key(secrets: Secrets) -> bytes:
    """Key under which client addresses are counted, the same in every worker; it opens nothing else."""
    return hmac.digest(secrets.pseudonyms.active.value, b"cxr-client-addresses", hashlib.sha256)
