"""The model package: one folder with everything that a prediction depends on, each file under its digest.

``manifest.json`` is written last, so a folder without it is no package. A package is never changed once written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import ValidationError

from cxr_core import NOTICE
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.imaging.preprocess import Preprocessing, reference_film
from cxr_core.release.decision import GateDecision
from cxr_core.release.manifest import (
    FORMAT,
    MANIFEST,
    ONNX,
    REFERENCE,
    WEIGHTS,
    PackageManifest,
    first_problem,
    read_manifest,
)

__all__ = ["MANIFEST", "ONNX", "REFERENCE", "WEIGHTS", "PackageManifest", "load_manifest", "read_part", "write_package"]


def write_package(
    folder: Path,
    *,
    name: str,
    version: str,
    labels: Sequence[str],
    backbone: str,
    dropout: float,
    preprocessing: Preprocessing,
    metrics: Mapping[str, Any],
    data: Mapping[str, Any],
    gate: GateDecision | Mapping[str, Any],
    onnx_bytes: bytes,
    weights_bytes: bytes,
    export: Mapping[str, Any],
) -> PackageManifest:
    """Write a package; equal arguments give equal bytes.

    Args:
        folder: made if it is not there; must not hold a package yet.
        onnx_bytes: input ``input`` float32 (n, 3, size, size), output ``logits`` float32 (n, number of labels).
        weights_bytes: ``torch.save`` of the state dict.
        (others): see :class:`PackageManifest`.

    Raises:
        CxrError: the folder holds a package, a value cannot be written as JSON, or the disk refuses.
    """
    from cxr_core.store import write_atomically  # brings pandas, which a reader of packages does not need

    if (folder / MANIFEST).exists():
        raise CxrError(f"{folder} holds a model package already: write the new one into an empty folder.")
    contents = {ONNX: onnx_bytes, WEIGHTS: weights_bytes, REFERENCE: _reference_png(preprocessing)}
    try:
        manifest = PackageManifest(
            format=FORMAT,
            name=name,
            version=version,
            notice=NOTICE,
            labels=tuple(labels),
            backbone=backbone,
            dropout=dropout,
            preprocessing=preprocessing,
            preprocessing_digest=preprocessing.digest,
            metrics=dict(metrics),
            data=dict(data),
            files={file: digest_bytes(content) for file, content in contents.items()},
            export=dict(export),
            gate=gate.model_dump(mode="json") if isinstance(gate, GateDecision) else dict(gate),
            parts={},
        )
        text = manifest.content
    except ValidationError as error:
        raise CxrError(f"Model package, {first_problem(error)}.") from error
    except (ValueError, TypeError) as error:
        raise CxrError(
            f"Model package: metrics, data and export must be plain finite JSON values ({error})."
        ) from error
    for file, content in contents.items():
        write_atomically(folder / file, content)
    write_atomically(folder / MANIFEST, text)
    return load_manifest(folder, labels)


def load_manifest(folder: Path, labels: Sequence[str] | None = None) -> PackageManifest:
    """Read a package's manifest and verify the whole package.

    Args:
        folder: the package.
        labels: the label order that the caller relies on; ``None`` accepts any.

    Raises:
        CxrError: no package, another format, a file missing or altered, other labels, or a preprocessing that this
            code or this machine does not reproduce.
    """
    path = folder / MANIFEST
    manifest = read_manifest(folder)
    if labels is not None and tuple(labels) != manifest.labels:
        raise CxrError(
            f"{path} has labels {', '.join(manifest.labels)} but {', '.join(labels)} are expected, in this order."
        )
    digest = manifest.preprocessing.digest
    if digest != manifest.preprocessing_digest:
        raise CxrError(
            f"{path} was made with preprocessing {manifest.preprocessing_digest} but this code gives {digest}: "
            "use the code that made the package, or package the model again."
        )
    for name in sorted(manifest.files):
        read_part(folder, manifest, name)
    for part, name in manifest.parts.items():
        if name not in manifest.files:
            raise CxrError(f"{path}: part {part} names {name}, which is not among its files: package the model again.")
    manifest.preprocessing.check_reference(_read_png(read_part(folder, manifest, REFERENCE), folder / REFERENCE))
    return manifest


def read_part(folder: Path, manifest: PackageManifest, name: str) -> bytes:
    """Content of one file of a package, verified in the same read.

    Raises:
        CxrError: the file is missing or is not the one that was packaged.
    """
    path = folder / name
    with explain_os_errors(path, "reading a model package"):
        content = path.read_bytes()
    found = digest_bytes(content)
    if found != manifest.files[name]:
        raise CxrError(
            f"{path} has SHA-256 {found} but {MANIFEST} says {manifest.files[name]}: copy the package again."
        )
    return content


def _reference_png(preprocessing: Preprocessing) -> bytes:
    encoded = cv2.imencode(".png", preprocessing.frame(reference_film()))[1]
    return bytes(encoded.tobytes())


def _read_png(data: bytes, path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise CxrError(f"{path} is not a PNG image: package the model again.")
    return np.asarray(image, np.uint8)
