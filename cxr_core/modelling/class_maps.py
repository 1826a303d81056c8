"""Class activation maps inside the exported network: the part ``explain`` of a model package.

See :mod:`cxr_core.release.parts.explain` for what the part is. Here it is made, and compared with Grad-CAM.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cxr_core.errors import CxrError
from cxr_core.explain.gradcam import gradcam
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.export import INPUT_NAME, OUTPUT_NAME
from cxr_core.modelling.network import Classifier
from cxr_core.release.engines import cpu_session
from cxr_core.release.parts.explain import EXPLAIN_FILE, FRAGMENT, MAPS, ExplainRecord, heat_map

__all__ = ["MAX_MAP_DIFFERENCE", "NotExplainable", "class_maps_part", "pooled_module"]

MAX_MAP_DIFFERENCE = 1e-3  # of a heat map's 0-1, from Grad-CAM: less than one of 256 grey levels
_LOGIT_TOLERANCE = 1e-4  # of the mean of a class's map plus the head's bias from its logit, relative to the largest
_FAINT = 1e-3  # evidence, in logits: a map whose largest value is below it holds rounding only, and is not compared
_PASS = ("Reshape", "Flatten", "Squeeze", "Identity", "Dropout")  # between pooling and head: they change no value

Floats = npt.NDArray[np.float32]


class NotExplainable(CxrError):
    """The network has no linear head right after global average pooling, so its class maps are no explanation."""


def class_maps_part(
    model: Classifier, network: bytes, frames: npt.NDArray[np.uint8], preprocessing: Preprocessing
) -> dict[str, bytes]:
    """Files of the part ``explain``.

    Args:
        model: the trained classifier.
        network: its exported network.
        frames: (n, size, size) uint8, n >= 1: films on which the maps are compared with Grad-CAM, for every class.
        preprocessing: of the frames.

    Raises:
        NotExplainable: the head is not linear after global average pooling.
        CxrError: the maps differ from Grad-CAM by more than 1e-3, or their mean is not the logit.
    """
    head, pooled = _find_head(onnx.load_from_string(network).graph)
    fragment = _fragment(head, pooled)
    tensor = preprocessing.tensor(frames)
    layer = pooled_module(model, torch.from_numpy(tensor[:1]))
    session = cpu_session(network + fragment, None, (OUTPUT_NAME, MAPS))
    logits, maps = session.run([OUTPUT_NAME, MAPS], {INPUT_NAME: tensor})
    bias = model.head.bias.detach().cpu().numpy()
    off = float(np.abs(maps.mean(axis=(2, 3)) + bias - logits).max()) / max(1.0, float(np.abs(logits).max()))
    if not off <= _LOGIT_TOLERANCE:
        raise CxrError(f"Class maps of {model.backbone_name} do not add up to its logits: they are off by {off:.2g}.")
    difference = _difference_from_gradcam(model, maps, frames, preprocessing, layer)
    if not difference <= MAX_MAP_DIFFERENCE:
        raise CxrError(
            f"Class maps of {model.backbone_name} differ from Grad-CAM by {difference:.2g}, more than "
            f"{MAX_MAP_DIFFERENCE:g}: install the versions of requirements.lock."
        )
    record = ExplainRecord(
        method="class activation map (equals Grad-CAM at the layer)",
        layer=layer,
        network=FRAGMENT,
        films=len(frames),
        max_abs_difference=round(difference, 6),
    )
    text = json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True)
    return {EXPLAIN_FILE: text.encode(), FRAGMENT: fragment}


def pooled_module(model: Classifier, x: Tensor) -> str:
    """Module of the backbone whose output is averaged over its positions to the embedding.

    Args:
        model: the classifier.
        x: (n, 3, side, side) float32 network input.

    Returns:
        Name inside the timm network; of nested ones the outermost.

    Raises:
        NotExplainable: there is none.
    """
    twin = copy.deepcopy(model).cpu().eval()
    pooled: list[tuple[str, Tensor]] = []
    for name, module in twin.backbone.named_modules():
        if name:
            module.register_forward_hook(_remember(pooled, name))
    with torch.inference_mode():
        embedding = twin.embed(x)
    fitting = [
        name
        for name, mean in pooled
        if mean.shape == embedding.shape and torch.allclose(mean, embedding, atol=1e-5, rtol=1e-4)
    ]
    if not fitting:
        raise NotExplainable(f"No map of {model.backbone_name} is averaged to its embedding.")
    return fitting[-1]  # an outer module ends after those inside it


def _remember(pooled: list[tuple[str, Tensor]], name: str) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        # The average, taken at once: a later step may change the map in place.
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] > 1:
            pooled.append((name, output.mean(dim=(2, 3))))

    return hook


def _find_head(graph: Any) -> tuple[str, str]:
    """Names of the head's weights (classes, channels) and of the map (n, channels, rows, columns) that is pooled."""
    made_by = {output: node for node in graph.node for output in node.output}
    constants = {entry.name: entry for entry in graph.initializer}
    head = made_by[OUTPUT_NAME]
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in head.attribute}
    linear = head.op_type == "Gemm" and attributes.get("transB") == 1 and attributes.get("alpha", 1.0) == 1.0
    if not linear or head.input[1] not in constants:
        raise NotExplainable("The network does not end in a linear head.")
    node = made_by.get(head.input[0])
    while node is not None and node.op_type in _PASS:
        node = made_by.get(node.input[0])
    if node is None or not _averages_positions(node, constants):
        raise NotExplainable("The network's head does not follow right after global average pooling.")
    return head.input[1], node.input[0]


def _averages_positions(node: Any, constants: dict[str, Any]) -> bool:
    if node.op_type == "GlobalAveragePool":
        return True
    if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
        return False
    return {int(axis) % 4 for axis in numpy_helper.to_array(constants[node.input[1]])} == {2, 3}


def _fragment(head: str, pooled: str) -> bytes:
    """What turns the network into one that also gives maps, to be joined to its file."""
    names = {"axes": "cxr_explain_axes", "kernel": "cxr_explain_kernel"}
    nodes = [
        helper.make_node("Unsqueeze", [head, names["axes"]], [names["kernel"]], name="cxr_explain_unsqueeze"),
        helper.make_node("Conv", [pooled, names["kernel"]], [MAPS], name="cxr_explain_conv", kernel_shape=[1, 1]),
    ]
    proto = onnx.ModelProto()
    proto.graph.node.extend(nodes)
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray([2, 3], np.int64), names["axes"]))
    shape = ["n", "classes", "rows", "columns"]
    proto.graph.output.append(helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, shape))
    return bytes(proto.SerializeToString(deterministic=True))


def _difference_from_gradcam(
    model: Classifier, maps: Floats, frames: npt.NDArray[np.uint8], preprocessing: Preprocessing, layer: str
) -> float:
    found: list[float] = []
    for place in range(maps.shape[1]):
        expected = gradcam(model, frames, preprocessing, np.full(len(frames), place), layer=layer)
        for film in range(len(frames)):
            if maps[film, place].max() >= _FAINT:
                heat = heat_map(maps[film, place], frames.shape[-1])
                found.append(float(np.abs(heat - expected[film]).max()))
    return max(found, default=0.0)
