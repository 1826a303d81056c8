"""Prediction sets and flags of the model package, in tables and on the screen; where it has none, nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from pretend_service import KEY, PretendService, film

from cxr_core.cli import main
from cxr_core.client.answers import Answer
from cxr_core.client.outcome import Refusal, Row
from cxr_core.client.results import COLUMNS, results_table

MODEL = {"name": "cxr", "version": "1.0.0", "digest": "d" * 64, "preprocessing_digest": "p" * 64}
POINTS = {
    "tb_sensitivity_90": {"label": "Tuberculosis", "threshold": 0.2, "probability": 0.3, "flagged": True},
    "tb_sensitivity_95": {"label": "Tuberculosis", "threshold": 0.4, "probability": 0.3, "flagged": False},
}


def answer(parts: dict[str, Any], *codes: str) -> Answer:
    values = {
        "prediction": "Normal", "confidence": 0.7, "probabilities": {"Normal": 0.7, "Tuberculosis": 0.3},
        "warnings": [{"code": code, "message": "m"} for code in codes], "parts": parts, "model": MODEL,
    }  # fmt: skip
    return Answer.model_validate(values)


def row(outcome: Answer | Refusal, file: str = "a.png") -> Row:
    return Row(file, "s" * 64, outcome, "asked")


def test_a_table_has_columns_for_set_and_flags_only_where_the_model_says_them() -> None:
    said = {"prediction_sets": {"labels": ["Normal", "Tuberculosis"]}, "operating_points": POINTS}
    rows = [
        row(answer(said, "tb_flag", "not_a_chest_film")),
        row(answer({"prediction_sets": {"labels": []}, "operating_points": {}})),
        row(Refusal("truncated", "Damaged.")),
    ]
    table = results_table(rows)
    assert [json.loads(text) if text else None for text in table["prediction_set"]] == [
        ["Normal", "Tuberculosis"], [], None,
    ]  # fmt: skip
    assert table["flags"].tolist() == ["tb_sensitivity_90 not_a_chest_film", "", ""]
    assert list(table.columns).index("prediction_set") == list(table.columns).index("margin") + 1
    plain = results_table([row(answer({"int8": {"max_probability_change": 0.1}}))])
    assert [name for name in plain.columns if not name.startswith("p_")] == list(COLUMNS)


def test_a_detector_alone_has_flags_and_no_set() -> None:
    table = results_table([row(answer({"film_detector": {"score": 0.1}}, "not_a_chest_film", "low_confidence"))])
    assert table["flags"].tolist() == ["not_a_chest_film"]
    assert "prediction_set" not in table


@pytest.mark.parametrize("parts", [{}, {"prediction_sets": 3, "operating_points": [1]}, {"prediction_sets": {}}])
def test_parts_of_another_form_are_passed_over(parts: dict[str, Any]) -> None:
    found = answer(parts)
    assert found.prediction_set is None
    assert found.flags is None


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    for number in range(3):
        (tmp_path / f"films/{number}.jpg").write_bytes(film(number))
    return tmp_path / "films"


def predict(service: PretendService, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments), "--url", service.url], env={"CXR_API_KEY": KEY})


def test_the_command_shows_set_and_flags_and_writes_them(service: PretendService, films: Path, tmp_path: Path) -> None:
    service.parts = {"prediction_sets": {"labels": ["Normal"]}, "operating_points": POINTS}
    assert "  set: Normal  flags: tb_sensitivity_90  [low_confidence]" in predict(service, films).output
    assert predict(service, films, "--out", tmp_path / "out.csv").exit_code == 0
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert table["prediction_set"].tolist() == ['["Normal"]'] * 3
    assert table["flags"].tolist() == ["tb_sensitivity_90"] * 3
    service.parts = {"prediction_sets": {"labels": []}, "operating_points": {}}
    assert "  set: empty  [low_confidence]" in predict(service, films).output


def test_without_the_parts_the_command_shows_what_it_did_before(service: PretendService, films: Path) -> None:
    output = predict(service, films).output
    assert "set:" not in output
    assert "flags:" not in output
