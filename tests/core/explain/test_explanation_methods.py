"""The registry of explanation methods and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_core.errors import CxrError
from cxr_core.explain.gradcam import gradcam
from cxr_core.explain.methods import METHODS, explain
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.settings_sections import ModelSettings

PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> Classifier:
    return build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model


def test_the_two_methods_differ_in_whether_they_need_gradients():
    assert {name: method.gradients for name, method in METHODS.items()} == {"gradcam": True, "occlusion": False}
    assert all(name == method.name for name, method in METHODS.items())


def test_grad_cam_of_the_registry_is_grad_cam(network: Classifier):
    classes = np.array([2, 0])
    expected = gradcam(network, FRAMES, PREPROCESSING, classes)
    np.testing.assert_array_equal(explain("gradcam", network, FRAMES, PREPROCESSING, classes), expected)


def test_an_unknown_method_is_named_with_those_there_are(network: Classifier):
    with pytest.raises(CxrError, match=r"'lime'.*gradcam, occlusion"):
        explain("lime", network, FRAMES, PREPROCESSING)


@pytest.mark.parametrize("classes", [[0], [0, 3], [-1, 0]])
def test_classes_that_do_not_fit_are_refused(network: Classifier, classes: list[int]):
    with pytest.raises(CxrError, match="from 0 to 2"):
        explain("occlusion", network, FRAMES, PREPROCESSING, np.array(classes))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_frames_give_no_maps(network: Classifier, method: str):
    assert explain(method, network, FRAMES[:0], PREPROCESSING).shape == (0, 64, 64)


def test_grad_cam_refuses_a_transformer_with_a_sentence_and_occlusion_explains_it():
    frames = np.random.default_rng(0).integers(0, 256, (1, 160, 160), dtype=np.uint8)  # the size that it takes
    model = build_classifier(ModelSettings(backbone="test_vit", weights="none"), 3, 1).model
    with pytest.raises(CxrError, match="convolutional backbone"):
        explain("gradcam", model, frames, PREPROCESSING)
    assert explain("occlusion", model, frames, PREPROCESSING).max() == 1
