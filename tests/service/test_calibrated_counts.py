"""What the service counts, queues and writes down of a film is its calibrated answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import films
import numpy as np
import pytest

from bentoml_service.predict_routes import _observe, _summary
from bentoml_service.review.flagging import new_case, reasons_of
from bentoml_service.schemas import Answer, Review
from bentoml_service.telemetry import Observation
from cxr_core.evaluation.probabilities import softmax
from cxr_core.release.parts import PARTS
from cxr_core.release.predictor import Prediction, Predictor, Prepared


@pytest.fixture(scope="module")
def judged(explaining_package: Path) -> tuple[Prediction, Prepared, float]:
    """A prediction, its film, and its confidence before calibration."""
    predictor = Predictor.load(explaining_package, 1)
    prepared = predictor.prepare(films.film(seed=4))
    logits = predictor.logits(prepared.frame[None])
    return predictor.answer(prepared, logits[0]), prepared, float(softmax(logits).max())


def test_the_drift_window_sees_the_calibrated_confidence(judged: tuple[Prediction, Prepared, float]) -> None:
    prediction, prepared, before = judged
    seen: list[Observation] = []
    runtime: Any = SimpleNamespace(telemetry=SimpleNamespace(prediction=seen.append))
    _observe(runtime, prediction, prepared)
    assert seen[0].confidence == prediction.confidence != pytest.approx(before, abs=0.01)
    assert seen[0].warnings == tuple(warning.code for warning in prediction.warnings)


def test_queue_and_audit_trail_hold_the_calibrated_answer(judged: tuple[Prediction, Prepared, float]) -> None:
    prediction, prepared, _ = judged
    case = new_case(prediction, prepared.frame, np.zeros((300, 300), np.uint8), "d" * 64, "r", 1024)
    assert case.probabilities == prediction.probabilities
    assert case.confidence == prediction.confidence
    assert case.parts == prediction.parts
    answer = Answer(
        prediction=prediction.label, confidence=prediction.confidence, probabilities=prediction.probabilities,
        uncertainty=prediction.uncertainty, warnings=prediction.warnings, parts=prediction.parts,
        review=Review(case=None),
    )  # fmt: skip
    assert _summary(answer)["confidence"] == round(prediction.confidence, 6)


@pytest.mark.parametrize("code", ["tb_flag", "several_labels", "empty_set", "not_a_chest_film"])
def test_what_a_part_warns_of_puts_a_film_before_a_reader(
    judged: tuple[Prediction, Prepared, float], code: str
) -> None:
    from cxr_core.imaging.advice import Advice

    quiet = judged[0].model_copy(update={"warnings": ()})
    assert reasons_of(quiet) == ()
    assert reasons_of(quiet.model_copy(update={"warnings": (Advice(code=code, message="m"),)})) == (code,)


def test_the_example_of_the_schema_is_an_answer_that_the_parts_give() -> None:
    parts: Any = Answer.model_json_schema()["properties"]["parts"]
    (example,) = parts["examples"]
    assert example
    for name, said in example.items():
        model = PARTS[name].answer_model
        assert model is not None
        assert model.model_validate(said).model_dump(mode="json") == said
