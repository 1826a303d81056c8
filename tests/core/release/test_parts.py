"""Optional parts of a package: one small module each, checked at load, seen in answers, absent without harm."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from tiny_package import LABELS, PREPROCESSING, tiny_onnx, write_tiny_package

from cxr_core.digests import digest_bytes, digest_tree
from cxr_core.errors import CxrError
from cxr_core.imaging.advice import Advice
from cxr_core.imaging.preprocess import reference_film
from cxr_core.release.engine_check import reference_frames, reference_logits
from cxr_core.release.manifest import PackageManifest
from cxr_core.release.package import MANIFEST
from cxr_core.release.parts import PARTS, OpenFile, Part, PartAnswer, Scored, answer_schema
from cxr_core.release.parts.explain import EXPLAIN_FILE, FRAGMENT, heat_map
from cxr_core.release.parts.int8 import INT8_FILE, INT8_NETWORK
from cxr_core.release.predictor import Predictor


# ---------------------------------------------------------------- a whole part, as a later module will hold it
class ThresholdAnswer(BaseModel):
    over: list[str]


class ThresholdPart(Part):
    name = "thresholds"
    file = "thresholds.json"
    title = "Classes whose probability reaches their threshold."
    answer_model = ThresholdAnswer

    def __init__(self, thresholds: dict[str, float]) -> None:
        self.thresholds = thresholds

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> ThresholdPart:
        thresholds = json.loads(data)
        if set(thresholds) != set(manifest.labels):
            raise CxrError(f"{cls.file} has thresholds of other classes: package the model again.")
        return cls(thresholds)

    def summary(self) -> dict[str, Any]:
        return {"thresholds": self.thresholds}

    def answer(self, scored: Scored) -> PartAnswer:
        pairs = zip(scored.labels, scored.probabilities, strict=True)
        over = [label for label, p in pairs if p >= self.thresholds[label]]
        advice = () if over else (Advice(code="undecided", message="No class reaches its threshold."),)
        return PartAnswer(ThresholdAnswer(over=over), advice)


# ------------------------------------------------------------------------------------------------------------


def thresholds(value: float) -> dict[str, dict[str, bytes]]:
    return {"thresholds": {"thresholds.json": json.dumps(dict.fromkeys(LABELS, value)).encode()}}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, ThresholdPart.name, ThresholdPart)


def png() -> bytes:
    import cv2

    pixels = np.random.default_rng(1).integers(60, 190, (260, 300)).astype(np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def test_adding_a_part_is_one_class_in_the_registry(registered: None, tmp_path: Path) -> None:
    plain = write_tiny_package(tmp_path / "plain")
    manifest = write_tiny_package(tmp_path / "more", parts=thresholds(0.0))
    assert manifest.parts == {"thresholds": "thresholds.json"}
    assert manifest.files["thresholds.json"] == digest_bytes(thresholds(0.0)["thresholds"]["thresholds.json"])
    assert manifest.model == plain.model
    predictor = Predictor.load(tmp_path / "more", 1)
    assert predictor.predict(png()).parts == {"thresholds": {"over": list(LABELS)}}
    assert predictor.parts_summary() == {
        "thresholds": {"known": True, "title": ThresholdPart.title, "thresholds": dict.fromkeys(LABELS, 0.0)}
    }
    without = Predictor.load(tmp_path / "plain", 1).predict(png())
    assert without.parts == {}
    assert predictor.predict(png()).probabilities == without.probabilities
    schema: Any = answer_schema()
    assert schema["properties"]["thresholds"]["properties"]["over"]["type"] == "array"


def test_a_part_can_warn(registered: None, tmp_path: Path) -> None:
    write_tiny_package(tmp_path, parts=thresholds(1.1))
    answer = Predictor.load(tmp_path, 1).predict(png())
    assert "undecided" in [warning.code for warning in answer.warnings]


def test_a_part_that_does_not_fit_the_package_is_refused_at_packaging_and_at_load(
    registered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"thresholds": {"thresholds.json": b'{"Normal": 0.5}'}}
    with pytest.raises(CxrError, match="other classes"):
        write_tiny_package(tmp_path / "refused", parts=other)
    assert not (tmp_path / "refused").exists()
    real = ThresholdPart.read
    monkeypatch.setattr(ThresholdPart, "read", classmethod(lambda cls, *_: cls({})))
    write_tiny_package(tmp_path / "model", parts=other)
    monkeypatch.setattr(ThresholdPart, "read", real)
    with pytest.raises(CxrError, match="other classes"):
        Predictor.load(tmp_path / "model", 1)


def test_a_part_that_this_code_does_not_know_is_reported_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(PARTS, ThresholdPart.name, ThresholdPart)
        write_tiny_package(tmp_path, parts=thresholds(0.0))
    with caplog.at_level(logging.WARNING):
        predictor = Predictor.load(tmp_path, 1)
    assert "has a part thresholds, which this version does not know" in caplog.text
    assert predictor.unknown_parts == ("thresholds",)
    assert predictor.parts_summary() == {"thresholds": {"known": False}}
    assert predictor.predict(png()).parts == {}


def test_an_altered_part_is_refused_by_its_file(registered: None, tmp_path: Path) -> None:
    write_tiny_package(tmp_path, parts=thresholds(0.5))
    (tmp_path / "thresholds.json").write_text("{}")
    with pytest.raises(CxrError, match=r"thresholds\.json has SHA-256"):
        Predictor.load(tmp_path, 1)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"nonsense": {"nonsense.json": b"{}"}}, "part nonsense is unknown"),
        ({"explain": {"other.json": b"{}"}}, "part explain is unknown or lacks its file"),
        ({"explain": {EXPLAIN_FILE: b"{}", "model.onnx": b""}}, r"brings model\.onnx"),
        ({"explain": {EXPLAIN_FILE: b"{"}}, r"explain\.json of the model package"),
        ({"explain": {EXPLAIN_FILE: b"{}"}}, "field method"),
        ({"int8": {INT8_FILE: b"{}"}}, "field method"),
    ],
)
def test_what_is_no_part_is_not_packaged(tmp_path: Path, parts: dict[str, dict[str, bytes]], sentence: str) -> None:
    with pytest.raises(CxrError, match=sentence):
        write_tiny_package(tmp_path / "model", parts=parts)
    assert not (tmp_path / "model").exists()


def explain_record(**changes: Any) -> bytes:
    record = {"method": "m", "layer": "active", "network": FRAGMENT, "films": 1, "max_abs_difference": 0.0}
    return json.dumps({**record, **changes}).encode()


def fragment(network: bytes = b"") -> bytes:
    import onnx

    from cxr_core.modelling.class_maps import _find_head, _fragment

    return _fragment(*_find_head(onnx.load_from_string(network or tiny_onnx()).graph))


def test_a_heat_map_is_the_networks_own_evidence(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, parts={"explain": {EXPLAIN_FILE: explain_record(), FRAGMENT: fragment()}})
    predictor = Predictor.load(tmp_path, 1)
    assert predictor.can_explain
    frame = np.random.default_rng(2).integers(0, 256, (224, 224)).astype(np.uint8)
    kernel, weight = tiny_weights()
    x = PREPROCESSING.tensor(frame[None])[0]
    patches = x.reshape(3, 14, 16, 14, 16).transpose(1, 3, 0, 2, 4).reshape(196, -1)
    active = np.maximum(patches @ kernel.reshape(8, -1).T, 0)
    for place in range(3):
        evidence = (active @ weight[place]).reshape(14, 14).astype(np.float32)
        np.testing.assert_allclose(predictor.explain(frame, place), heat_map(evidence, 224), atol=1e-4)
    assert predictor.predict(png()).parts == {}  # maps are a route of their own


def tiny_weights() -> tuple[np.ndarray, np.ndarray]:
    import onnx
    from onnx import numpy_helper

    arrays = {
        entry.name: numpy_helper.to_array(entry) for entry in onnx.load_from_string(tiny_onnx()).graph.initializer
    }
    return arrays["kernel"], arrays["weight"]


def test_a_heat_map_runs_from_zero_to_one_and_is_empty_where_nothing_speaks_for_the_class() -> None:
    evidence = np.asarray([[-1, 0], [1, 3]], np.float32)
    heat = heat_map(evidence, 8)
    assert heat.shape == (8, 8)
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0, pytest.approx(1, abs=1e-5))
    assert heat[-1, -1] == heat.max()
    assert not heat_map(-np.abs(evidence), 8).any()


def test_a_package_without_the_part_explains_nothing(tmp_path: Path) -> None:
    write_tiny_package(tmp_path)
    predictor = Predictor.load(tmp_path, 1)
    assert not predictor.can_explain
    with pytest.raises(CxrError, match="no part explain"):
        predictor.explain(np.zeros((224, 224), np.uint8), 0)


@pytest.mark.parametrize("damaged", [b"nonsense", b""])
def test_a_fragment_that_does_not_fit_the_network_is_refused_at_load(tmp_path: Path, damaged: bytes) -> None:
    write_tiny_package(tmp_path, parts={"explain": {EXPLAIN_FILE: explain_record(), FRAGMENT: damaged}})
    with pytest.raises(CxrError, match=r"explain\.json: its network cannot be loaded"):
        Predictor.load(tmp_path, 1)


def test_a_record_that_names_a_file_which_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CxrError, match=r"names gone\.onnx, which is not in the package"):
        write_tiny_package(
            tmp_path, parts={"explain": {EXPLAIN_FILE: explain_record(network="gone.onnx"), FRAGMENT: b""}}
        )


def int8_files(network: bytes, **changes: Any) -> dict[str, bytes]:
    tensor = PREPROCESSING.tensor(reference_frames(PREPROCESSING.frame(reference_film())))
    record: dict[str, Any] = {
        "method": "m", "network": INT8_NETWORK, "reference_logits": reference_logits(network, tensor),
        "calibration_films": 1, "films": 2, "groups": 2, "max_probability_change": 0.1,
        "mean_probability_change": 0.02, "label_agreement": 1.0, "macro_auc": 0.9, "macro_auc_fp32": 0.91,
        "macro_auc_difference": -0.01, "low": -0.02, "high": 0.0,
    }  # fmt: skip
    return {INT8_FILE: json.dumps({**record, **changes}).encode(), INT8_NETWORK: network}


def test_the_8_bit_network_answers_only_where_asked_for_and_says_what_it_costs(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, parts={"int8": int8_files(tiny_onnx(5))})  # another network, to tell them apart
    exact, rounded = Predictor.load(tmp_path, 1), Predictor.load(tmp_path, 1, precision="int8")
    assert (exact.precision, rounded.precision) == ("fp32", "int8")
    assert exact.predict(png()).parts == {}
    assert rounded.predict(png()).parts == {"int8": {"max_probability_change": 0.1, "mean_probability_change": 0.02}}
    frame = np.full((1, 224, 224), 77, np.uint8)
    assert not np.allclose(exact.logits(frame), rounded.logits(frame))
    assert exact.parts_summary()["int8"]["macro_auc_difference"] == -0.01
    with pytest.raises(CxrError, match="runs in onnxruntime only"):
        Predictor.load(tmp_path, 1, precision="int8", engine="openvino")


def test_an_8_bit_network_that_computes_otherwise_here_is_not_served(tmp_path: Path) -> None:
    tensor = PREPROCESSING.tensor(reference_frames(PREPROCESSING.frame(reference_film())))
    saturated = (np.asarray(reference_logits(tiny_onnx(), tensor)) * 3).tolist()
    write_tiny_package(tmp_path, parts={"int8": int8_files(tiny_onnx(), reference_logits=saturated)})
    assert Predictor.load(tmp_path, 1).precision == "fp32"
    with pytest.raises(CxrError, match="precision to fp32"):
        Predictor.load(tmp_path, 1, precision="int8")


@pytest.mark.parametrize("change", [{"max_probability_change": 2}, {"films": 0}, {"macro_auc": float("nan")}])
def test_a_loss_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(CxrError, match=r"int8\.json of the model package, field"):
        write_tiny_package(tmp_path, parts={"int8": int8_files(tiny_onnx(), **change)})


def test_a_package_with_parts_has_equal_bytes_for_equal_arguments(tmp_path: Path) -> None:
    parts = {"int8": int8_files(tiny_onnx()), "explain": {EXPLAIN_FILE: explain_record(), FRAGMENT: fragment()}}
    write_tiny_package(tmp_path / "a", parts=parts)
    write_tiny_package(tmp_path / "b", parts=dict(reversed(parts.items())))
    assert digest_tree(tmp_path / "a") == digest_tree(tmp_path / "b")


def test_a_package_of_before_the_parts_still_predicts(tmp_path: Path) -> None:
    write_tiny_package(tmp_path)
    values = json.loads((tmp_path / MANIFEST).read_text())
    assert (values["format"], values["parts"], "reference_logits" in values["export"]) == (1, {}, False)
    answer = Predictor.load(tmp_path, 1).predict(png())
    assert answer.parts == {}
    assert answer.model.digest == digest_bytes((tmp_path / MANIFEST).read_bytes())
