"""The embedding as a second output of the exported network: the part ``embedding`` of a model package.

See :mod:`cxr_core.release.parts.embedding` for what the part is. Here it is made, and compared with PyTorch.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import embed_frames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.export import OUTPUT_NAME
from cxr_core.modelling.network import Classifier
from cxr_core.release.engines import EMBEDDING, OnnxRuntimeEngine, open_engine
from cxr_core.release.parts.embedding import EMBEDDING_FILE, EMBEDDING_FRAGMENT, EmbeddingRecord

__all__ = ["MAX_EMBEDDING_DIFFERENCE", "embedding_fragment", "embedding_part"]

MAX_EMBEDDING_DIFFERENCE = 1e-3  # of an embedding's length, from PyTorch's
_DIGITS = 9  # of the recorded difference


def embedding_fragment(network: bytes) -> bytes:
    """What gives a network the output ``embedding`` (n, size) float32 when it is joined to the network's file.

    Args:
        network: content of an ONNX file that ends in a linear head with the output ``logits``.

    Raises:
        CxrError: it does not.
    """
    graph = onnx.load_from_string(network).graph
    head = next((node for node in graph.node if OUTPUT_NAME in node.output), None)
    if head is None or head.op_type != "Gemm":
        raise CxrError("The network does not end in a linear head: it has no embedding to give out.")
    proto = onnx.ModelProto()
    proto.graph.node.append(helper.make_node("Identity", [head.input[0]], [EMBEDDING], name="cxr_embedding"))
    proto.graph.output.append(helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["n", "size"]))
    return bytes(proto.SerializeToString(deterministic=True))


def embedding_part(
    model: Classifier,
    network: bytes,
    frames: npt.NDArray[np.uint8],
    preprocessing: Preprocessing,
    int8: bytes | None = None,
) -> dict[str, bytes]:
    """Files of the part ``embedding``.

    Args:
        model: the trained classifier.
        network: its exported network.
        frames: (n, size, size) uint8, n >= 1: films on which the embeddings are compared.
        preprocessing: of the frames.
        int8: the quantised network, where there is one.

    Raises:
        CxrError: the network has no linear head, or its embeddings are not PyTorch's within 1e-3 of their length.
    """
    fragment = embedding_fragment(network)
    tensor = preprocessing.tensor(frames)
    expected = embed_frames(model, ArrayFrames(frames), preprocessing)
    found = open_engine(OnnxRuntimeEngine.name, network + fragment).run(tensor).embedding
    assert found is not None  # the fragment has just declared it
    if found.shape != expected.shape:
        raise CxrError(f"The head of {model.backbone_name} is applied to {found.shape[1:]} values, not its embedding.")
    lengths = np.maximum(np.linalg.norm(expected, axis=1), np.finfo(np.float32).tiny)
    difference = float((np.linalg.norm(found - expected, axis=1) / lengths).max())
    if not difference <= MAX_EMBEDDING_DIFFERENCE:
        raise CxrError(
            f"Embeddings of {model.backbone_name} differ from PyTorch's by {difference:.2g} of their length, more than "
            f"{MAX_EMBEDDING_DIFFERENCE:g}: install the versions of requirements.lock."
        )
    record = EmbeddingRecord(
        size=found.shape[1],
        network=EMBEDDING_FRAGMENT,
        precisions=("fp32", "int8") if int8 is not None and _fits(int8, fragment, tensor) else ("fp32",),
        films=len(frames),
        max_relative_difference=round(difference, _DIGITS),
    )
    text = json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True)
    return {EMBEDDING_FILE: text.encode(), EMBEDDING_FRAGMENT: fragment}


def _fits(network: bytes, fragment: bytes, tensor: npt.NDArray[np.float32]) -> bool:
    """Whether a network with the fragment gives the same logits as without: quantising may rename what it gives out."""
    try:
        with_, without = (
            open_engine(OnnxRuntimeEngine.name, data).run(tensor) for data in (network + fragment, network)
        )
    except CxrError:
        return False
    return with_.embedding is not None and bool(np.array_equal(with_.logits, without.logits))
