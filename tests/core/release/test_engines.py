"""Engines: equal on every batch, checked before they serve, silent towards the outside; the fastest one remembered."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_package import PREPROCESSING, tiny_onnx, write_tiny_package

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import reference_film
from cxr_core.release import engine_choice
from cxr_core.release.engine_check import check_engine, reference_frames, reference_logits
from cxr_core.release.engine_choice import choose_engine, fastest, key_of, measure_engines, processor
from cxr_core.release.engines import ENGINES, Engine, available_engines, open_engine, usable_cores
from cxr_core.release.manifest import read_manifest
from cxr_core.release.prediction import Outputs
from cxr_core.release.predictor import Predictor

CPU = [name for name in available_engines() if name != "cuda"]
NEEDS_OPENVINO = pytest.mark.skipif("openvino" not in CPU, reason="needs the package openvino")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines") / "model"
    write_tiny_package(folder)
    return folder


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224)).astype(np.uint8)


@pytest.mark.parametrize("name", CPU)
def test_every_engine_gives_the_same_logits_whatever_the_batch(name: str) -> None:
    network = tiny_onnx(3)
    tensor = PREPROCESSING.tensor(frames(17))
    expected = open_engine("onnxruntime", network, 1).run(tensor).logits
    engine = open_engine(name, network, 2)
    assert engine.name == name
    for rows in (slice(0, 1), slice(0, 3), slice(0, 17), slice(5, 7)):
        found = engine.run(tensor[rows]).logits
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[rows], rtol=0, atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 1e-2  # the network tells the films apart


@pytest.mark.parametrize("name", CPU)
def test_threads_do_not_mix_up_what_an_engine_answers(name: str) -> None:
    engine = open_engine(name, tiny_onnx(3), 2)
    batches = [PREPROCESSING.tensor(frames(1 + seed % 3, seed)) for seed in range(24)]
    expected = [engine.run(batch).logits for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(engine.run, batches), expected, strict=True):
            np.testing.assert_array_equal(found.logits, wanted)


def test_an_engine_that_is_not_here_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CxrError, match="There is no engine 'tensorrt'"):
        open_engine("tensorrt", b"")
    monkeypatch.setattr(ENGINES["cuda"], "here", classmethod(lambda cls: False))
    with pytest.raises(CxrError, match="cuda is not on this machine: install onnxruntime-gpu"):
        open_engine("cuda", tiny_onnx())


@pytest.mark.parametrize("name", CPU)
def test_what_is_no_network_of_ours_is_refused_by_every_engine(name: str) -> None:
    with pytest.raises(CxrError, match=f"cannot be loaded by {name}"):
        open_engine(name, b"not a network")
    with pytest.raises(CxrError, match="the output 'logits'"):
        open_engine(name, tiny_onnx(name="scores"))


class _Slightly(ENGINES["onnxruntime"]):  # type: ignore[misc]
    name = "slightly"
    by = 0.0

    def run(self, tensor: np.ndarray) -> Outputs:
        found = super().run(tensor)
        found.logits[-1] += self.by  # on the last frame only
        return found


@pytest.mark.parametrize(("by", "refused"), [(0.0, False), (5e-5, False), (2e-4, True), (float("nan"), True)])
def test_an_engine_that_computes_something_else_does_not_serve(
    package: Path, monkeypatch: pytest.MonkeyPatch, by: float, refused: bool
) -> None:
    monkeypatch.setitem(ENGINES, "slightly", _Slightly)
    monkeypatch.setattr(_Slightly, "by", by)
    if refused:
        with pytest.raises(CxrError):
            Predictor.load(package, 1, engine="slightly")
    else:
        assert Predictor.load(package, 1, engine="slightly").engine == "slightly"


def test_onnx_runtime_itself_must_reproduce_what_was_packaged(tmp_path: Path) -> None:
    tensor = PREPROCESSING.tensor(reference_frames(PREPROCESSING.frame(reference_film())))
    logits = reference_logits(tiny_onnx(), tensor)
    export = {"opset": 17, "max_abs_difference": 1e-6}
    write_tiny_package(tmp_path / "same", export={**export, "reference_logits": logits})
    assert Predictor.load(tmp_path / "same", 1).engine == "onnxruntime"
    logits[1][2] += 0.001
    write_tiny_package(tmp_path / "other", export={**export, "reference_logits": logits})
    with pytest.raises(CxrError, match=r"differs from the machine that packaged it by 0\.001"):
        Predictor.load(tmp_path / "other", 1)
    for damaged in (logits[:1], "x", [["a"]]):
        with pytest.raises(CxrError, match="eference logits"):
            check_engine("onnxruntime", "fp32", np.zeros((3, 3)), damaged, np.zeros((3, 3)))  # type: ignore[arg-type]


def test_8_bit_sums_may_round_otherwise_on_another_processor_but_not_by_much() -> None:
    here = np.asarray([[1.0, 0.0, 0.0]] * 3)
    check_engine("onnxruntime", "int8", here, (here + np.asarray([0.05, 0, 0])).tolist(), here)  # .01 of a probability
    with pytest.raises(CxrError, match="machine that packaged it"):
        check_engine("onnxruntime", "int8", here, (here + np.asarray([0.3, 0, 0])).tolist(), here)


WATCHED = """
import json, os, sys
seen = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.fork"):
        seen.append(event)
sys.addaudithook(watch)
from cxr_core.release.engines import open_engine
engine = open_engine("openvino", open(sys.argv[1], "rb").read(), 1)
import numpy as np, threading
engine.run(np.zeros((1, 3, 224, 224), np.float32))
for thread in threading.enumerate():
    if thread is not threading.main_thread() and not thread.daemon:
        thread.join(10)
sent = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]
print(json.dumps({"seen": seen, "sent": sent, "wrote": os.listdir(os.environ["HOME"])}))
"""


@NEEDS_OPENVINO
def test_openvino_sends_nothing_and_writes_nothing_into_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(tiny_onnx())
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "network.onnx")],
        capture_output=True, text=True, env=environment, check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(ran.stdout) == {"seen": [], "sent": [], "wrote": []}


def test_cores_are_those_that_a_container_may_use() -> None:
    here = usable_cores(lambda: "max 100000\n")
    assert here >= 1
    assert usable_cores(lambda: "50000 100000\n") == 1
    assert usable_cores(lambda: f"{here * 300000} 100000\n") == here

    def none() -> str:
        raise FileNotFoundError

    assert usable_cores(none) == here


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, "onnxruntime"),
        ({"onnxruntime": {"1": 10, "8": 20}, "openvino": {"1": 20, "8": 40}}, "openvino"),
        ({"onnxruntime": {"1": 10, "8": 20}, "openvino": {"1": 10.3, "8": 20.6}}, "onnxruntime"),  # noise
        ({"onnxruntime": {"1": 10, "8": 40}, "openvino": {"1": 20, "8": 18}}, "onnxruntime"),
        ({"openvino": {"1": 1, "8": 1}}, "openvino"),
    ],
)
def test_the_fastest_engine_is_fast_alone_and_in_a_batch(rates: dict[str, dict[str, float]], expected: str) -> None:
    assert fastest(rates) == expected


@NEEDS_OPENVINO
def test_the_choice_is_measured_once_and_remembered(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "state/engine.json"
    engine = choose_engine(package, "fp32", 1, memory, seconds=0.01)
    assert engine in CPU
    (known,) = json.loads(memory.read_text()).values()
    assert known["engine"] == engine
    assert set(known["images_per_second"]) == set(CPU)
    for rates in known["images_per_second"].values():
        assert set(rates) == {"1", "8"}
        assert min(rates.values()) > 0
    assert (memory.stat().st_mode & 0o777, memory.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(engine_choice.subprocess, "run", never)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: choose_engine(package, "fp32", 1, memory), range(8))) == {engine}
    with pytest.raises(AssertionError, match="measured again"):
        choose_engine(package, "fp32", 2, memory)  # other threads, other choice


@NEEDS_OPENVINO
def test_several_workers_that_start_together_measure_once(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setattr(engine_choice, "measure_engines", lambda *_: measured.append(1) or {"openvino": {"1": 1.0}})
    monkeypatch.setattr(engine_choice, "_measure_elsewhere", engine_choice.remember_engine)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: choose_engine(package, "fp32", 1, tmp_path / "engine.json"), range(6)))
    assert found == ["openvino"] * 6
    assert measured == [1]


@NEEDS_OPENVINO
@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"k": 3}'])
def test_a_damaged_memory_is_made_anew(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    monkeypatch.setattr(engine_choice, "measure_engines", lambda *_: {"openvino": {"1": 1.0}})
    monkeypatch.setattr(engine_choice, "_measure_elsewhere", engine_choice.remember_engine)
    memory = tmp_path / "engine.json"
    memory.write_bytes(damage)
    assert choose_engine(package, "fp32", 1, memory) == "openvino"
    assert choose_engine(package, "fp32", 1, memory) == "openvino"


@NEEDS_OPENVINO
def test_a_measurement_that_dies_leaves_onnx_runtime_and_is_tried_again(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_choice.sys, "executable", "/bin/false")
    with caplog.at_level(logging.WARNING):
        assert choose_engine(package, "fp32", 1, tmp_path / "engine.json") == "onnxruntime"
    assert "could not be measured (status 1)" in caplog.text
    assert not (tmp_path / "engine.json").exists()


def test_an_engine_that_fails_its_check_is_not_measured(
    package: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(ENGINES, "slightly", _Slightly)
    monkeypatch.setattr(_Slightly, "by", 1.0)
    assert set(measure_engines(package, "fp32", 1, ["onnxruntime", "slightly"], 0.01)) == {"onnxruntime"}
    assert "The engine slightly differs" in caplog.text
    assert measure_engines(package, "fp32", 1, ["slightly"], 0.01) == {}


def test_a_choice_holds_for_one_model_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_package(tmp_path / "a")
    write_tiny_package(tmp_path / "b", weights_bytes=b"other")
    first, second = read_manifest(tmp_path / "a"), read_manifest(tmp_path / "b")
    keys = {
        key_of(first, "fp32", 2, ["onnxruntime"]),
        key_of(second, "fp32", 2, ["onnxruntime"]),
        key_of(first, "fp32", 1, ["onnxruntime"]),
        key_of(first, "int8", 2, ["onnxruntime"]),
    }
    monkeypatch.setattr(engine_choice, "processor", lambda: "another")
    keys.add(key_of(first, "fp32", 2, ["onnxruntime"]))
    monkeypatch.setattr(Engine, "version", classmethod(lambda cls: "another"))
    keys.add(key_of(first, "fp32", 2, ["onnxruntime"]))
    assert len(keys) == 6


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n")
    assert processor(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"
    assert processor()
    assert processor(tmp_path / "missing")


def test_8_bit_networks_are_not_measured(package: Path, tmp_path: Path) -> None:
    assert choose_engine(package, "int8", 1, tmp_path / "engine.json") == "onnxruntime"
    assert not (tmp_path / "engine.json").exists()
