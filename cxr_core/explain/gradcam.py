"""Grad-CAM at the last convolutional block (Selvaraju et al. 2017; report 6.1). A look, not a validation: TRAPS 15."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.backbones import last_block
from cxr_core.modelling.network import Classifier

__all__ = ["gradcam"]

_BATCH = 16  # frames at once


def gradcam(
    model: Classifier,
    frames: npt.NDArray[np.uint8],
    preprocessing: Preprocessing,
    classes: npt.NDArray[np.int64] | None = None,
    batch_size: int = _BATCH,
    layer: str | None = None,
) -> npt.NDArray[np.float32]:
    """Heat maps of frames.

    Works on a copy: weights, gradients, hooks and mode of ``model`` stay as they are.

    Args:
        model: the classifier.
        frames: (n, side, side) uint8.
        preprocessing: turns frames into network input.
        classes: (n,) class whose logit is explained; default the predicted one.
        batch_size: frames at once, >= 1.
        layer: module name inside the backbone; default its last block.

    Returns:
        (n, side, side) float32, each map scaled to 0-1 by its own range; all zero where nothing speaks for the class.

    Raises:
        CxrError: the layer is unknown, or it gives no maps, as in a transformer.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    twin = copy.deepcopy(model).eval().requires_grad_(False)
    name = layer or last_block(model.backbone_name, twin.backbone)
    block = _find(twin.backbone, name, model.backbone_name)
    block.register_forward_hook(_gradient_starts_here)
    device = next(twin.parameters()).device
    maps = np.zeros(frames.shape, np.float32)
    cam = GradCAM(model=twin, target_layers=[block])  # not as a context manager: its exit swallows index errors
    try:
        with torch.enable_grad():
            for start in range(0, len(frames), batch_size):
                rows = slice(start, start + batch_size)
                batch = torch.from_numpy(preprocessing.tensor(frames[rows])).to(device)
                targets = None if classes is None else [ClassifierOutputTarget(int(label)) for label in classes[rows]]
                maps[rows] = cam(input_tensor=batch, targets=targets)
    finally:
        cam.activations_and_grads.release()
    return maps


def _find(backbone: nn.Module, name: str, backbone_name: str) -> nn.Module:
    try:
        return backbone.get_submodule(name)
    except AttributeError as error:
        raise CxrError(
            f"Backbone {backbone_name!r} has no module {name!r}: correct it in modelling/backbones.py."
        ) from error


def _gradient_starts_here(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """Cut the graph at the block: nothing before it is differentiated. The clone allows in-place steps after it."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise CxrError(
            "Grad-CAM needs a block that gives (n, channels, height, width): choose a convolutional backbone."
        )
    return output.detach().requires_grad_().clone()
