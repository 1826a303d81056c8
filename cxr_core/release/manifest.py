"""What a model package says of itself: the content of its ``manifest.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from cxr_core.digests import digest_bytes, digest_json
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.release.decision import GateDecision

__all__ = [
    "FORMAT",
    "MANIFEST",
    "ONNX",
    "REFERENCE",
    "REFERENCE_LOGITS",
    "WEIGHTS",
    "PackageManifest",
    "first_problem",
    "model_digest",
    "read_manifest",
]

MANIFEST = "manifest.json"
ONNX = "model.onnx"
WEIGHTS = "weights.pt"
REFERENCE = "preprocessing_reference.png"
REFERENCE_LOGITS = "reference_logits"  # key in ``export``: logits of the reference frames by ONNX Runtime

FORMAT: Final = 1  # raise it whenever an older reader would misread the folder
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # plain names: a package never reaches outside its folder


class PackageManifest(BaseModel):
    """What a package says of itself.

    Attributes:
        format: version of the folder's layout.
        name, version: of the model; the version is MAJOR.MINOR.PATCH (report 7.5).
        notice: the research-use notice.
        labels: class names in the order of the outputs.
        backbone: timm name of the network.
        dropout: before the linear head, 0-1.
        preprocessing: parameters of the one preprocessing.
        preprocessing_digest: its digest in the code that trained the model.
        metrics: test metrics by name.
        data: digests of the data that the model was made from, by name.
        files: SHA-256 of every other file of the folder, by file name.
        export: ``opset`` and ``max_abs_difference`` of the ONNX export; in newer packages also ``reference_logits``,
            the logits of the reference frames, and ``left_out``, name of a part to why the model has none.
        gate: the promotion gate's decision, ``passed`` and ``rules``; see :class:`GateDecision`.
        parts: optional further parts, name to file name; see :mod:`cxr_core.release.parts`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")  # NaN stays, so it is refused

    format: Literal[1]
    name: str
    version: str
    notice: str
    labels: tuple[str, ...]
    backbone: str
    dropout: float
    preprocessing: Preprocessing
    preprocessing_digest: str
    metrics: dict[str, Any]
    data: dict[str, Any]
    files: dict[str, str]
    export: dict[str, Any]
    gate: dict[str, Any]
    parts: dict[str, str]

    @field_validator("files")
    @classmethod
    def _plain_and_complete(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if not _FILE_NAME.fullmatch(name):
                raise ValueError(f"file name {name!r} is not a plain name")
        if missing := {ONNX, WEIGHTS, REFERENCE} - set(files):
            raise ValueError(f"{', '.join(sorted(missing))} is not listed")
        return files

    @field_validator("gate")
    @classmethod
    def _a_decision(cls, gate: dict[str, Any]) -> dict[str, Any]:
        # What was not written stays unwritten, so that the digest of an older package is what it was.
        return GateDecision.model_validate(gate).model_dump(mode="json", exclude_unset=True)

    @property
    def decision(self) -> GateDecision:
        """The promotion gate's decision as an object."""
        return GateDecision.model_validate(self.gate)

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False).encode()

    @property
    def digest(self) -> str:
        """Digest of the whole package, 64 hexadecimal digits: the manifest covers every file by its own digest."""
        return digest_bytes(self.content)

    @property
    def model(self) -> str:
        """Digest of what predicts, whatever was measured or decided of it: see :func:`model_digest`."""
        return model_digest(self.labels, self.backbone, self.preprocessing_digest, self.files[WEIGHTS])


def model_digest(labels: Sequence[str], backbone: str, preprocessing_digest: str, weights_digest: str) -> str:
    """Digest of what decides a model's predictions, 64 hexadecimal digits; equal for two packages of one model."""
    return digest_json([list(labels), backbone, preprocessing_digest, weights_digest])


def read_manifest(folder: Path) -> PackageManifest:
    """What a package says of itself, without a look at its other files; :func:`load_manifest` verifies them.

    Raises:
        CxrError: no package, or another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CxrError(f"{folder} holds no {MANIFEST}: give the folder of a model package.")
    with explain_os_errors(path, "reading"):
        text = path.read_bytes()
    try:
        values = json.loads(text)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise CxrError(
                f"{path} has format {values.get('format')!r}, this version reads {FORMAT}: package the model again."
            )
        manifest = PackageManifest.model_validate(values)
    except ValidationError as error:
        raise CxrError(f"{path}, {first_problem(error)}: package the model again.") from error
    except ValueError as error:
        raise CxrError(f"{path} is not JSON: copy the package again.") from error
    return manifest


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a manifest, field and reason."""
    first = error.errors()[0]
    return f"field {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
