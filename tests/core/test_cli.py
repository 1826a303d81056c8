"""The ``cxr`` command."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cxr_core.cli import main


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_help_lists_own_commands_and_those_of_the_packages_above():
    text = call("--help")
    for name in ("settings", "phantom", "download", "predict", "run", "keys", "serve"):
        assert f"\n  {name} " in text
    assert "not a medical device" in " ".join(text.split())


def test_settings_are_printed_with_their_source():
    text = call("settings")
    assert "training.weight_decay = 0.0001\n    L2; report 3.2" in text
    assert '"weight_decay": 0.0001' in call("settings", "--json")


def test_a_problem_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXR_PROFILE", "huge")
    said = call("settings", code=1).strip()
    assert said == "Error: Unknown profile 'huge': set CXR_PROFILE to one of demo, small_data, standard."


def test_predicting_before_the_pipeline_ran_says_so(tmp_path: Path):
    film = tmp_path / "film.png"
    film.write_bytes(b"x")
    assert "run `make run` first" in call("predict", str(film), code=1)


def test_phantoms_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "PATIENTS_PER_CLASS": "2",
        "EXACT_DUPLICATES": "1",
        "NEAR_DUPLICATES": "1",
        "WRONG_LABELS": "1",
    }.items():
        monkeypatch.setenv(f"CXR_PHANTOM__{name}", value)
    first = call("phantom", "--into", str(tmp_path / "films"))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "films").rglob("*")}
    assert call("phantom", "--into", str(tmp_path / "films")).splitlines()[-1] == first.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "films").rglob("*")} == stamps


def test_a_failed_download_explains_the_way_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: no network, whatever the machine has
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    text = call("download", "--into", str(tmp_path / "raw"), code=1)
    assert "in a browser, unpack it and set CXR_RAW_DIR" in text
    assert not (tmp_path / "raw").exists()


def test_a_download_overwrites_nothing(tmp_path: Path):
    (tmp_path / "mine.png").write_bytes(b"x")
    assert "is not empty" in call("download", "--into", str(tmp_path), code=1)
