"""The embedding as a second output: PyTorch's own, on every engine and batch, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_package import write_tiny_package

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import embed_frames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling import embedding_output
from cxr_core.modelling.embedding_output import embedding_fragment, embedding_part
from cxr_core.modelling.export import export_onnx
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.quantise import quantise
from cxr_core.release.engines import available_engines, open_engine
from cxr_core.release.parts.embedding import EMBEDDING_FILE, EMBEDDING_FRAGMENT
from cxr_core.release.predictor import Predictor
from cxr_core.settings_sections import ModelSettings

PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FRAMES = np.random.default_rng(0).integers(0, 256, (19, 64, 64)).astype(np.uint8)
CPU = [name for name in available_engines() if name != "cuda"]

Made = tuple[Classifier, bytes, bytes]


@pytest.fixture(scope="module")
def made() -> Made:
    """A classifier with random weights, its network, and that in 8 bits."""
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    network = export_onnx(model, PREPROCESSING.tensor(FRAMES[:2])).data
    return model, network, quantise(network, ArrayFrames(FRAMES), PREPROCESSING)


@pytest.fixture(scope="module")
def folder(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its package, with the part ``embedding``."""
    model, network, int8 = made
    target = tmp_path_factory.mktemp("embedding") / "model"
    part = embedding_part(model, network, FRAMES[:4], PREPROCESSING, int8)
    write_tiny_package(target, preprocessing=PREPROCESSING, onnx_bytes=network, parts={"embedding": part})
    return target


@pytest.mark.parametrize("name", CPU)
def test_embeddings_are_pytorchs_on_every_engine_and_whatever_the_batch(made: Made, folder: Path, name: str) -> None:
    expected = embed_frames(made[0], ArrayFrames(FRAMES), PREPROCESSING)
    lengths = np.linalg.norm(expected, axis=1)
    predictor = Predictor.load(folder, 1, engine=name)
    for rows in (slice(0, 1), slice(0, 3), slice(4, 19), slice(0, 19)):
        found = predictor.outputs(FRAMES[rows])
        assert found.embedding is not None
        assert found.embedding.dtype == np.float32
        assert (np.linalg.norm(found.embedding - expected[rows], axis=1) <= 1e-3 * lengths[rows]).all()
        for row, logits, embedding in zip(predictor.rows(FRAMES[rows]), found.logits, found.embedding, strict=True):
            np.testing.assert_allclose(row.logits, logits, atol=1e-5)
            np.testing.assert_allclose(row.embedding, embedding, atol=1e-5)
    assert np.linalg.norm(expected[0] - expected[1]) > 0.01 * lengths[0]  # they tell the films apart


def test_the_second_output_changes_no_logit_and_the_fragment_is_a_hundred_bytes(made: Made) -> None:
    _, network, _ = made
    fragment = embedding_fragment(network)
    assert len(fragment) < 150
    assert [entry.name for entry in onnx.load_from_string(network).graph.output] == ["logits"]
    onnx.checker.check_model(onnx.load_from_string(network + fragment))
    tensor = PREPROCESSING.tensor(FRAMES)
    for name in CPU:
        with_, without = (open_engine(name, data, 1).run(tensor) for data in (network + fragment, network))
        assert without.embedding is None
        np.testing.assert_array_equal(with_.logits, without.logits)


def test_the_8_bit_network_gives_its_own_embedding(made: Made, folder: Path) -> None:
    model, network, int8 = made
    record = json.loads((folder / EMBEDDING_FILE).read_text())
    assert record["precisions"] == ["fp32", "int8"]
    assert record["size"] == model.embedding_size
    assert 0 <= record["max_relative_difference"] < 1e-3
    exact = open_engine("onnxruntime", network + embedding_fragment(network), 1).run(PREPROCESSING.tensor(FRAMES))
    rounded = open_engine("onnxruntime", int8 + embedding_fragment(network), 1).run(PREPROCESSING.tensor(FRAMES))
    assert exact.embedding is not None
    assert rounded.embedding is not None
    apart = np.linalg.norm(exact.embedding - rounded.embedding, axis=1) / np.linalg.norm(exact.embedding, axis=1)
    assert 1e-3 < apart.max() < 0.5


def test_an_8_bit_network_without_the_tensor_stays_as_it_is(made: Made) -> None:
    model, network, int8 = made
    head = next(node for node in onnx.load_from_string(network).graph.node if "logits" in node.output)
    other = onnx.load_from_string(int8)
    for node in other.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == head.input[0]:
                    names[place] = "renamed"
    part = embedding_part(model, network, FRAMES[:2], PREPROCESSING, other.SerializeToString())
    assert json.loads(part[EMBEDDING_FILE])["precisions"] == ["fp32"]


def test_a_network_that_gives_other_embeddings_or_none_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    model, network, _ = made
    proto = onnx.load_from_string(network)
    next(node for node in proto.graph.node if "logits" in node.output).op_type = "MatMul"
    with pytest.raises(CxrError, match="does not end in a linear head"):
        embedding_fragment(proto.SerializeToString())
    other = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 2).model
    with pytest.raises(CxrError, match="differ from PyTorch's"):
        embedding_part(other, network, FRAMES[:2], PREPROCESSING)
    monkeypatch.setattr(embedding_output, "embed_frames", lambda *_: np.zeros((2, 7), np.float32))
    with pytest.raises(CxrError, match="not its embedding"):
        embedding_part(model, network, FRAMES[:2], PREPROCESSING)


def test_a_package_without_the_part_answers_without_embeddings(made: Made, tmp_path: Path) -> None:
    write_tiny_package(tmp_path / "old", preprocessing=PREPROCESSING, onnx_bytes=made[1])
    predictor = Predictor.load(tmp_path / "old", 1)
    assert predictor.outputs(FRAMES[:2]).embedding is None
    assert [row.embedding for row in predictor.rows(FRAMES[:2])] == [None, None]


def test_a_part_that_names_no_file_of_the_package_is_refused(made: Made, tmp_path: Path) -> None:
    part = embedding_part(made[0], made[1], FRAMES[:1], PREPROCESSING)
    bad = {EMBEDDING_FILE: part[EMBEDDING_FILE].replace(EMBEDDING_FRAGMENT.encode(), b"other.onnx")}
    with pytest.raises(CxrError, match=r"names other\.onnx"):
        write_tiny_package(tmp_path / "bad", preprocessing=PREPROCESSING, onnx_bytes=made[1], parts={"embedding": bad})


def test_embeddings_that_are_no_numbers_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.load(folder, 1)
    real = predictor._engine.run
    monkeypatch.setattr(
        predictor._engine, "run", lambda tensor: real(tensor)._replace(embedding=np.full((len(tensor), 3), np.nan))
    )
    with pytest.raises(CxrError, match="embeddings that are not finite"):
        predictor.outputs(FRAMES[:2])
