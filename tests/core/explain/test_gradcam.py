import cv2
import numpy as np
import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.explain.gradcam import gradcam
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import ModelSettings

PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _model(backbone: str, weights: str = "none") -> Classifier:
    return build_classifier(ModelSettings(backbone=backbone, weights=weights), 3, 1).model


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in noise])


def _scaled(maps: np.ndarray) -> np.ndarray:
    low = maps.min(axis=(1, 2), keepdims=True)
    return (maps - low) / (maps - low).max(axis=(1, 2), keepdims=True).clip(1e-12)


def _class_activation_maps(model: Classifier, frames: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """CAM (Zhou et al. 2016): the head's weights over the maps that are pooled, positive part, 0-1, enlarged."""
    model.eval()
    with torch.inference_mode():
        maps = model.backbone.forward_features(torch.from_numpy(PREPROCESSING.tensor(frames)))
        weights = model.head.weight[torch.from_numpy(classes)]
        cams = torch.einsum("nc,nchw->nhw", weights, maps).clamp_min(0).numpy()
    side = frames.shape[1]
    return _scaled(np.stack([cv2.resize(cam, (side, side)) for cam in _scaled(cams)]))


@pytest.mark.parametrize(
    ("backbone", "weights", "layer"),
    [
        ("tf_efficientnet_lite0", "auto", None),
        ("tf_efficientnet_lite0", "none", None),
        ("densenet121", "none", "features.norm5"),  # its in-place ReLU included: TRAPS 15
        ("test_resnet", "none", None),
        ("test_efficientnet", "none", "bn2"),
    ],
)
def test_at_the_last_map_before_pooling_gradcam_is_the_class_activation_map(
    frames: np.ndarray, backbone: str, weights: str, layer: str | None
) -> None:
    model = _model(backbone, weights)
    classes = np.array([0, 1, 2, 0, 1])
    maps = gradcam(model, frames, PREPROCESSING, classes, layer=layer)
    assert maps.shape == frames.shape
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, _class_activation_maps(model, frames, classes), atol=1e-4)


def test_the_predicted_class_is_explained_by_default(frames: np.ndarray) -> None:
    model = _model("test_efficientnet").eval()
    with torch.inference_mode():
        predicted = model(torch.from_numpy(PREPROCESSING.tensor(frames))).argmax(dim=1).numpy()
    by_default = gradcam(model, frames, PREPROCESSING)
    np.testing.assert_array_equal(by_default, gradcam(model, frames, PREPROCESSING, predicted))
    assert not np.array_equal(by_default, gradcam(model, frames, PREPROCESSING, (predicted + 1) % 3))


def test_maps_do_not_depend_on_the_batch_and_lie_in_0_to_1(frames: np.ndarray) -> None:
    model = _model("test_efficientnet")
    together = gradcam(model, frames, PREPROCESSING)
    np.testing.assert_allclose(gradcam(model, frames, PREPROCESSING, batch_size=2), together, atol=1e-4)
    assert together.min() >= 0
    assert together.max() <= 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_is_left_as_it_was(frames: np.ndarray, training: bool, frozen: bool) -> None:
    model = _model("test_efficientnet")
    model.freeze_backbone(frozen)
    model.train(training)
    model(torch.zeros(2, 3, 64, 64)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    before = digest_state_dict(model.state_dict())
    gradcam(model, frames, PREPROCESSING)
    assert digest_state_dict(model.state_dict()) == before
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is gradients[name] for name, parameter in model.named_parameters())
    assert all(parameter.requires_grad for parameter in model.head.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_densenet_is_explained_at_its_last_dense_block(frames: np.ndarray) -> None:
    maps = gradcam(_model("densenet121"), frames[:2], PREPROCESSING, np.array([0, 1]))
    assert maps.shape == (2, 64, 64)
    assert np.isfinite(maps).all()


def test_no_frames_give_no_maps() -> None:
    assert gradcam(_model("test_efficientnet"), np.zeros((0, 64, 64), np.uint8), PREPROCESSING).shape == (0, 64, 64)


def test_an_unknown_layer_is_named(frames: np.ndarray) -> None:
    with pytest.raises(CxrError, match=r"blocks\.99"):
        gradcam(_model("test_efficientnet"), frames, PREPROCESSING, layer="blocks.99")


def test_a_layer_without_maps_is_refused(frames: np.ndarray) -> None:
    with pytest.raises(CxrError, match="convolutional"):
        gradcam(_model("test_efficientnet"), frames, PREPROCESSING, layer="global_pool")
