"""Which network of a package answers, and what it must compute on the reference frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.release.manifest import ONNX, REFERENCE, REFERENCE_LOGITS, PackageManifest
from cxr_core.release.package import read_part
from cxr_core.release.parts import Part
from cxr_core.release.parts.embedding import EmbeddingPart
from cxr_core.release.parts.int8 import Int8Part

__all__ = ["network_of", "packaged_logits", "reference_frame"]


def network_of(folder: Path, manifest: PackageManifest, parts: Mapping[str, Part], precision: str) -> bytes:
    """Content of the network to run; with the embedding as its second output where the package has that part.

    Args:
        folder: the package.
        manifest: its manifest.
        parts: its loaded parts.
        precision: ``fp32`` or ``int8``.

    Raises:
        CxrError: the package has no network of that precision.
    """
    network = _stored(folder, manifest, parts, precision)
    part = parts.get(EmbeddingPart.name)
    return part.extended(network, precision) if isinstance(part, EmbeddingPart) else network


def _stored(folder: Path, manifest: PackageManifest, parts: Mapping[str, Part], precision: str) -> bytes:
    if precision == "fp32":
        return read_part(folder, manifest, ONNX)
    if not isinstance(part := parts.get(precision), Int8Part):
        raise CxrError(f"{folder} has no {precision} network: set service.inference.precision to fp32.")
    return part.network()


def reference_frame(folder: Path, manifest: PackageManifest) -> npt.NDArray[np.uint8]:
    """The packaged frame, whose pixels are the same on every machine.

    :func:`~cxr_core.release.package.load_manifest` has seen that it is one.
    """
    return np.asarray(cv2.imdecode(np.frombuffer(read_part(folder, manifest, REFERENCE), np.uint8), -1), np.uint8)


def packaged_logits(manifest: PackageManifest, parts: Mapping[str, Part], precision: str) -> list[list[float]] | None:
    """Logits of the reference frames where the package was made; None in older packages."""
    if isinstance(part := parts.get(precision), Int8Part):
        return part.record.reference_logits
    return manifest.export.get(REFERENCE_LOGITS)
