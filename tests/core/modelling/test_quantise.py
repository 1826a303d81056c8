"""The 8-bit network: reproducible, near the exact one, its loss as it would be computed by hand."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnx
import pytest
import torch

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.probabilities import softmax
from cxr_core.imaging.preprocess import Preprocessing, reference_film
from cxr_core.modelling import quantise as module
from cxr_core.modelling.export import export_onnx
from cxr_core.modelling.network import build_classifier
from cxr_core.modelling.quantise import int8_part, quantise
from cxr_core.release.engine_check import reference_frames
from cxr_core.release.engines import open_engine
from cxr_core.release.parts.int8 import INT8_FILE, INT8_NETWORK
from cxr_core.settings_sections import ModelSettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
REFERENCE = reference_frames(PREPROCESSING.frame(reference_film()))


def films(count: int, seed: int) -> LabelledFrames:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    base = rng.integers(40, 200, (count, 64, 64))
    base[:, 10:30, 10:30] += (20 * labels)[:, None, None]
    return LabelledFrames(
        ArrayFrames(np.clip(base, 0, 255).astype(np.uint8)), labels, [f"{n:03}" for n in range(count)]
    )


VALIDATION, TEST = films(40, 1), films(30, 2)
GROUPS = [f"patient{n // 2}" for n in range(30)]


@pytest.fixture(scope="module")
def network() -> bytes:
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model.eval()
    tensor = PREPROCESSING.tensor(TEST.frames.take(np.arange(30)))
    with torch.no_grad():  # logits that spread by one, so that probabilities differ
        logits = model(torch.from_numpy(tensor))
        factor = 1 / logits.std(dim=0)
        model.head.weight.mul_(factor[:, None])
        model.head.bias.copy_((model.head.bias - logits.mean(dim=0)) * factor)
    return export_onnx(model, tensor[:4]).data


@pytest.fixture(scope="module")
def part(network: bytes) -> dict[str, bytes]:
    return int8_part(network, VALIDATION, TEST, GROUPS, PREPROCESSING, LABELS, REFERENCE, 0, resamples=200)


def test_the_8_bit_network_is_smaller_and_near_the_exact_one(network: bytes, part: dict[str, bytes]) -> None:
    small = part[INT8_NETWORK]
    assert len(small) < 0.8 * len(network)
    proto = onnx.load_from_string(small)
    assert [entry.name for entry in proto.graph.input] == ["input"]
    assert [entry.name for entry in proto.graph.output] == ["logits"]
    kinds = {entry.data_type for entry in proto.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    tensor = PREPROCESSING.tensor(TEST.frames.take(np.arange(30)))
    exact, rounded = (open_engine("onnxruntime", data, 1).run(tensor).logits for data in (network, small))
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.9
    assert not np.allclose(exact, rounded)


def test_the_recorded_loss_is_that_of_the_test_films(network: bytes, part: dict[str, bytes]) -> None:
    record = json.loads(part[INT8_FILE])
    tensor = PREPROCESSING.tensor(TEST.frames.take(np.arange(30)))
    exact, rounded = (
        softmax(open_engine("onnxruntime", data, 1).run(tensor).logits) for data in (network, part[INT8_NETWORK])
    )
    change = np.abs(exact - rounded)
    assert record["max_probability_change"] == pytest.approx(change.max(), abs=1e-5)
    assert record["mean_probability_change"] == pytest.approx(change.mean(), abs=1e-5)
    assert record["label_agreement"] == pytest.approx((exact.argmax(1) == rounded.argmax(1)).mean(), abs=1e-6)
    before, after = (classification_metrics(TEST.labels, p, LABELS)["macro_auc"] for p in (exact, rounded))
    assert before is not None
    assert after is not None
    assert record["macro_auc_fp32"] == pytest.approx(before, abs=1e-5)
    assert record["macro_auc_difference"] == pytest.approx(after - before, abs=1e-5)
    assert record["low"] <= record["high"]
    assert record["low"] < record["high"] or record["macro_auc_difference"] == 0
    assert (record["films"], record["groups"], record["calibration_films"]) == (30, 15, 40)


def test_the_packaged_reference_logits_are_the_networks_own(part: dict[str, bytes]) -> None:
    logits = open_engine("onnxruntime", part[INT8_NETWORK], 1).run(PREPROCESSING.tensor(REFERENCE)).logits
    np.testing.assert_allclose(json.loads(part[INT8_FILE])["reference_logits"], logits, atol=1e-5)


def test_equal_films_give_equal_bytes(network: bytes, part: dict[str, bytes]) -> None:
    again = int8_part(network, VALIDATION, TEST, GROUPS, PREPROCESSING, LABELS, REFERENCE, 0, resamples=200)
    assert again == part
    assert quantise(network, films(40, 9).frames, PREPROCESSING) != part[INT8_NETWORK]


def test_of_many_films_a_part_that_is_spread_over_all_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._spread(10, 100).tolist() == list(range(10))
    chosen = module._spread(10_000, 100)
    assert len(chosen) == 100
    assert (chosen[0], chosen[-1]) == (0, 9_999)
    assert np.ptp(np.diff(chosen)) <= 1


def test_without_films_there_is_no_8_bit_network(network: bytes) -> None:
    with pytest.raises(CxrError, match="no validation films"):
        quantise(network, films(0, 0).frames, PREPROCESSING)
    with pytest.raises(CxrError, match="no test films"):
        int8_part(network, VALIDATION, films(0, 0), [], PREPROCESSING, LABELS, REFERENCE, 0)
    with pytest.raises(CxrError, match="cannot be quantised"):
        quantise(b"", VALIDATION.frames, PREPROCESSING)


def test_quantising_leaves_log_output_and_levels_as_they_were(
    network: bytes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    level = logging.getLogger().level
    quantise(network, VALIDATION.frames, PREPROCESSING)
    assert logging.getLogger().level == level
    assert caplog.text == ""
    assert capsys.readouterr() == ("", "")
