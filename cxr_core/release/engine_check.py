"""Before a network serves: does the engine compute what was packaged?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.modelling.tolerance import MAX_EXPORT_DIFFERENCE
from cxr_core.release.engines import OnnxRuntimeEngine, open_engine
from cxr_core.release.prediction import softmax

__all__ = ["MAX_INT8_DIFFERENCE", "check_engine", "reference_logits"]

Floats = npt.NDArray[np.floating]

# Of a probability. Where a sum of products is rounded to 8 bits differs by processor and library: OpenVINO and ONNX
# Runtime differ by .01 on one machine (measured, lite0). A processor that saturates the sums is off by far more.
MAX_INT8_DIFFERENCE = 0.02
_DIGITS = 6  # of a logit; what comes after differs by processor


def reference_logits(network: bytes, tensor: npt.NDArray[np.float32], threads: int | None = None) -> list[float]:
    """Logits of the reference frame, (1, 3, size, size) as network input, by ONNX Runtime on the CPU."""
    logits = open_engine(OnnxRuntimeEngine.name, network, threads).run(tensor)[0]
    return [round(float(value), _DIGITS) for value in logits]


def check_engine(engine: str, precision: str, found: Floats, packaged: Sequence[float] | None, here: Floats) -> None:
    """Refuse an engine that computes something else.

    Args:
        engine: its name.
        precision: ``fp32`` or ``int8``.
        found: (classes,) its logits of the reference frame.
        packaged: those of ONNX Runtime where the package was made; None in older packages.
        here: those of ONNX Runtime on this machine.

    Raises:
        CxrError: the engine differs from ONNX Runtime here by more than 1e-4; or, where the package says what it had,
            from that by more than 1e-4 (``fp32``), or by more than .02 of a probability (``int8``).
    """
    _require(engine, float(np.abs(found - here).max()), MAX_EXPORT_DIFFERENCE, "ONNX Runtime on this machine")
    if packaged is None:
        return
    expected = np.asarray(packaged, np.float64)
    if expected.shape != found.shape:
        raise CxrError(f"The package has reference logits of shape {expected.shape}: package the model again.")
    where = "the machine that packaged it"
    if precision == "fp32":
        _require(engine, float(np.abs(found - expected).max()), MAX_EXPORT_DIFFERENCE, where)
    else:
        change = np.abs(softmax(found[None]) - softmax(expected[None])).max()
        _require(engine, float(change), MAX_INT8_DIFFERENCE, where)


def _require(engine: str, difference: float, limit: float, where: str) -> None:
    if not difference <= limit:
        raise CxrError(
            f"The engine {engine} differs from {where} by {difference:.2g} on the reference frame, more than "
            f"{limit:g}: set service.inference.engine to onnxruntime and service.inference.precision to fp32."
        )
