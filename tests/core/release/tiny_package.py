"""A model package whose network is small enough to build in a test: a strided convolution, pooling, a linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr_core.evaluation.operating_points_record import Measured, OperatingPoint, OperatingPoints
from cxr_core.evaluation.prediction_sets import ClassQuantile, PredictionSets
from cxr_core.evaluation.site_points import SitePoints
from cxr_core.evaluation.temperature import TemperatureScaling
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.release.gate import Comparison, Evidence, GateFacts, evaluate_gate
from cxr_core.release.package import PackageManifest, write_package
from cxr_core.release.parts.calibration import CALIBRATION_FILE
from cxr_core.release.parts.explain import EXPLAIN_FILE, FRAGMENT, MAPS, ExplainRecord
from cxr_core.release.parts.operating_points import POINTS_FILE
from cxr_core.release.parts.prediction_sets import SETS_FILE
from cxr_core.settings_sections import GateSettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
PREPROCESSING = Preprocessing(224, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

CALIBRATION = {
    "expected_calibration_error": {"value": 0.031, "low": 0.028, "high": 0.06},
    "null": {"mean": 0.02, "high": 0.034, "p_value": 0.1},
}
EVIDENCE = Evidence("e" * 64, {"evaluation": "e" * 64, "robustness": "e" * 64, "gradcam_gallery": "e" * 64})


def good_facts(**changes: Any) -> GateFacts:
    """Facts of a model that passes every rule and meets no champion; ``changes`` replace some of them."""
    facts: dict[str, Any] = {
        "trained_preprocessing_digest": "a" * 64,
        "package_preprocessing_digest": "a" * 64,
        "export_difference": 1e-6,
        "comparison": Comparison(),
        "calibration": CALIBRATION,
        "evidence": EVIDENCE,
        "verdicts": {"shortcut_audit": {"passed": True, "sentence": "Lungs are needed.", "value": 0.1}},
    }
    return GateFacts(**{**facts, **changes})


def tiny_onnx(seed: int = 0, outputs: int = 3, name: str = "logits") -> bytes:
    """The network's file: input (n, 3, 224, 224), output (n, outputs)."""
    rng = np.random.default_rng(seed)
    arrays = {
        "kernel": rng.normal(0, 0.5, (8, 3, 16, 16)).astype(np.float32),
        "weight": rng.normal(0, 0.5, (outputs, 8)).astype(np.float32),
        "bias": rng.normal(0, 0.1, outputs).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["maps"], strides=[16, 16]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], [name], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def brightness_onnx(levels: Sequence[float]) -> bytes:
    """A network that says which of the levels (0-1, one a class) a film's mean grey is nearest to."""
    centres = 2 * np.asarray(levels, np.float32) - 1  # as the preprocessing scales them
    weight = np.repeat(centres[:, None], 3, axis=1) * 2 / 3 * 20
    arrays = {"weight": weight.astype(np.float32), "bias": (-20 * centres**2).astype(np.float32)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(levels)])],
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_tiny_package(folder: Path, macro_f1: float = 0.9, **changes: Any) -> PackageManifest:
    """Write the package; ``changes`` replace arguments of ``write_package``."""
    arguments: dict[str, Any] = {
        "name": "cxr",
        "version": "1.0.0",
        "labels": LABELS,
        "backbone": "tiny",
        "dropout": 0.5,
        "preprocessing": PREPROCESSING,
        "metrics": {"macro_f1": macro_f1},
        "data": {"index": "0" * 64},
        "gate": evaluate_gate({"macro_f1": macro_f1}, GateSettings(), good_facts()),
        "onnx_bytes": tiny_onnx(),
        "weights_bytes": b"state dict",
        "export": {"opset": 17, "max_abs_difference": 1e-6},
    }
    return write_package(folder, **{**arguments, **changes})


def calibration_part(temperature: float = 1.5, **changes: Any) -> dict[str, bytes]:
    """Files of the part ``calibration``."""
    scaling = TemperatureScaling(**{"temperature": temperature, "films": 60, "groups": 50, **changes})
    return {CALIBRATION_FILE: scaling.model_dump_json().encode()}


def points_part(threshold: float = 0.2, temperature: float = 1.5, **changes: Any) -> dict[str, bytes]:
    """Files of the part ``operating_points``: the TB flag at ``threshold``, and one point that cannot be had."""
    share = Measured(value=0.92, low=0.8, high=0.98)
    about = {"films": 60, "label": "Tuberculosis", "label_index": 2, "positives": 20}
    points = (
        OperatingPoint(
            name="tb_sensitivity_90", rule="sensitivity", target=0.9, threshold=threshold, sensitivity=share,
            specificity=Measured(value=0.75, low=0.6, high=0.85), **about,
        ),
        OperatingPoint(name="youden_Tuberculosis", rule="youden", threshold=0.5, sensitivity=share, **about),
        OperatingPoint(name="youden_Normal", rule="youden", **{**about, "label": "Normal", "label_index": 0},
                       reason="4 films of Normal; 10 or more are needed"),
    )  # fmt: skip
    values: dict[str, Any] = {
        "labels": LABELS, "temperature": temperature, "films": 60, "groups": 50, "level": 0.95, "resamples": 100,
        "per_class": dict.fromkeys(LABELS, 20), "seed": 0, "points": points,
    }  # fmt: skip
    return {POINTS_FILE: OperatingPoints.sealed(**{**values, **changes}).content}


def site_points(model: str, threshold: float = 0.2, temperature: float = 1.5, **changes: Any) -> bytes:
    """A file of ``cxr fit-points`` for a model (``PackageManifest.model``)."""
    points = OperatingPoints.model_validate_json(points_part(threshold, temperature, **changes)[POINTS_FILE])
    return SitePoints(
        notice="", model_digest=model, package_digest="p" * 64, preprocessing_digest=PREPROCESSING.digest,
        model="cxr 1.0.0", precision="fp32", files=60, points=points,
    ).content  # fmt: skip


def sets_part(quantiles: Sequence[float | None] = (0.5, 0.55, 0.65), quantile: float | None = 0.6) -> dict[str, bytes]:
    """Files of the part ``prediction_sets``: the quantile of each class, and the one over all films."""
    classes = tuple(
        ClassQuantile(label=label, quantile=one, reason="" if one else "too few", films=20, groups=18)
        for label, one in zip(LABELS, quantiles, strict=True)
    )
    record = PredictionSets(level=0.9, quantile=quantile, films=60, groups=50, classes=classes)
    return {SETS_FILE: record.model_dump_json().encode()}


def trust_parts(**changes: Any) -> dict[str, dict[str, bytes]]:
    """The parts that make answers calibrated, flagged and set-valued."""
    return {"calibration": calibration_part(), "operating_points": points_part(), "prediction_sets": sets_part(),
            **changes}  # fmt: skip


def write_explaining_package(folder: Path, parts: Mapping[str, Mapping[str, bytes]] | None = None) -> PackageManifest:
    """The tiny package with heat maps: the head's weights applied to each position of the map that is pooled."""
    network = onnx.load_from_string(tiny_onnx().replace(b"maps", b"conv"))  # the part needs the name
    head = next(numpy_helper.to_array(array) for array in network.graph.initializer if array.name == "weight")
    fragment = onnx.ModelProto()
    fragment.graph.node.append(helper.make_node("Conv", ["active", "head"], [MAPS]))
    fragment.graph.initializer.append(numpy_helper.from_array(head[:, :, None, None], "head"))
    fragment.graph.output.append(helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, ["n", len(head), 14, 14]))
    record = ExplainRecord(method="class activation", layer="active", network=FRAGMENT, films=1, max_abs_difference=0)
    part = {EXPLAIN_FILE: record.model_dump_json().encode(), FRAGMENT: fragment.SerializeToString()}
    return write_tiny_package(folder, onnx_bytes=network.SerializeToString(), parts={"explain": part, **(parts or {})})
