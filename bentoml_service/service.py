"""The BentoML service ``cxr``: mounts the app behind the guard, and nothing else.

``bentoml serve bentoml_service.service:CXR`` with ``CXR_MODEL`` set, or ``bentoml serve TAG`` of a bento.
"""

from __future__ import annotations

import logging
import os

os.environ["BENTOML_DO_NOT_TRACK"] = "true"  # before the import; BentoML takes no other value for yes
# BentoML makes spans for each request, which cost time; who collects them sets this to false.
os.environ.setdefault("OTEL_SDK_DISABLED", "true")

import bentoml
from bentoml.exceptions import BentoMLException

from bentoml_service import wiring
from bentoml_service.app import create_app
from bentoml_service.guard import Guard
from bentoml_service.inference import Runtime
from bentoml_service.tls import require_tls_1_3
from cxr_core.errors import CxrError
from cxr_core.settings import load_settings

__all__ = ["CXR"]

_SECONDS = 90.0  # for one request: a slow upload is refused after 60, by us and not by BentoML

_logger = logging.getLogger("cxr.service")
_logger.setLevel(logging.INFO)  # the root logger of BentoML shows warnings only

require_tls_1_3()  # before the server opens its context; without a certificate it does nothing

_runtime = Runtime()


def _workers() -> int:
    try:
        return load_settings().service.workers
    except CxrError:
        return 1  # the check below says what is wrong, in one sentence


@bentoml.service(
    name="cxr",
    workers=_workers(),
    traffic={"timeout": _SECONDS},
    metrics={"enabled": False},  # BentoML labels its series with raw paths, which may name a patient
    logging={"access": {"enabled": False}},  # for the same reason; the guard logs known routes
)
@bentoml.asgi_app(create_app(_runtime), path="/")
class CXR:
    """Answers for one model package."""

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Refuse to start, in the parent process and with one sentence, what could not answer."""
        try:
            wiring.check(_runtime)
        except CxrError as error:
            raise BentoMLException(str(error)) from error

    def __init__(self) -> None:
        wiring.start(_runtime)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answer what waits and close the files."""
        await wiring.stop(_runtime)


CXR.add_asgi_middleware(Guard, runtime=_runtime)  # type: ignore[attr-defined]  # the decorator made it a Service
