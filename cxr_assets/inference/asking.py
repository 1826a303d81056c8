"""The model that a folder job asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_core.errors import CxrError

if TYPE_CHECKING:
    from cxr_assets.inference.jobs import PredictFolder
    from cxr_core.client.models import FilmModel
    from cxr_core.settings import Settings

__all__ = ["asked_model"]


@contextmanager
def asked_model(config: PredictFolder, settings: Settings) -> Iterator[FilmModel]:
    """The service that the configuration names, else a package on this machine.

    Raises:
        CxrError: both are named, there is no key, or no package.
    """
    if config.url and config.package:
        raise CxrError("The job names a url and a package: leave one of them out.")
    if not config.url:
        from cxr_core.client.models import LocalModel
        from cxr_core.predict_command import released_package

        yield LocalModel(released_package(settings, Path(config.package) if config.package else None), settings)
        return
    from cxr_core.client.client import Client
    from cxr_core.client.models import ServedModel
    from cxr_core.client.retries import PATIENT
    from cxr_core.client.secret import find_key

    limits = settings.service
    with Client(config.url, find_key(), ca=config.ca or None, retries=PATIENT, max_files=limits.max_files) as client:
        yield ServedModel(client, limits.max_bytes)
