"""Part ``explain``: heat maps out of the exported network itself, without torch (report 6.1).

With a linear head after global average pooling, Grad-CAM at the map that is pooled equals the class activation map
(Zhou et al., CVPR 2016; TRAPS 15): the head's weights applied to each position. The part is a fragment of an ONNX
model, a few hundred bytes: one 1 x 1 convolution of the pooled map with the head's weights. Protocol buffers merge
when they are joined (protobuf.dev, Encoding, "Last One Wins"), so the network followed by the fragment is the network
with a second output; the weights are in the package once, and the network that only predicts stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from cxr_core.errors import CxrError
from cxr_core.release.manifest import ONNX, PackageManifest
from cxr_core.release.parts.base import OpenFile, Part, read_record

__all__ = ["EXPLAIN_FILE", "FRAGMENT", "MAPS", "ExplainPart", "ExplainRecord", "heat_map"]

EXPLAIN_FILE = "explain.json"
FRAGMENT = "explain.onnx"
MAPS = "class_maps"  # output (n, classes, rows, columns): evidence for each class at each position, without bias
_SMALLEST = 1e-7  # added to a map's maximum before dividing, as grad-cam 1.5.7 does

Floats = npt.NDArray[np.float32]


class ExplainRecord(BaseModel):
    """Content of ``explain.json``.

    Attributes:
        method: what the maps are.
        layer: module of the network whose output is pooled, and explained.
        network: file with the fragment.
        films: on how many films the maps were compared with Grad-CAM.
        max_abs_difference: largest difference from Grad-CAM of a pixel on them, maps scaled to 0-1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    layer: str
    network: str
    films: int = Field(ge=1)
    max_abs_difference: float = Field(ge=0, allow_inf_nan=False)


class ExplainPart(Part):
    """Heat maps of single frames.

    Attributes:
        record: what the part says of itself.
        network: the file to load: input ``input``, outputs ``logits`` and ``class_maps``.
    """

    name = "explain"
    file = EXPLAIN_FILE
    title = "Heat map of what speaks for a class, for POST /predict/explain."

    def __init__(self, record: ExplainRecord, network: Callable[[], bytes]) -> None:
        self.record = record
        self.network = network

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> ExplainPart:
        """Load the record and see that the fragment is there."""
        record = read_record(ExplainRecord, data, EXPLAIN_FILE)
        if record.network not in manifest.files:
            raise CxrError(f"{EXPLAIN_FILE} names {record.network}, which is not in the package: package it again.")
        return cls(record, lambda: open_file(ONNX) + open_file(record.network))

    def summary(self) -> dict[str, Any]:
        """Method, layer, and how near the maps were to Grad-CAM."""
        return self.record.model_dump(exclude={"network"})


def heat_map(evidence: Floats, size: int) -> Floats:
    """A class's map as a picture, by the steps of the package grad-cam.

    Args:
        evidence: (rows, columns) float32, one class of ``class_maps``.
        size: side of the frame, pixels.

    Returns:
        (size, size) float32: negative evidence is cut off, then each map is scaled to 0-1 by its own range; all zero
        where nothing speaks for the class.
    """
    small = _scaled(np.maximum(evidence, 0) / evidence.size)  # Grad-CAM's weights are means over the positions
    return _scaled(np.maximum(cv2.resize(small, (size, size)), 0))


def _scaled(values: Any) -> Floats:
    shifted = values - values.min()
    return np.asarray(shifted / (_SMALLEST + shifted.max()), np.float32)
