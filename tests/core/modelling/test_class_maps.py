"""Heat maps out of the exported network are Grad-CAM's, or there are none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.explain.gradcam import gradcam
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling import class_maps
from cxr_core.modelling.class_maps import NotExplainable, class_maps_part, pooled_module
from cxr_core.modelling.export import export_onnx
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.release.parts.explain import EXPLAIN_FILE, FRAGMENT, MAPS, heat_map
from cxr_core.settings_sections import ModelSettings

PREPROCESSING = Preprocessing(96, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 96, 96)).astype(np.uint8)

Made = tuple[Classifier, bytes]
_made: dict[str, Made] = {}


def exported(backbone: str) -> Made:
    if backbone not in _made:
        model = build_classifier(ModelSettings(backbone=backbone, weights="none"), 3, 1).model
        _made[backbone] = model, export_onnx(model, PREPROCESSING.tensor(FRAMES)).data
    return _made[backbone]


BACKBONES = [
    ("test_efficientnet", "bn2"),
    ("test_resnet", "layer4"),
    pytest.param("densenet121", "features", marks=pytest.mark.slow),  # its last ReLU comes after the last block
    pytest.param("tf_efficientnet_lite0", "bn2", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("backbone", "layer"), BACKBONES)
def test_maps_of_the_exported_network_are_gradcam_at_the_map_that_is_pooled(backbone: str, layer: str) -> None:
    model, network = exported(backbone)
    files = class_maps_part(model, network, FRAMES[:2], PREPROCESSING)
    record = json.loads(files[EXPLAIN_FILE])
    assert (record["layer"], record["films"]) == (layer, 2)
    assert record["max_abs_difference"] < 1e-3
    session = onnxruntime.InferenceSession(network + files[FRAGMENT], providers=["CPUExecutionProvider"])
    tensor = PREPROCESSING.tensor(FRAMES)
    logits, maps = session.run(["logits", MAPS], {"input": tensor})
    alone = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(logits, alone.run(["logits"], {"input": tensor})[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        maps.mean(axis=(2, 3)) + model.head.bias.detach().numpy(), logits, rtol=0, atol=1e-4
    )  # evidence adds up to the logit: that is what makes it an explanation
    for place in range(3):
        expected = gradcam(model, FRAMES, PREPROCESSING, np.full(3, place), layer=layer)
        for film in range(3):
            np.testing.assert_allclose(heat_map(maps[film, place], 96), expected[film], rtol=0, atol=1e-3)


def test_the_network_that_predicts_stays_as_it_is_and_the_part_is_small() -> None:
    model, network = exported("test_efficientnet")
    before = digest_state_dict(model.state_dict())
    files = class_maps_part(model, network, FRAMES, PREPROCESSING)
    assert [entry.name for entry in onnx.load_from_string(network).graph.output] == ["logits"]
    assert len(files[FRAGMENT]) < 1000
    assert class_maps_part(model, network, FRAMES, PREPROCESSING) == files
    assert digest_state_dict(model.state_dict()) == before
    onnx.checker.check_model(onnx.load_from_string(network + files[FRAGMENT]))


@pytest.mark.parametrize("backbone", ["test_convnext", "test_vit"])
def test_a_head_that_is_not_linear_after_pooling_has_no_maps(backbone: str) -> None:
    model, network = exported(backbone)
    with pytest.raises(NotExplainable, match="does not follow right after global average pooling"):
        class_maps_part(model, network, FRAMES, PREPROCESSING)


def test_a_module_between_pooling_and_head_is_noticed() -> None:
    model, _ = exported("test_resnet")
    x = torch.from_numpy(PREPROCESSING.tensor(FRAMES[:1]))
    assert pooled_module(model, x) == "layer4"

    class Doubled(Classifier):
        def embed(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().embed(x)

    twin = Doubled(model.backbone_name, model.backbone, 3, 0.5)
    with pytest.raises(NotExplainable, match="No map"):
        pooled_module(twin, x)


def test_maps_that_are_not_gradcams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, network = exported("test_efficientnet")
    real = gradcam

    def off(*given: Any, **named: Any) -> np.ndarray:
        return real(*given, **named) + np.float32(0.002)

    monkeypatch.setattr(class_maps, "gradcam", off)
    with pytest.raises(CxrError, match=r"differ from Grad-CAM by 0\.002"):
        class_maps_part(model, network, FRAMES, PREPROCESSING)


def test_maps_that_do_not_add_up_to_the_logits_are_refused() -> None:
    model, network = exported("test_efficientnet")
    other = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    with torch.no_grad():
        other.head.bias += 0.01
    with pytest.raises(CxrError, match="do not add up"):
        class_maps_part(other, network, FRAMES, PREPROCESSING)
    assert model is not other
