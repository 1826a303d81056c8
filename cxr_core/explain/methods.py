"""The explanation methods: each turns films into heat maps of the same form, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.explain.gradcam import gradcam
from cxr_core.explain.occlusion import occlusion
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier
from cxr_core.settings_stress import ExplainSettings

__all__ = ["METHODS", "Method", "explain"]

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Method:
    """One way to explain.

    Attributes:
        name: stable machine name.
        title: as figures and reports say it.
        gradients: whether it differentiates the network, which a network of integers does not allow.
        maps: model, frames, preprocessing, classes, settings to (n, side, side) float32 maps, 0-1.
    """

    name: str
    title: str
    gradients: bool
    maps: Callable[[Classifier, Pixels, Preprocessing, Classes | None, ExplainSettings], Maps]


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gradcam", "Grad-CAM", True, lambda model, frames, how, classes, _: gradcam(model, frames, how, classes)
        ),
        Method("occlusion", "Occlusion", False, occlusion),
    )
}


def explain(
    method: str,
    model: Classifier,
    frames: Pixels,
    preprocessing: Preprocessing,
    classes: Classes | None = None,
    settings: ExplainSettings | None = None,
) -> Maps:
    """Heat maps of frames by a method of the registry.

    Args:
        method: a name in :data:`METHODS`.
        model: the classifier; it stays as it is.
        frames: (n, side, side) uint8.
        preprocessing: turns frames into network input.
        classes: (n,) class whose logit is explained; default the predicted one.
        settings: of the methods; the defaults where left out.

    Returns:
        (n, side, side) float32, each map scaled to 0-1 by its own range; all zero where nothing speaks for the class.

    Raises:
        CxrError: there is no such method, classes do not match, or the method does not fit the network.
    """
    if method not in METHODS:
        raise CxrError(f"There is no explanation method {method!r}: choose one of {', '.join(METHODS)}.")
    if classes is not None:
        wrong = (np.asarray(classes) < 0) | (np.asarray(classes) >= model.head.out_features)
        if len(classes) != len(frames) or wrong.any():
            raise CxrError(
                f"{len(classes)} classes for {len(frames)} frames: give each frame a class from 0 to "
                f"{model.head.out_features - 1}."
            )
    return METHODS[method].maps(model, frames, preprocessing, classes, settings or ExplainSettings())
