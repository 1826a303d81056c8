"""The part ``film_detector``: the pipeline's own score beside an answer, of this model only, and with which network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_package import write_tiny_package

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import embed_frames
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.embedding_output import embedding_part
from cxr_core.modelling.export import export_onnx
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.quantise import quantise
from cxr_core.release.engines import open_engine
from cxr_core.release.parts import answer_schema
from cxr_core.release.parts.film_detector import FILM_DETECTOR_FILE
from cxr_core.release.parts.int8 import INT8_FILE, INT8_NETWORK, Int8Record
from cxr_core.release.predictor import Predictor
from cxr_core.settings_sections import ModelSettings
from cxr_core.settings_trust import FilmDetectorSettings
from cxr_core.trust import chest_film_part
from cxr_core.trust.chest_film import ChestFilmDetector
from cxr_core.trust.chest_film_fit import fit_chest_film_detector
from cxr_core.trust.chest_film_part import film_detector_part
from cxr_core.trust.chest_film_record import ARRAYS_FILE, RECORD_FILE

PREPROCESSING = Preprocessing(128, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MODEL = "f" * 64


def smooth_films(count: int, seed: int) -> np.ndarray:
    """(count, 128, 128) uint8: dark left and right of a bright middle, with soft detail."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:128, 0:128] / 127
    base = 70 + 90 * np.exp(-(((x - 0.5) / 0.12) ** 2)) + 60 * y**2
    found = []
    for _ in range(count):
        detail = Image.fromarray(rng.normal(0, 1, (16, 16)).astype(np.float32)).resize(
            (128, 128), Image.Resampling.BICUBIC
        )
        found.append(base * rng.uniform(0.9, 1.1) + 8 * np.asarray(detail))
    return np.clip(found, 1, 255).astype(np.uint8)


Made = tuple[Classifier, bytes, bytes, ChestFilmDetector]


@pytest.fixture(scope="module")
def made() -> Made:
    """A classifier with random weights, its network exact and in 8 bits, and a detector fitted to it."""
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    splits = [smooth_films(count, seed) for count, seed in ((60, 0), (40, 1), (39, 2))]
    embedded = [(embed_frames(model, ArrayFrames(frames), PREPROCESSING), ArrayFrames(frames)) for frames in splits]
    detector = fit_chest_film_detector(*embedded, MODEL, FilmDetectorSettings(false_rejection=0.05))
    network = export_onnx(model, PREPROCESSING.tensor(splits[0][:2])).data
    return model, network, quantise(network, ArrayFrames(splits[0]), PREPROCESSING), detector


@pytest.fixture(scope="module")
def parts(made: Made) -> dict[str, dict[str, bytes]]:
    """Files of the parts ``embedding``, ``int8`` and ``film_detector``."""
    model, network, int8, detector = made
    test = smooth_films(30, 9)
    embedding = embedding_part(model, network, test[:4], PREPROCESSING, int8)
    numbers = dict.fromkeys(set(Int8Record.model_fields) - {"method", "network", "reference_logits"}, 1)
    record = Int8Record(method="static", network=INT8_NETWORK, reference_logits=[[0.0] * 3] * 3, **numbers)
    return {
        "embedding": embedding,
        "int8": {INT8_FILE: record.model_dump_json().encode(), INT8_NETWORK: int8},
        "film_detector": film_detector_part(detector.files(), embedding, int8, ArrayFrames(test), PREPROCESSING),
    }


def package(folder: Path, made: Made, parts: Mapping[str, Mapping[str, bytes]], **changes: Any) -> Path:
    arguments = {"preprocessing": PREPROCESSING, "onnx_bytes": made[1], "data": {"trained_model": MODEL}, **changes}
    write_tiny_package(folder, parts=parts, **arguments)
    return folder


def png(frame: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_answer_carries_the_pipelines_own_score(made: Made, parts: Any, tmp_path: Path) -> None:
    model, _, _, detector = made
    films = smooth_films(12, 4)
    expected = detector.score(embed_frames(model, ArrayFrames(films), PREPROCESSING), films)
    predictor = Predictor.load(package(tmp_path / "model", made, parts), 1)
    for film, score in zip(films, expected, strict=True):
        said = predictor.predict(png(film))
        assert said.parts["film_detector"] == {
            "score": pytest.approx(score, abs=1e-12),
            "threshold": detector.threshold,
            "chest_film": bool(score > detector.threshold),
        }
        codes = [advice.code for advice in said.warnings]
        assert ("not_a_chest_film" in codes) == (score <= detector.threshold)
    assert (expected > detector.threshold).mean() > 0.8


def test_other_pictures_and_turned_films_are_told(made: Made, parts: Any, tmp_path: Path) -> None:
    predictor = Predictor.load(package(tmp_path / "model", made, parts), 1)
    film = smooth_films(1, 4)[0]
    noise = np.random.default_rng(0).integers(0, 256, (128, 128)).astype(np.uint8)
    for picture in (noise, np.rot90(film), 255 - film, np.full((128, 128), 90, np.uint8)):
        said = predictor.predict(png(np.ascontiguousarray(picture)))
        assert said.parts["film_detector"]["chest_film"] is False
        assert "not_a_chest_film" in [advice.code for advice in said.warnings]


def test_a_film_scored_without_its_embedding_is_not_judged(made: Made, parts: Any, tmp_path: Path) -> None:
    predictor = Predictor.load(package(tmp_path / "model", made, parts), 1)
    prepared = predictor.prepare(png(smooth_films(1, 4)[0]))
    row = predictor.rows(prepared.frame[None])[0]
    assert "film_detector" not in predictor.answer(prepared, row.logits).parts
    assert predictor.answer(prepared, *row) == predictor.predict(png(smooth_films(1, 4)[0]))


def test_a_detector_of_another_model_or_without_embeddings_is_refused(made: Made, parts: Any, tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="fitted to another model"):
        package(tmp_path / "other", made, parts, data={"trained_model": "0" * 64})
    with pytest.raises(CxrError, match="needs the part embedding"):
        package(tmp_path / "bare", made, {"film_detector": parts["film_detector"]})
    for missing in (RECORD_FILE, ARRAYS_FILE):
        files = {name: data for name, data in parts["film_detector"].items() if name != missing}
        with pytest.raises(CxrError, match=f"names {missing}"):
            package(tmp_path / missing, made, {**parts, "film_detector": files})
    damaged = {**parts["film_detector"], ARRAYS_FILE: b"no arrays"}
    with pytest.raises(CxrError, match="does not hold the arrays"):
        package(tmp_path / "damaged", made, {**parts, "film_detector": damaged})


@pytest.mark.parametrize("kept", [True, False])
def test_with_the_8_bit_network_it_answers_where_the_promise_holds(
    made: Made, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    _, _, int8, detector = made
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(chest_film_part, "keeps_promise", lambda r, n, *_: asked.append((r, n)) or kept)
    test = smooth_films(30, 9)
    files = film_detector_part(detector.files(), parts["embedding"], int8, ArrayFrames(test), PREPROCESSING)
    record = json.loads(files[FILM_DETECTOR_FILE])
    assert record["answers"] == (["fp32", "int8"] if kept else ["fp32"])
    (refused, films), said = asked[0], record["int8_false_rejection"]
    assert (said["value"], said["films"]) == (refused / 30, films) == (refused / 30, 30)
    rounded_network = int8 + parts["embedding"]["embedding.onnx"]
    embeddings = open_engine("onnxruntime", rounded_network, 1).run(PREPROCESSING.tensor(test)).embedding
    assert embeddings is not None
    scores = detector.score(embeddings, test)
    assert refused == (scores <= detector.threshold).sum()
    assert record["int8_median_score"] == pytest.approx(np.median(scores), abs=1e-6)
    plain = film_detector_part(detector.files(), parts["embedding"], None, ArrayFrames(test), PREPROCESSING)
    assert json.loads(plain[FILM_DETECTOR_FILE])["int8_false_rejection"] is None
    folder = package(tmp_path / "model", made, {**parts, "film_detector": files})
    exact = Predictor.load(folder, 1)
    rounded = Predictor(exact.manifest, exact._engine, exact.parts, "int8", 0.7, 20.0)  # an answer of the 8-bit network
    film = png(test[0])
    assert "film_detector" in exact.predict(film).parts
    assert ("film_detector" in rounded.predict(film).parts) == kept


def test_the_model_says_what_the_detector_promises_and_found(made: Made, parts: Any, tmp_path: Path) -> None:
    predictor = Predictor.load(package(tmp_path / "model", made, parts), 1)
    said = predictor.parts_summary()["film_detector"]
    assert said["rate"] == said["threshold"] == made[3].threshold
    assert {"false_rejection", "detection", "answers", "calibration_films"} <= set(said)
    assert json.loads(json.dumps(said)) == said
    assert "film_detector" in answer_schema()["properties"]  # type: ignore[operator]


def test_without_a_fitted_detector_or_an_embedding_there_is_no_part(made: Made, parts: Any) -> None:
    test = ArrayFrames(smooth_films(2, 9))
    with pytest.raises(CxrError, match="No film detector was fitted"):
        film_detector_part({}, parts["embedding"], None, test, PREPROCESSING)
    with pytest.raises(CxrError, match="gives no embedding"):
        film_detector_part(made[3].files(), None, None, test, PREPROCESSING)
    other = dict(parts["embedding"])
    other["embedding.json"] = other["embedding.json"].replace(b'"size": 256', b'"size": 255')
    with pytest.raises(CxrError, match="another length"):
        film_detector_part(made[3].files(), other, None, test, PREPROCESSING)
