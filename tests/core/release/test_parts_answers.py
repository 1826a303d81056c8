"""What temperature, operating points and prediction sets make of an answer; and records that do not fit the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_package import (
    LABELS,
    calibration_part,
    points_part,
    sets_part,
    site_points,
    tiny_onnx,
    trust_parts,
    write_tiny_package,
)

from cxr_core.errors import CxrError
from cxr_core.evaluation.prediction_sets import PredictionSets
from cxr_core.evaluation.probabilities import softmax
from cxr_core.evaluation.site_points import read_site_points
from cxr_core.evaluation.temperature import TemperatureScaling
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.release.parts import answer_schema
from cxr_core.release.parts.calibration import CALIBRATION_FILE
from cxr_core.release.parts.operating_points import POINTS_FILE
from cxr_core.release.parts.prediction_sets import SETS_FILE
from cxr_core.release.prediction import GreyStatistics, Prediction, Prepared, uncertainty
from cxr_core.release.predictor import Predictor

FILM = Prepared(np.zeros((224, 224), np.uint8), (), GreyStatistics(120, 50, 224, 224, 0))
FLAT = (1.0, 1.2, 1.1)  # logits of a film that is undecided
NORMAL = (2.0, -1.0, 1.0)  # Normal, with a share of tuberculosis
SICK = (-2.0, -1.0, 3.0)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("trusted") / "model"
    write_tiny_package(folder, parts=trust_parts())
    return Predictor.load(folder, 1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("plain") / "model"
    write_tiny_package(folder)
    return Predictor.load(folder, 1)


def loaded(folder: Path, parts: dict[str, dict[str, bytes]], **more: Any) -> Predictor:
    write_tiny_package(folder, parts=parts)
    return Predictor.load(folder, 1, **more)


def answer(predictor: Predictor, logits: Sequence[float]) -> Prediction:
    return predictor.answer(FILM, np.asarray(logits))


def codes(said: Prediction) -> list[str]:
    return [warning.code for warning in said.warnings]


def row(said: Prediction) -> np.ndarray:
    return np.asarray(list(said.probabilities.values()))


# ------------------------------------------------------------------ temperature
@pytest.mark.parametrize("logits", [FLAT, NORMAL, SICK])
def test_every_number_of_an_answer_is_of_the_calibrated_probabilities(
    trusted: Predictor, plain: Predictor, logits: tuple[float, ...]
) -> None:
    expected = np.exp(np.asarray(logits) / 1.5)
    expected /= expected.sum()
    said, before = answer(trusted, logits), answer(plain, logits)
    np.testing.assert_allclose(row(said), expected, atol=1e-12)
    assert said.label == before.label
    assert said.confidence == row(said).max() < before.confidence
    assert said.uncertainty == uncertainty(row(said))
    assert said.parts["calibration"] == {
        "method": "temperature scaling", "temperature": 1.5, "films": 60, "fitted": True, "precision": "fp32",
    }  # fmt: skip


def test_low_confidence_is_judged_by_the_calibrated_probability(tmp_path: Path) -> None:
    said = answer(loaded(tmp_path / "a", {"calibration": calibration_part(4.0)}, low_confidence=0.7), SICK)
    assert row(said).max() < 0.7 < softmax(np.asarray([SICK]))[0].max()
    assert "low_confidence" in codes(said)
    sure = answer(loaded(tmp_path / "b", {"calibration": calibration_part(0.2)}, low_confidence=0.7), FLAT)
    assert softmax(np.asarray([FLAT]))[0].max() < 0.7
    assert "low_confidence" not in codes(answer(loaded(tmp_path / "c", {"calibration": calibration_part(0.05)}), FLAT))
    assert sure.label == "Pneumonia"


def test_probabilities_of_frames_are_the_pipelines_own(trusted: Predictor, plain: Predictor) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (12, 224, 224)).astype(np.uint8)
    logits = plain.logits(frames)
    own = TemperatureScaling(temperature=1.5, films=60, groups=50).probabilities(logits)
    np.testing.assert_allclose(trusted.predict_frames(frames), own, atol=1e-12)
    np.testing.assert_allclose(plain.predict_frames(frames), softmax(logits), atol=1e-12)


def test_a_temperature_that_no_films_decided_says_so(tmp_path: Path) -> None:
    part = calibration_part(1.0, fitted=False, reason="12 films to calibrate on; 30 or more are needed", films=12)
    predictor = loaded(tmp_path, {"calibration": part})
    assert answer(predictor, FLAT).parts["calibration"]["fitted"] is False
    assert predictor.parts_summary()["calibration"]["reason"].startswith("12 films")
    assert "exact network" in predictor.parts_summary()["calibration"]["int8"]


# ------------------------------------------------------------------ operating points
def test_an_answer_says_where_a_film_stands_at_every_point(trusted: Predictor) -> None:
    said = answer(trusted, NORMAL)
    probability = said.probabilities["Tuberculosis"]
    assert 0.2 < probability < 0.5
    about = {"label": "Tuberculosis", "probability": probability, "validation_sensitivity": 0.92}
    assert said.parts["operating_points"] == {
        "tb_sensitivity_90": {**about, "threshold": 0.2, "flagged": True, "validation_specificity": 0.75},
        "youden_Tuberculosis": {**about, "threshold": 0.5, "flagged": False, "validation_specificity": None},
    }
    summary = trusted.parts_summary()["operating_points"]
    assert summary["source"] == "model package"
    assert summary["points"]["youden_Normal"]["reason"] == "4 films of Normal; 10 or more are needed"


def test_a_film_is_flagged_from_the_threshold_on(tmp_path: Path) -> None:
    p = float(softmax(np.asarray([NORMAL]))[0][2])
    for place, (threshold, flagged) in enumerate([(p, True), (np.nextafter(p, 1), False), (np.nextafter(p, 0), True)]):
        part = {"operating_points": points_part(float(threshold), 1.0)}
        said = answer(loaded(tmp_path / str(place), part), NORMAL)
        assert said.parts["operating_points"]["tb_sensitivity_90"]["flagged"] is flagged
        assert ("tb_flag" in codes(said)) is flagged


def test_the_tb_flag_warns_where_another_label_is_answered(trusted: Predictor) -> None:
    said = answer(trusted, NORMAL)
    assert said.label == "Normal"
    message = next(warning.message for warning in said.warnings if warning.code == "tb_flag")
    assert message == (
        f"Tuberculosis probability {said.probabilities['Tuberculosis']:.3f} is at or above the threshold 0.200 of the "
        "operating point tb_sensitivity_90: have a reader look."
    )
    sick = answer(trusted, SICK)
    assert sick.parts["operating_points"]["tb_sensitivity_90"]["flagged"]
    assert "tb_flag" not in codes(sick)
    assert "tb_flag" not in codes(answer(trusted, (5.0, 0.0, 0.0)))


def test_a_sites_own_points_take_the_place_of_the_packages(tmp_path: Path) -> None:
    site = tmp_path / "site.json"
    site.write_bytes(site_points(write_tiny_package(tmp_path / "any").model, 0.9))
    predictor = loaded(tmp_path / "model", trust_parts(), operating_points=site)
    assert not answer(predictor, NORMAL).parts["operating_points"]["tb_sensitivity_90"]["flagged"]
    summary = predictor.parts_summary()["operating_points"]
    assert (summary["source"], summary["digest"]) == ("site", read_site_points(site).points.digest)
    without = loaded(tmp_path / "without", {"calibration": calibration_part()}, operating_points=site)
    assert "operating_points" in answer(without, NORMAL).parts


MODEL = "of the package"
MISFITS = [
    ({"temperature": 2.0}, "field temperature: 2 but the model is calibrated with 1.5"),
    ({"labels": LABELS[::-1], "points": ()}, "field labels: Tuberculosis, Pneumonia, Normal but"),
    ({"trained_model": "b" * 64}, "field trained_model: b+ but the model is a+"),
]


@pytest.mark.parametrize(("change", "sentence"), MISFITS)
def test_points_of_another_model_are_refused_with_their_file_and_field(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    data = {"trained_model": "a" * 64}
    model = write_tiny_package(tmp_path / "model", parts=trust_parts(), data=data).model
    (tmp_path / "site.json").write_bytes(site_points(model, **change))
    with pytest.raises(CxrError, match=rf"site\.json, {sentence}.*; fit them again by cxr fit-points"):
        Predictor.load(tmp_path / "model", 1, operating_points=tmp_path / "site.json")
    with pytest.raises(CxrError, match=rf"operating_points\.json of the model package, {sentence}"):
        write_tiny_package(tmp_path / "other", parts=trust_parts(operating_points=points_part(**change)), data=data)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (site_points("b" * 64), ", field model_digest: the points were fitted for model b+ "),
        (site_points(MODEL).replace(b": 0.2\n", b": 0.3\n"), ".*changed after it was written"),
        (points_part()[POINTS_FILE], ", field notice: Field required"),
        (b"{}", ", field notice: Field required"),
        (b"no JSON", ".*Invalid JSON"),
        (None, " is not there"),
    ],
)
def test_a_file_that_holds_no_points_of_the_model_is_refused(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    model = write_tiny_package(tmp_path / "model", parts=trust_parts()).model
    if content is not None:
        (tmp_path / "site.json").write_bytes(content.replace(MODEL.encode(), model.encode()))
    with pytest.raises(CxrError, match=rf"site\.json{sentence}"):
        Predictor.load(tmp_path / "model", 1, operating_points=tmp_path / "site.json")


def test_points_of_calibrated_probabilities_need_the_temperature(tmp_path: Path) -> None:
    with pytest.raises(CxrError, match=r"field temperature: 1\.5 but the model is calibrated with 1:"):
        write_tiny_package(tmp_path, parts={"operating_points": points_part(temperature=1.5)})


# ------------------------------------------------------------------ prediction sets
def sets_of(logits: Sequence[float], conditional: bool, **changes: Any) -> tuple[str, ...]:
    record = PredictionSets.model_validate_json(sets_part(**changes)[SETS_FILE])
    member = record.sets(softmax(np.asarray([logits])), conditional)[0]
    return tuple(label for label, inside in zip(LABELS, member, strict=True) if inside)


@pytest.mark.parametrize("logits", [FLAT, NORMAL, SICK, (0.0, 0.0, 0.0)])
def test_the_set_is_that_of_the_uncalibrated_probabilities(trusted: Predictor, logits: tuple[float, ...]) -> None:
    said = answer(trusted, logits).parts["prediction_sets"]
    assert said == {
        "level": 0.9, "kind": "class_conditional", "labels": list(sets_of(logits, True)),
        "marginal": list(sets_of(logits, False)),
    }  # fmt: skip


def test_calibration_changes_no_set(trusted: Predictor, tmp_path: Path) -> None:
    alone = loaded(tmp_path, {"prediction_sets": sets_part()})
    for seed in range(40):
        logits = np.random.default_rng(seed).normal(0, 1.5, 3).tolist()
        assert answer(trusted, logits).parts["prediction_sets"] == answer(alone, logits).parts["prediction_sets"]


def test_a_set_that_is_not_one_label_warns(trusted: Predictor) -> None:
    empty, several, one = answer(trusted, (0.0, 0.0, 0.0)), answer(trusted, (-1.0, 1.0, 1.0)), answer(trusted, SICK)
    assert [len(said.parts["prediction_sets"]["labels"]) for said in (empty, several, one)] == [0, 2, 1]
    found = [{warning.code: warning.message for warning in said.warnings} for said in (empty, several, one)]
    assert found[0]["empty_set"] == "None of the classes fits at the level of 90%: have a reader decide."
    assert found[1]["several_labels"] == ("Pneumonia and Tuberculosis fit at the level of 90%: have a reader decide.")
    assert [("empty_set" in each, "several_labels" in each) for each in found] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip


def test_a_set_of_another_label_than_the_answered_warns(tmp_path: Path) -> None:
    said = answer(loaded(tmp_path, {"prediction_sets": sets_part((0.1, 0.9, 0.1))}), (1.0, 0.5, 0.0))
    assert (said.label, said.parts["prediction_sets"]["labels"]) == ("Normal", ["Pneumonia"])
    warned = [warning.message for warning in said.warnings if warning.code == "other_label"]
    assert warned == ["Pneumonia fits at the level of 90%, Normal does not: have a reader decide."]


def test_a_class_with_too_few_films_has_the_marginal_sets_answered(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, {"prediction_sets": sets_part((0.5, None, 0.65))})
    said = answer(predictor, SICK).parts["prediction_sets"]
    assert said["kind"] == "marginal"
    assert said["labels"] == said["marginal"] == ["Tuberculosis"]
    assert predictor.parts_summary()["prediction_sets"]["classes"][1]["reason"] == "too few"


def test_without_any_quantile_nothing_is_said_of_a_film(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, {"prediction_sets": sets_part((None, None, None), None)})
    said = answer(predictor, FLAT)
    assert said.parts == {}
    assert not {"empty_set", "several_labels"} & set(codes(said))


# ------------------------------------------------------------------ the package
@pytest.mark.parametrize(
    ("part", "file", "change", "sentence"),
    [
        ("calibration", CALIBRATION_FILE, {"temperature": 0}, r"temperature\.json of the model package, field temp"),
        ("calibration", CALIBRATION_FILE, {"nonsense": 1}, r"temperature\.json of the model package, field nonsense"),
        ("prediction_sets", SETS_FILE, {"quantile": 2}, r"prediction_sets\.json of the model package, field quantile"),
        ("prediction_sets", SETS_FILE, {"classes": []}, r"prediction_sets\.json of the model package, field classes"),
        ("operating_points", POINTS_FILE, {"temperature": 3}, r"operating_points\.json .*changed after it was written"),
    ],
)
def test_a_damaged_record_is_refused_by_file_and_field(
    tmp_path: Path, part: str, file: str, change: dict[str, Any], sentence: str
) -> None:
    record = {**json.loads(trust_parts()[part][file]), **change}
    with pytest.raises(CxrError, match=sentence):
        write_tiny_package(tmp_path / "model", parts=trust_parts(**{part: {file: json.dumps(record).encode()}}))
    assert not (tmp_path / "model").exists()


def test_a_record_that_was_altered_in_the_package_is_not_served(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, parts=trust_parts())
    (tmp_path / CALIBRATION_FILE).write_bytes(calibration_part(1.4)[CALIBRATION_FILE])
    with pytest.raises(CxrError, match=r"temperature\.json has SHA-256"):
        Predictor.load(tmp_path, 1)


def test_a_package_without_the_parts_answers_as_before(plain: Predictor) -> None:
    said = answer(plain, NORMAL)
    np.testing.assert_allclose(row(said), softmax(np.asarray([NORMAL]))[0], atol=1e-15)
    assert said.parts == {}
    assert plain.parts_summary() == {}
    assert codes(said) == []


def test_the_parts_change_nothing_of_the_model(tmp_path: Path) -> None:
    first, second = (
        write_tiny_package(tmp_path / name, parts=parts, onnx_bytes=tiny_onnx())
        for name, parts in (("a", {}), ("b", trust_parts()))
    )
    assert first.model == second.model
    assert isinstance(second.preprocessing, Preprocessing)


def test_the_schema_of_an_answer_is_whole() -> None:
    schema: Any = answer_schema()
    assert "$ref" not in json.dumps(schema)
    point = schema["properties"]["operating_points"]["additionalProperties"]["properties"]
    assert {"threshold", "probability", "flagged", "validation_sensitivity"} <= set(point)
    assert schema["properties"]["prediction_sets"]["properties"]["labels"]["type"] == "array"
    assert schema["properties"]["calibration"]["properties"]["temperature"]["exclusiveMinimum"] == 0
