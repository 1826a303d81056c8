import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image
from tiny_package import LABELS, PREPROCESSING, tiny_onnx, write_tiny_package

from cxr_core import NOTICE
from cxr_core.errors import CxrError, ImageRejected
from cxr_core.imaging.decode import decode
from cxr_core.release.prediction import uncertainty
from cxr_core.release.predictor import Predictor
from cxr_core.settings_sections import QualitySettings


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "model"
    write_tiny_package(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(package: Path) -> Predictor:
    return Predictor.load(package, threads=1)


def film(seed: int, width: int = 300, height: int = 260, low: int = 60, high: int = 190) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (height, width)).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_prediction_is_the_softmax_of_the_networks_logits(predictor: Predictor) -> None:
    data = png(film(1))
    frame = PREPROCESSING.frame(decode(data, QualitySettings()).grey)
    logits = (
        ort.InferenceSession(tiny_onnx()).run(None, {"input": PREPROCESSING.tensor(frame[None])})[0][0].astype(float)
    )
    expected = np.exp(logits) / np.exp(logits).sum()
    prediction = predictor.predict(data)
    np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-6)
    assert tuple(prediction.probabilities) == LABELS
    assert prediction.label == LABELS[int(expected.argmax())]
    assert prediction.confidence == prediction.probabilities[prediction.label]
    assert prediction.notice == NOTICE


def test_a_prediction_names_the_package_that_made_it(package: Path, predictor: Predictor) -> None:
    model = predictor.predict(png(film(1))).model
    assert (model.name, model.version) == ("cxr", "1.0.0")
    assert model.digest == predictor.manifest.digest
    assert model.preprocessing_digest == PREPROCESSING.digest


def test_a_prediction_does_not_depend_on_its_batch(predictor: Predictor) -> None:
    frames = np.stack([PREPROCESSING.frame(film(seed)) for seed in range(70)])  # more than two chunks
    together = predictor.predict_frames(frames)
    alone = np.concatenate([predictor.predict_frames(frame[None]) for frame in frames])
    shuffled = np.random.default_rng(0).permutation(len(frames))
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(predictor.predict_frames(frames[shuffled]), together[shuffled], atol=1e-6)
    assert together.dtype == np.float64
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-12)
    assert len(np.unique(together.round(9), axis=0)) == len(frames)  # the network tells the films apart


def test_no_frames_give_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict_frames(np.zeros((0, 224, 224), np.uint8)).shape == (0, 3)


def test_threads_do_not_mix_films_up(predictor: Predictor) -> None:
    films = [png(film(seed)) for seed in range(24)]
    expected = [predictor.predict(data) for data in films]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(predictor.predict, films * 3)) == expected * 3


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (film(2, low=0, high=80), "under_exposed"),
        (film(2, low=190, high=255), "over_exposed"),
        (np.full((200, 200), 120, np.uint8), "near_uniform"),
        (film(2, width=600, height=200), "aspect"),
        (np.stack([film(2), film(2) // 2, film(2) // 3], axis=2), "tint"),
    ],
)
def test_a_doubtful_film_is_answered_with_a_warning(predictor: Predictor, pixels: np.ndarray, code: str) -> None:
    warnings = {warning.code: warning.message for warning in predictor.predict(png(pixels)).warnings}
    assert code in warnings
    assert warnings[code].endswith(".")


def test_a_good_film_has_no_quality_warning(predictor: Predictor) -> None:
    assert {warning.code for warning in predictor.predict(png(film(2))).warnings} <= {"low_confidence"}


def test_low_confidence_is_flagged_below_the_setting_only(package: Path) -> None:
    data = png(film(3))
    confidence = Predictor.load(package, threads=1).predict(data).confidence
    for limit, flagged in ((confidence, False), (confidence + 1e-9, True)):
        warnings = Predictor.load(package, threads=1, low_confidence=limit).predict(data).warnings
        assert ("low_confidence" in {warning.code for warning in warnings}) is flagged


def test_limits_of_the_caller_apply(predictor: Predictor) -> None:
    with pytest.raises(ImageRejected) as caught:
        predictor.predict(png(film(1)), QualitySettings(max_side=299))
    assert caught.value.code == "too_large"


def test_what_is_no_image_is_rejected_with_a_code(predictor: Predictor) -> None:
    with pytest.raises(ImageRejected) as caught:
        predictor.predict(b"garbage")
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (b"not a network", "cannot|can load"),
        (tiny_onnx(name="scores"), "logits"),
        (tiny_onnx(outputs=4), "logits of shape"),
    ],
)
def test_another_network_is_refused_at_load(tmp_path: Path, network: bytes, sentence: str) -> None:
    write_tiny_package(tmp_path, onnx_bytes=network)
    with pytest.raises(CxrError, match=sentence):
        Predictor.load(tmp_path, threads=1)


def test_prediction_needs_neither_torch_nor_pandas() -> None:
    code = "import sys, cxr_core.release.predictor; print({'torch', 'pandas', 'timm', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("probabilities", "entropy", "margin"),
    [
        ([1 / 3, 1 / 3, 1 / 3], 1.0, 0.0),
        ([1.0, 0.0, 0.0], 0.0, 1.0),
        ([0.5, 0.5, 0.0], np.log(2) / np.log(3), 0.0),
        ([0.2, 0.7, 0.1], 0.729847, 0.5),  # -(.2 ln .2 + .7 ln .7 + .1 ln .1) / ln 3
        ([0.75, 0.25], 0.811278, 0.5),  # in bits, as two classes have one bit
    ],
)
def test_uncertainty_is_entropy_and_margin(probabilities: list[float], entropy: float, margin: float) -> None:
    found = uncertainty(np.asarray(probabilities))
    assert (found.entropy, found.margin) == pytest.approx((entropy, margin), abs=1e-6)


def test_every_answer_says_how_undecided_it_is(predictor: Predictor) -> None:
    answer = predictor.predict(png(film(1)))
    assert answer.uncertainty == uncertainty(np.asarray(list(answer.probabilities.values())))
    assert 0 < answer.uncertainty.entropy <= 1


def test_a_film_is_prepared_with_its_statistics(predictor: Predictor) -> None:
    pixels = film(1, width=320, height=240)
    prepared = predictor.prepare(png(pixels))
    np.testing.assert_array_equal(prepared.frame, PREPROCESSING.frame(pixels))
    assert prepared.grey.mean == pytest.approx(pixels.mean(), abs=1e-3)
    assert prepared.grey.std == pytest.approx(pixels.std(), abs=1e-3)
    assert (prepared.grey.width, prepared.grey.height, prepared.grey.aspect) == (320, 240, pytest.approx(4 / 3))
    assert prepared.grey.tint == 0
    row = predictor.logits(prepared.frame[None])[0]
    assert predictor.answer(prepared, row) == predictor.predict(png(pixels))


def test_low_contrast_is_flagged_below_the_setting_only(package: Path) -> None:
    data = png(film(1, low=110, high=130))  # standard deviation 6
    for limit, flagged in ((5.0, False), (7.0, True)):
        warnings = Predictor.load(package, threads=1, low_contrast_std=limit).predict(data).warnings
        assert ("low_contrast" in {warning.code for warning in warnings}) is flagged
