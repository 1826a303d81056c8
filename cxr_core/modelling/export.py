"""The trained classifier as files: a state dict for PyTorch, ONNX for the service. Same weights, same bytes."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxr_core.errors import CxrError
from cxr_core.modelling.network import Classifier
from cxr_core.modelling.tolerance import MAX_EXPORT_DIFFERENCE

__all__ = ["INPUT_NAME", "OPSET", "OUTPUT_NAME", "OnnxExport", "export_onnx", "state_dict_bytes"]

INPUT_NAME = "input"
OUTPUT_NAME = "logits"
OPSET = 18  # the opset that torch's exporter writes without converting


@dataclass(frozen=True)
class OnnxExport:
    """An ONNX model and how near it is to PyTorch.

    Attributes:
        data: the model file: input ``input`` float32 (n, 3, side, side) with any n, output ``logits`` (n, classes).
        opset: ONNX operator set.
        max_abs_difference: largest difference of a logit between ONNX Runtime and PyTorch on the sample.
    """

    data: bytes
    opset: int
    max_abs_difference: float


def state_dict_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A ``.pt`` file of a state dict, readable with ``torch.load(weights_only=True)``; equal tensors, equal bytes."""
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    buffer = BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()


def export_onnx(model: Classifier, sample: npt.NDArray[np.float32]) -> OnnxExport:
    """Export in evaluation mode and compare with PyTorch; the model is left as it is.

    Args:
        model: the trained classifier.
        sample: (n, 3, side, side) float32, n >= 1: network input of real films; its side becomes the model's.

    Raises:
        CxrError: the export fails, or its logits differ from PyTorch's by more than 1e-4 on the sample.
    """
    twin = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format).eval()
    data = _strip(_export(twin, torch.zeros(2, *sample.shape[1:])))
    with torch.inference_mode():
        expected = twin(torch.from_numpy(sample)).numpy()
    difference = float(np.abs(_run(data, sample) - expected).max())
    if not difference <= MAX_EXPORT_DIFFERENCE:
        raise CxrError(
            f"ONNX logits of {model.backbone_name} differ from PyTorch's by {difference:.2g}, more than "
            f"{MAX_EXPORT_DIFFERENCE:g}: install the versions of requirements.lock."
        )
    return OnnxExport(data, OPSET, difference)


def _export(model: Classifier, example: Tensor) -> Any:
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever the network's code raised
        raise CxrError(
            f"{model.backbone_name} cannot be exported to ONNX ({type(error).__name__}): choose another."
        ) from error
    assert program is not None  # with dynamo=True
    return program.model_proto


def _strip(proto: Any) -> bytes:
    """Serialise without the exporter's stack traces, which name this machine's folders."""
    for holder in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    for value in (*proto.graph.input, *proto.graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _run(data: bytes, sample: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT_NAME], {INPUT_NAME: sample})
    return np.asarray(logits, np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about its own passes out of the log."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
