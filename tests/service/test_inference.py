"""From bytes to an answer in the service: equal to the pipeline's evaluation in any company, and refused when due."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import load
from PIL import Image

from bentoml_service.inference import Runtime
from bentoml_service.problems import RequestError
from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError, ImageRejected
from cxr_core.evaluation.operating_points_record import read_operating_points
from cxr_core.evaluation.prediction_sets import PredictionSets
from cxr_core.evaluation.temperature import TemperatureScaling
from cxr_core.imaging.decode import decode
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.release.engines import available_engines
from cxr_core.release.package import load_manifest
from cxr_core.release.parts.calibration import CALIBRATION_FILE
from cxr_core.release.parts.operating_points import POINTS_FILE
from cxr_core.release.parts.prediction_sets import SETS_FILE
from cxr_core.settings_sections import ModelSettings, QualitySettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
PREPROCESSING = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def a_film(seed: int) -> bytes:
    """A film of any size and kind that the service takes."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(128, 400, 2))
    coarse = rng.integers(40, 220, (int(rng.integers(2, 9)), int(rng.integers(2, 9)))).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    kind = seed % 4
    if kind == 1:
        image = image.convert("RGB")
    elif kind == 2:
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if kind == 3 else "PNG")
    return buffer.getvalue()


def tell_apart(model: Any, frames: np.ndarray) -> None:
    """Scale the head of a network with random weights so that its logits of the frames spread by about one."""
    import torch

    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(PREPROCESSING.tensor(frames)))
        factor = 1 / logits.std(dim=0)
        model.head.weight.mul_(factor[:, None])
        model.head.bias.copy_((model.head.bias - logits.mean(dim=0)) * factor)


@pytest.fixture(scope="module")
def records() -> dict[str, bytes]:
    """What earlier assets wrote for the parts: temperature, operating points, prediction sets."""
    parts = load("core/release/tiny_package.py").trust_parts()
    return {file: content for files in parts.values() for file, content in files.items()}


def detector_of(model: Any) -> Any:
    """A film detector of a network, fitted to films of this module."""
    from cxr_core.evaluation.predict import embed_frames
    from cxr_core.settings_trust import FilmDetectorSettings
    from cxr_core.trust.chest_film_fit import fit_chest_film_detector

    splits = [canonical(a_film(seed) for seed in range(first, first + 24)) for first in (1000, 1100, 1200)]
    films = [(embed_frames(model, ArrayFrames(frames), PREPROCESSING), ArrayFrames(frames)) for frames in splits]
    return fit_chest_film_detector(*films, "0" * 64, FilmDetectorSettings(false_rejection=0.2))


def canonical(films: Iterable[bytes]) -> np.ndarray:
    """Frames of films."""
    return np.stack([PREPROCESSING.frame(decode(data, QualitySettings()).grey) for data in films])


@pytest.fixture(scope="module")
def real_package(
    tmp_path_factory: pytest.TempPathFactory, write_tiny_package: Callable[..., Any], records: dict[str, bytes]
) -> tuple[Path, Any]:
    """A package with all parts, made by the pipeline's own code from a network with random weights; and the network."""
    from cxr_core.modelling.export import export_onnx
    from cxr_core.modelling.network import build_classifier
    from cxr_core.release.making_parts import make_parts

    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    frames = np.stack([PREPROCESSING.frame(decode(a_film(seed), QualitySettings()).grey) for seed in range(24)])
    tell_apart(model, frames)
    films = LabelledFrames(ArrayFrames(frames), np.arange(24) % 3, [str(row) for row in range(24)])
    exported = export_onnx(model, PREPROCESSING.tensor(frames[:4]))
    given = {**records, **detector_of(model).files()}
    parts = make_parts(
        model, exported.data, films, films, films.keys, PREPROCESSING, LABELS, 0, resamples=50, records=given
    )
    folder = tmp_path_factory.mktemp("real") / "model"
    write_tiny_package(
        folder,
        preprocessing=PREPROCESSING,
        backbone="test_efficientnet",
        onnx_bytes=exported.data,
        export={"opset": exported.opset, "max_abs_difference": exported.max_abs_difference, **parts.export},
        parts=parts.files,
    )
    return folder, model


Start = Callable[..., Runtime]


@pytest.fixture
def started(
    service_settings: dict[str, str], package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """``started(folder, INFERENCE__QUEUE="3")``: a runtime with a model and these settings of the service."""
    made: list[Runtime] = []

    def start(folder: Path = package, **changes: str) -> Runtime:
        settings = {**service_settings, "CXR_MODEL": str(folder), "CXR_SERVICE__STATE_DIR": str(tmp_path / "state")}
        for name, value in {**settings, **{f"CXR_SERVICE__{key}": value for key, value in changes.items()}}.items():
            monkeypatch.setenv(name, value)
        runtime = Runtime()
        runtime.start()
        made.append(runtime)
        return runtime

    yield start
    for runtime in made:
        asyncio.run(runtime.stop())


@pytest.mark.parametrize("engine", available_engines())
def test_a_thousand_mixed_requests_equal_the_pipelines_evaluation_of_the_same_films(
    real_package: tuple[Path, Any], records: dict[str, bytes], started: Start, engine: str
) -> None:
    from cxr_core.evaluation.predict import predict_logits

    folder, model = real_package
    films = [a_film(seed) for seed in range(100, 140)]
    frames = np.stack([PREPROCESSING.frame(decode(data, QualitySettings()).grey) for data in films])
    scaling = TemperatureScaling.model_validate_json(records[CALIBRATION_FILE])
    expected = scaling.probabilities(predict_logits(model, ArrayFrames(frames), PREPROCESSING))
    runtime = started(folder, INFERENCE__ENGINE=engine, INFERENCE__QUEUE="2000", INFERENCE__PATIENCE_MS="600000")
    assert runtime.predictor is not None
    assert runtime.predictor.engine == engine
    rng = np.random.default_rng(0)
    order = rng.integers(0, len(films), 1000)
    sizes: list[int] = []
    assert runtime.batcher is not None
    real = runtime.batcher._run
    runtime.batcher._run = lambda batch: (sizes.append(len(batch)), real(batch))[1]

    async def one(film: int) -> list[float]:
        prediction, _ = await runtime.predict(films[film])
        return list(prediction.probabilities.values())

    async def hopeless() -> None:
        with pytest.raises(ImageRejected):
            await runtime.predict(b"garbage")

    async def scenario() -> np.ndarray:
        alone = [await one(int(film)) for film in order[:20]]  # one by one, so that single films are a batch
        others = [asyncio.create_task(hopeless()) for _ in range(50)]

        async def later(film: int) -> list[float]:
            await asyncio.sleep(2 * float(rng.random()))  # so that other sizes occur as well
            return await one(film)

        together = await asyncio.gather(*(later(int(film)) for film in order[20:]))
        await asyncio.gather(*others)
        return np.asarray([*alone, *together])

    found = asyncio.run(scenario())
    np.testing.assert_allclose(found, expected[order], rtol=0, atol=1e-4)
    assert min(sizes) == 1 < max(sizes)
    assert len(np.unique(expected.round(2), axis=0)) > 30  # the network tells the films apart
    assert runtime.batcher.inside == 0


def test_sets_and_flags_are_the_pipelines_own(
    real_package: tuple[Path, Any], records: dict[str, bytes], started: Start
) -> None:
    from cxr_core.evaluation.predict import predict_logits, softmax

    folder, model = real_package
    films = [a_film(seed) for seed in range(200, 230)]
    frames = np.stack([PREPROCESSING.frame(decode(data, QualitySettings()).grey) for data in films])
    logits = predict_logits(model, ArrayFrames(frames), PREPROCESSING)
    calibrated = TemperatureScaling.model_validate_json(records[CALIBRATION_FILE]).probabilities(logits)
    sets = PredictionSets.model_validate_json(records[SETS_FILE])
    members = {name: sets.sets(softmax(logits), name == "labels") for name in ("labels", "marginal")}
    point = read_operating_points(records[POINTS_FILE]).point("tb_sensitivity_90")
    assert point is not None
    runtime = started(folder)
    found = [prediction for prediction, _ in asyncio.run(runtime.predict_all(films))]  # type: ignore[misc]
    for row, prediction in enumerate(found):
        said = prediction.parts
        at_90 = said["operating_points"]["tb_sensitivity_90"]
        assert at_90["probability"] == pytest.approx(calibrated[row, 2], abs=1e-4)
        assert at_90["flagged"] == point.flags(calibrated)[row]
        for name, member in members.items():
            assert said["prediction_sets"][name] == [LABELS[place] for place in np.flatnonzero(member[row])]
        codes = {warning.code for warning in prediction.warnings}
        size = int(members["labels"][row].sum())
        alone = set() if said["prediction_sets"]["labels"] == [prediction.label] else {"other_label"}
        expected = {0: {"empty_set"}, 1: alone}.get(size, {"several_labels"})
        assert codes & {"empty_set", "several_labels", "other_label"} == expected
        assert ("tb_flag" in codes) == (at_90["flagged"] and prediction.label != "Tuberculosis")
    assert {bool(flag) for flag in point.flags(calibrated)} == {True, False}
    assert len({int(size) for size in members["labels"].sum(axis=1)}) > 1


def test_a_sites_own_points_are_served_and_those_of_another_model_are_refused_at_start(
    real_package: tuple[Path, Any], started: Start, tmp_path: Path
) -> None:
    tiny, model = load("core/release/tiny_package.py"), load_manifest(real_package[0]).model
    (tmp_path / "points.json").write_bytes(tiny.site_points(model, 0.99))
    runtime = started(real_package[0], OPERATING_POINTS=str(tmp_path / "points.json"))
    found, _ = asyncio.run(runtime.predict(a_film(3)))
    assert found.parts["operating_points"]["tb_sensitivity_90"]["threshold"] == 0.99
    assert runtime.loaded().parts_summary()["operating_points"]["source"] == "site"
    (tmp_path / "points.json").write_bytes(tiny.site_points(model, temperature=3.0))
    with pytest.raises(CxrError, match=r"points\.json, field temperature: 3 but"):
        runtime.check()  # in the parent process, before any worker is started


def test_a_request_of_several_films_keeps_their_order_and_says_which_could_not_be_used(started: Start) -> None:
    runtime = started()
    films = [a_film(1), b"garbage", a_film(2), b"", a_film(3)]
    found = asyncio.run(runtime.predict_all(films))
    assert [type(one).__name__ for one in found] == ["tuple", "ImageRejected", "tuple", "ImageRejected", "tuple"]
    for place in (0, 2, 4):
        alone = asyncio.run(runtime.predict(films[place]))[0]
        assert found[place][0].probabilities == pytest.approx(alone.probabilities, abs=1e-6)  # type: ignore[index]
    assert asyncio.run(runtime.predict_all([])) == []


def test_overload_refuses_a_whole_request_but_never_its_later_films_for_their_waiting(started: Start) -> None:
    runtime = started(INFERENCE__PATIENCE_MS="0")
    assert runtime.batcher is not None
    runtime.batcher._film_seconds = 100.0
    found = asyncio.run(runtime.predict_all([a_film(seed) for seed in range(6)]))
    assert all(isinstance(one, tuple) for one in found)
    runtime.batcher._film_seconds = 100.0
    with runtime.batcher.reserve(), pytest.raises(RequestError) as caught:
        asyncio.run(runtime.predict_all([a_film(1), a_film(2)]))
    assert (caught.value.status, caught.value.code) == (503, "overloaded")


def test_more_films_than_the_queue_holds_are_shed_before_they_are_decoded(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = started(INFERENCE__QUEUE="5", INFERENCE__PATIENCE_MS="600000")
    assert runtime.predictor is not None
    real, gate, decoded = runtime.predictor.prepare, threading.Event(), []

    def slow(*given: Any) -> Any:
        decoded.append(1)
        assert gate.wait(30)
        return real(*given)

    monkeypatch.setattr(runtime.predictor, "prepare", slow)

    async def scenario() -> list[Any]:
        tasks = [asyncio.create_task(runtime.predict(a_film(1))) for _ in range(20)]
        while sum(task.done() for task in tasks) < 15:
            await asyncio.sleep(0.01)
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(scenario())
    assert sum(isinstance(one, tuple) for one in found) == 5
    assert {one.code for one in found if isinstance(one, RequestError)} == {"overloaded"}
    assert len(decoded) == 5


@pytest.mark.parametrize("engine", available_engines())
def test_the_film_detector_answers_the_pipelines_own_score_in_whatever_batch(
    real_package: tuple[Path, Any], started: Start, engine: str
) -> None:
    from cxr_core.evaluation.predict import embed_frames

    folder, model = real_package
    films = [a_film(seed) for seed in range(300, 330)]
    frames = canonical(films)
    detector = detector_of(model)
    expected = detector.score(embed_frames(model, ArrayFrames(frames), PREPROCESSING), frames)
    runtime = started(folder, INFERENCE__ENGINE=engine)

    async def together() -> list[Any]:
        return await asyncio.gather(*(runtime.predict(film, patient=True) for film in films))

    for (prediction, _), score in zip(asyncio.run(together()), expected, strict=True):
        said = prediction.parts["film_detector"]
        assert said["score"] == pytest.approx(score, abs=1e-9)
        assert said["chest_film"] == (score > detector.threshold)
        assert ("not_a_chest_film" in {warning.code for warning in prediction.warnings}) != said["chest_film"]
    assert len(set(expected.tolist())) > 5
    explained = asyncio.run(runtime.explain(films[0]))[0]  # goes the same way
    assert explained.parts["film_detector"]["score"] == pytest.approx(expected[0], abs=1e-9)


def test_an_explanation_is_of_the_asked_class_or_of_the_predicted_one(
    real_package: tuple[Path, Any], started: Start
) -> None:
    runtime = started(real_package[0])
    data = a_film(5)
    prediction, prepared, heat, label = asyncio.run(runtime.explain(data))
    assert label == prediction.label
    assert heat.shape == prepared.frame.shape == (64, 64)
    assert heat.dtype == np.float32
    assert prediction == asyncio.run(runtime.predict(data))[0]
    others = {other: asyncio.run(runtime.explain(data, other)) for other in LABELS}
    assert [shown[3] for shown in others.values()] == list(LABELS)
    np.testing.assert_array_equal(others[label][2], heat)
    assert len({shown[2].tobytes() for shown in others.values()}) == 3
    with pytest.raises(RequestError) as caught:
        asyncio.run(runtime.explain(data, "DOE-JANE"))
    assert (caught.value.status, caught.value.code) == (422, "unknown_label")
    assert "DOE" not in caught.value.detail


def test_a_package_without_the_part_cannot_explain(started: Start) -> None:
    with pytest.raises(RequestError) as caught:
        asyncio.run(started().explain(a_film(1)))
    assert (caught.value.status, caught.value.code) == (404, "part_missing")


def test_the_8_bit_network_is_served_where_asked_for_and_its_answers_say_what_it_costs(
    real_package: tuple[Path, Any], started: Start
) -> None:
    exact = asyncio.run(started(real_package[0]).predict(a_film(3)))[0]
    runtime = started(real_package[0], INFERENCE__PRECISION="int8", INFERENCE__ENGINE="auto")
    rounded = asyncio.run(runtime.predict(a_film(3)))[0]
    assert "int8" not in exact.parts
    assert rounded.parts["calibration"] == exact.parts["calibration"]
    cost = rounded.parts["int8"]
    assert 0 < cost["mean_probability_change"] <= cost["max_probability_change"]
    assert rounded.probabilities != exact.probabilities
    assert rounded.probabilities == pytest.approx(exact.probabilities, abs=0.2)


def test_a_package_without_an_8_bit_network_is_not_served_as_one(started: Start) -> None:
    with pytest.raises(CxrError, match="has no int8 network: set service"):
        started(INFERENCE__PRECISION="int8")


def test_labels_that_are_set_must_be_those_of_the_package_in_their_order(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_LABELS", "Normal,Pneumonia,Tuberculosis")
    started()
    monkeypatch.setenv("CXR_LABELS", "Normal,Tuberculosis,Pneumonia")
    with pytest.raises(CxrError, match="Normal, Tuberculosis, Pneumonia are expected, in this order"):
        started()


def test_labels_that_are_not_set_are_those_of_the_package(
    tmp_path: Path, write_tiny_package: Callable[..., Any], started: Start
) -> None:
    write_tiny_package(tmp_path / "other", labels=("A", "B", "C"))
    runtime = started(tmp_path / "other")
    assert set(asyncio.run(runtime.predict(a_film(1)))[0].probabilities) == {"A", "B", "C"}


def test_the_cores_are_divided_among_the_workers(started: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    from bentoml_service import inference

    real = inference.Predictor.load

    def load(folder: Path, count: int, *given: Any, **named: Any) -> Any:
        threads.append(count)
        return real(folder, count, *given, **named)

    monkeypatch.setattr(inference.Predictor, "load", load)
    monkeypatch.setattr(inference, "usable_cores", lambda: 8)
    for workers in ("1", "3", "16"):
        started(WORKERS=workers)
    assert threads == [8, 2, 1]


def test_the_fastest_engine_is_asked_for_once_and_remembered(
    started: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bentoml_service import inference

    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(inference, "choose_engine", lambda *given: asked.append(given) or "openvino")
    runtime = started(INFERENCE__ENGINE="auto", WORKERS="1")
    assert runtime.predictor is not None
    assert runtime.predictor.engine == "openvino"
    assert asked[0][1] == "fp32"
    assert asked[0][3] == tmp_path / "state/engine.json"
