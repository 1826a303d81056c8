"""Before a network serves: does the engine compute what was packaged?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.probabilities import softmax
from cxr_core.modelling.tolerance import MAX_EXPORT_DIFFERENCE
from cxr_core.release.engines import OnnxRuntimeEngine, open_engine

__all__ = ["MAX_INT8_DIFFERENCE", "check_engine", "reference_frames", "reference_logits"]

Floats = npt.NDArray[np.floating]
Frame = npt.NDArray[np.uint8]

# Of a probability. Where a sum of products is rounded to 8 bits differs by processor and library: OpenVINO and ONNX
# Runtime differ by .01 on one machine (measured, lite0). A processor that saturates the sums is off by far more.
MAX_INT8_DIFFERENCE = 0.02
_DIGITS = 6  # of a logit; what comes after differs by processor


def reference_logits(network: bytes, tensor: npt.NDArray[np.float32], threads: int | None = None) -> list[list[float]]:
    """Logits (n, classes) of network input (n, 3, size, size), by ONNX Runtime on the CPU, as JSON values."""
    logits = open_engine(OnnxRuntimeEngine.name, network, threads).run(tensor).logits
    return [[round(float(value), _DIGITS) for value in row] for row in logits]


def reference_frames(frame: Frame) -> Frame:
    """Frames to compare engines on, (3, size, size): one frame could be equal by chance, as 8-bit sums often are.

    Args:
        frame: (size, size) uint8, the package's reference frame; the others are its mirror image and its negative.
    """
    return np.stack([frame, frame[:, ::-1], 255 - frame])


def check_engine(
    engine: str, precision: str, found: Floats, packaged: Sequence[Sequence[float]] | None, here: Floats
) -> None:
    """Refuse an engine that computes something else.

    Args:
        engine: its name.
        precision: ``fp32`` or ``int8``.
        found: (3, classes) its logits of :func:`reference_frames`.
        packaged: those of ONNX Runtime where the package was made; None in older packages.
        here: those of ONNX Runtime on this machine.

    Raises:
        CxrError: the engine differs from ONNX Runtime here by more than 1e-4; or, where the package says what it had,
            from that by more than 1e-4 (``fp32``), or by more than .02 of a probability (``int8``).
    """
    _require(engine, float(np.abs(found - here).max()), MAX_EXPORT_DIFFERENCE, "ONNX Runtime on this machine")
    if packaged is None:
        return
    try:
        expected = np.asarray(packaged, np.float64)
    except (ValueError, TypeError) as error:
        raise CxrError("The reference logits of the package are no table of numbers: package it again.") from error
    if expected.shape != found.shape:
        raise CxrError(f"The package has reference logits of shape {expected.shape}: package the model again.")
    where = "the machine that packaged it"
    if precision == "fp32":
        _require(engine, float(np.abs(found - expected).max()), MAX_EXPORT_DIFFERENCE, where)
    else:
        change = np.abs(softmax(found) - softmax(expected)).max()
        _require(engine, float(change), MAX_INT8_DIFFERENCE, where)


def _require(engine: str, difference: float, limit: float, where: str) -> None:
    if not difference <= limit:
        raise CxrError(
            f"The engine {engine} differs from {where} by {difference:.2g} on the reference frames, more than "
            f"{limit:g}: set service.inference.engine to onnxruntime and service.inference.precision to fp32."
        )
