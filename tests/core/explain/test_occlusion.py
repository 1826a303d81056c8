"""Occlusion sensitivity: where the square lies, which class is asked about, and what it leaves as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cxr_core.explain.methods import METHODS, explain
from cxr_core.explain.occlusion import occlusion, window_starts
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import ModelSettings
from cxr_core.settings_stress import ExplainSettings

SIDE = 64
PREPROCESSING = Preprocessing(SIDE, False, 2.0, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Corners(nn.Module):
    """Embedding: mean grey of the upper left corner, of the lower right corner, and a constant."""

    head_hidden_size = 3

    def forward(self, x: Tensor) -> Tensor:
        grey = x[:, 0]
        parts = grey[:, 8:20, 8:20].mean((1, 2)), grey[:, 44:56, 44:56].mean((1, 2)), torch.ones(len(x))
        return torch.stack(parts, dim=1)


def _corner_model() -> Classifier:
    model = Classifier("corners", Corners(), 3, 0.2)
    model.head.weight.data = torch.eye(3) * 4
    model.head.bias.data.zero_()
    return model


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    grey = np.full((2, SIDE, SIDE), 60, np.uint8)
    grey[:, 8:20, 8:20] = 220  # what the first class sees
    grey[:, 44:56, 44:56] = 180  # what the second class sees
    grey[:, :, :4] = 0  # padding
    return grey


@pytest.fixture(scope="module")
def network() -> Classifier:
    return build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model


@pytest.mark.parametrize(("label", "place"), [(0, slice(8, 20)), (1, slice(44, 56))])
@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_the_map_peaks_where_the_class_s_evidence_lies(frames: np.ndarray, label: int, place: slice, fill: str):
    settings = ExplainSettings(occlusion_window=0.2, occlusion_stride=0.1, occlusion_fill=fill)
    maps = occlusion(_corner_model(), frames, PREPROCESSING, np.array([label, label]), settings)
    for heat in maps:
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert place.start <= row < place.stop
        assert place.start <= column < place.stop
        assert heat[place, place].mean() > 5 * heat.mean()
        assert not heat[:, :4].any()  # the padding shows nothing


def test_a_class_without_evidence_in_the_film_has_an_empty_map(frames: np.ndarray):
    assert not occlusion(_corner_model(), frames, PREPROCESSING, np.array([2, 2])).any()


def test_each_value_is_the_weighted_fall_of_the_logit(network: Classifier):
    """Against a plain double loop over squares and pixels."""
    settings = ExplainSettings(occlusion_window=0.25, occlusion_stride=0.25)
    film = np.random.default_rng(2).integers(1, 256, (SIDE, SIDE))
    film[:, :4] = 0
    model = network.eval()

    def logit(frame: np.ndarray) -> float:
        with torch.inference_mode():
            return float(model(torch.from_numpy(PREPROCESSING.tensor(frame[None].astype(np.uint8))))[0, 1])

    grey = round(film[:, 4:].mean())
    falls, weights = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    whole = logit(film)
    for top in (0, 16, 32, 48):
        for left in (0, 16, 32, 48):
            covered = film.copy()
            covered[top : top + 16, left : left + 16] = grey
            covered[:, :4] = 0
            fall = whole - logit(covered)
            near_y = np.clip(8.5 - np.abs(np.arange(SIDE) - (top + 7.5)), 0, None)
            near_x = np.clip(8.5 - np.abs(np.arange(SIDE) - (left + 7.5)), 0, None)
            weight = near_y[:, None] * near_x[None]
            falls, weights = falls + weight * fall, weights + weight
    expected = np.clip(falls / weights, 0, None)
    expected[:, :4] = 0
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    found = occlusion(network, film[None].astype(np.uint8), PREPROCESSING, np.array([1]), settings)[0]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_squares_run_from_edge_to_edge_no_further_apart_than_the_stride():
    assert window_starts(224, 56, 28) == [0, 28, 56, 84, 112, 140, 168]
    for side, window, stride in ((64, 20, 7), (65, 16, 8), (10, 10, 3), (8, 12, 4)):
        starts = window_starts(side, window, stride)
        assert starts[0] == 0
        assert starts[-1] == max(side - window, 0)
        assert max(np.diff(starts), default=0) <= stride


@pytest.mark.parametrize("method", sorted(METHODS))
def test_maps_have_one_form_and_do_not_depend_on_the_other_films_of_a_call(method: str, network: Classifier):
    rng = np.random.default_rng(0)
    films = rng.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    classes = np.array([2, 0, 1])
    together = explain(method, network, films, PREPROCESSING, classes)
    assert together.shape == films.shape
    assert together.dtype == np.float32
    assert 0 <= together.min() <= together.max() <= 1
    for row in range(3):
        alone = explain(method, network, films[row : row + 1], PREPROCESSING, classes[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=2e-3)
    backwards = explain(method, network, films[::-1], PREPROCESSING, classes[::-1])
    np.testing.assert_allclose(backwards[::-1], together, atol=2e-3)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_class_is_the_predicted_one_unless_another_is_asked_for(method: str, network: Classifier):
    films = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8)
    with torch.inference_mode():
        predicted = network.eval()(torch.from_numpy(PREPROCESSING.tensor(films))).argmax(dim=1).numpy()
    by_default = explain(method, network, films, PREPROCESSING)
    np.testing.assert_array_equal(by_default, explain(method, network, films, PREPROCESSING, predicted))
    other = explain(method, network, films, PREPROCESSING, (predicted + 1) % 3)
    assert not np.allclose(by_default, other, atol=0.05)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("grey", [0, 255])
def test_a_film_without_content_gives_finite_maps(method: str, grey: int, network: Classifier):
    maps = explain(method, network, np.full((1, SIDE, SIDE), grey, np.uint8), PREPROCESSING, np.array([0]))
    assert np.isfinite(maps).all()
    if method == "occlusion":
        assert not maps.any()  # covering changes nothing


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(method: str, training: bool):
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    model.train(training)
    model.dropout.train(not training)  # a mode of its own, which a mere train() would not bring back
    model(torch.zeros(2, 3, SIDE, SIDE)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    before = digest_state_dict(model.state_dict())
    explain(method, model, np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8), PREPROCESSING)
    assert digest_state_dict(model.state_dict()) == before
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is gradients[name] for name, parameter in model.named_parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
