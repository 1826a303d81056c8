import numpy as np
import pytest
import torch

from cxr_core.dataset.frames import ArrayFrames, SubsetFrames
from cxr_core.evaluation.predict import classify_embeddings, embed_frames, predict_logits, softmax
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.settings_sections import ModelSettings

PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def model() -> Classifier:
    return build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model


@pytest.fixture(scope="module")
def frames() -> ArrayFrames:
    return ArrayFrames(np.random.default_rng(0).integers(0, 256, (11, 64, 64), dtype=np.uint8))


def test_order_is_kept_whatever_the_batch_size(model: Classifier, frames: ArrayFrames) -> None:
    together = predict_logits(model, frames, PREPROCESSING, batch_size=64)
    assert together.shape == (11, 3)
    assert together.dtype == np.float32
    np.testing.assert_allclose(predict_logits(model, frames, PREPROCESSING, batch_size=3), together, atol=1e-5)
    reverse = SubsetFrames(frames, np.arange(11)[::-1])
    np.testing.assert_allclose(predict_logits(model, reverse, PREPROCESSING, 4), together[::-1], atol=1e-5)


def test_logits_follow_from_the_embeddings(model: Classifier, frames: ArrayFrames) -> None:
    embeddings = torch.from_numpy(embed_frames(model, frames, PREPROCESSING))
    with torch.inference_mode():
        expected = model.head(embeddings).numpy()
    np.testing.assert_allclose(predict_logits(model, frames, PREPROCESSING), expected, atol=1e-5)


def test_the_head_alone_answers_as_the_whole_network_does(model: Classifier, frames: ArrayFrames) -> None:
    model.train()  # dropout must stay off
    found = classify_embeddings(model, embed_frames(model, frames, PREPROCESSING))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, predict_logits(model, frames, PREPROCESSING), atol=1e-5)


def test_predicting_uses_evaluation_mode_and_gives_the_mode_back(model: Classifier, frames: ArrayFrames) -> None:
    model.train()
    statistics = [value.clone() for value in model.buffers()]
    first = predict_logits(model, frames, PREPROCESSING)
    assert model.training
    np.testing.assert_array_equal(first, predict_logits(model, frames, PREPROCESSING))  # no dropout in it
    assert all(torch.equal(old, new) for old, new in zip(statistics, model.buffers(), strict=True))


def test_no_frames_give_no_rows(model: Classifier) -> None:
    assert predict_logits(model, ArrayFrames(np.zeros((0, 64, 64), np.uint8)), PREPROCESSING).shape == (0, 3)


def test_softmax_survives_large_logits() -> None:
    p = softmax(np.array([[1e4, 0.0, -1e4], [1.0, 1.0, 1.0]], np.float32))
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
