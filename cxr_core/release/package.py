"""The model package: one folder with everything that a prediction depends on, each file under its digest.

``manifest.json`` is written last, so a folder without it is no package. A package is never changed once written.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
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
from cxr_core.release.parts import PARTS, Part
from cxr_core.release.parts.calibration import CalibrationPart
from cxr_core.release.parts.operating_points import OperatingPointsPart

__all__ = [
    "MANIFEST",
    "ONNX",
    "REFERENCE",
    "WEIGHTS",
    "PackageManifest",
    "load_manifest",
    "open_parts",
    "read_part",
    "write_package",
]

_logger = logging.getLogger("cxr")


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
    parts: Mapping[str, Mapping[str, bytes]] | None = None,
    documents: Mapping[str, bytes] | None = None,
) -> PackageManifest:
    """Write a package; equal arguments give equal bytes.

    Args:
        folder: made if it is not there; must not hold a package yet.
        onnx_bytes: input ``input`` float32 (n, 3, size, size), output ``logits`` float32 (n, number of labels).
        weights_bytes: ``torch.save`` of the state dict.
        parts: optional parts by name, each as its files: name to content; the part's own file is among them.
        documents: for readers, name to content, such as the model card; nothing that answers reads them.
        (others): see :class:`PackageManifest`.

    Raises:
        CxrError: the folder holds a package, a value cannot be written as JSON, a part is unknown or damaged, or the
            disk refuses.
    """
    from cxr_core.store import write_atomically  # brings pandas, which a reader of packages does not need

    if (folder / MANIFEST).exists():
        raise CxrError(f"{folder} holds a model package already: write the new one into an empty folder.")
    contents = {ONNX: onnx_bytes, WEIGHTS: weights_bytes, REFERENCE: _reference_png(preprocessing)}
    part_files = _add_parts(contents, parts or {})
    if taken := set(documents or {}) & set(contents):
        raise CxrError(f"Model package: the document {min(taken)} has the name of a file that is there already.")
    contents.update(documents or {})
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
            parts=part_files,
        )
        text = manifest.content
    except ValidationError as error:
        raise CxrError(f"Model package, {first_problem(error)}.") from error
    except (ValueError, TypeError) as error:
        raise CxrError(
            f"Model package: metrics, data and export must be plain finite JSON values ({error})."
        ) from error
    for part, file in part_files.items():
        PARTS[part].read(contents[file], contents.__getitem__, manifest)
    for file, content in contents.items():
        write_atomically(folder / file, content)
    write_atomically(folder / MANIFEST, text)
    return load_manifest(folder, labels)


def _add_parts(contents: dict[str, bytes], parts: Mapping[str, Mapping[str, bytes]]) -> dict[str, str]:
    """Add the parts' files; returns part name to the part's own file."""
    own: dict[str, str] = {}
    for name, files in sorted(parts.items()):
        if name not in PARTS or PARTS[name].file not in files:
            raise CxrError(f"Model package: part {name} is unknown or lacks its file: see cxr_core/release/parts.")
        if taken := set(files) & set(contents):
            raise CxrError(f"Model package: part {name} brings {min(taken)}, which is there already.")
        contents.update(files)
        own[name] = PARTS[name].file
    return own


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


def open_parts(folder: Path, manifest: PackageManifest, operating_points: Path | None = None) -> dict[str, Part]:
    """The optional parts of a package by name, loaded.

    A part that this code does not know is left alone, with a warning: what would change the meaning of the others
    raises the format instead.

    Args:
        folder: the package.
        manifest: its manifest.
        operating_points: a site's own thresholds, in place of the package's.

    Raises:
        CxrError: a part is damaged or does not fit the package.
    """
    open_file = partial(read_part, folder, manifest)
    parts: dict[str, Part] = {}
    for name, file in sorted(manifest.parts.items()):
        if name in PARTS:
            parts[name] = PARTS[name].read(open_file(file), open_file, manifest)
        else:
            _logger.warning("%s has a part %s, which this version does not know and does not use.", folder, name)
    if operating_points is not None:
        calibration = parts.get(CalibrationPart.name)
        temperature = calibration.scaling.temperature if isinstance(calibration, CalibrationPart) else 1.0
        parts[OperatingPointsPart.name] = OperatingPointsPart.of_site(operating_points, manifest, temperature)
    return parts


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
