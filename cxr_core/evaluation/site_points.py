"""Operating points of a site's own: what ``cxr fit-points`` writes and the service reads.

The same threshold finds other shares of the sick elsewhere: other machines, other patients, other prevalence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.evaluation.operating_points_record import OperatingPoints

__all__ = ["LeftOut", "SitePoints", "load_site_points", "read_site_points"]


class LeftOut(BaseModel):
    """A film that had no part in the fit: its image_id (empty where it was not read) and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str
    label: str
    code: str
    reason: str


class SitePoints(BaseModel):
    """Operating points fitted at a site.

    Attributes:
        format: of this file.
        notice: the research-use notice.
        model_digest: of what predicts (``PackageManifest.model``): equal for two packages of one model, whatever else
            they carry; the temperature is in ``points``.
        package_digest: SHA-256 of the very package that predicted, as answers give it.
        preprocessing_digest: of the preprocessing.
        model: name and version, for people.
        precision: of the network that predicted.
        files: films in the folder; those that are not in ``points`` are in ``left_out``.
        points: the thresholds, under their own digest.
        left_out: films that could not be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    notice: str
    model_digest: str
    package_digest: str
    preprocessing_digest: str
    model: str
    precision: str
    files: int
    points: OperatingPoints
    left_out: tuple[LeftOut, ...] = ()

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False).encode()


def read_site_points(path: Path) -> SitePoints:
    """What a site's file says.

    Raises:
        CxrError: it is not there, is no such file, or was changed after it was written.
    """
    with explain_os_errors(path, "reading the site's operating points"):
        data = path.read_bytes()
    try:
        return SitePoints.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CxrError(
            f"{path}{f', field {field}' if field else ''}: {first['msg'].removeprefix('Value error, ')}; "
            "write it again by cxr fit-points."
        ) from error


def load_site_points(path: Path, model_digest: str) -> OperatingPoints:
    """A site's thresholds, refused where they are of another model.

    Args:
        path: the file that ``cxr fit-points`` wrote.
        model_digest: of what predicts here, ``PackageManifest.model``.

    Raises:
        CxrError: as :func:`read_site_points`, or the thresholds are of another model.
    """
    found = read_site_points(path)
    if found.model_digest != model_digest:
        raise CxrError(
            f"{path}, field model_digest: the points were fitted for model {found.model_digest[:12]} ({found.model}), "
            f"but {model_digest[:12]} answers here; fit them again by cxr fit-points with the package in service."
        )
    return found.points
