"""``cxr predict`` with a service, and with folders."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from pretend_service import KEY, PretendService, film

from cxr_core.cli import main


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.jpg").write_bytes(film(number, bad=number == 2))
    return folder


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("CXR_API_KEY", raising=False)

    def call(*arguments: str | Path, **environment: str) -> Result:
        return CliRunner().invoke(main, ["predict", *map(str, arguments)], env=environment)

    return call


def test_a_service_is_asked_with_the_key_of_the_environment_or_of_a_file(
    predict: Callable[..., Result], service: PretendService, films: Path, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    by_file = predict(films, "--url", service.url, "--key-file", tmp_path / "key")
    by_environment = predict(films, "--url", service.url, CXR_API_KEY=KEY)
    assert by_file.exit_code == by_environment.exit_code == 1
    assert by_file.output == by_environment.output
    assert "2.jpg: Damaged." in by_file.output
    assert "1.jpg: " in by_file.output
    assert "not a medical device" in " ".join(by_file.output.lower().split())


def test_without_a_key_nothing_is_sent(predict: Callable[..., Result], service: PretendService, films: Path) -> None:
    said = predict(films, "--url", service.url)
    assert said.exit_code == 1
    assert "No API key: set CXR_API_KEY, or name a file that holds it (--key-file FILE)." in said.output
    assert service.heard == []
    (films / "empty").write_text(" \n")
    assert "empty is empty" in predict(films, "--url", service.url, "--key-file", films / "empty").output


def test_no_option_takes_the_key_itself(predict: Callable[..., Result]) -> None:
    assert "--key " not in predict("--help").output


def test_json_lines_have_every_film(predict: Callable[..., Result], service: PretendService, films: Path) -> None:
    said = predict(films, "--url", service.url, "--json", CXR_API_KEY=KEY)
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert [line["file"] for line in lines] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [line.get("code") for line in lines] == [None, None, "truncated", None]
    assert lines[0]["label"] == lines[0]["prediction"]


def test_results_are_written_and_counted(
    predict: Callable[..., Result], service: PretendService, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.csv"
    (films / "notes.txt").write_text("x")
    said = predict(films, "--url", service.url, "--out", out, CXR_API_KEY=KEY)
    assert "4 films in " in said.output
    assert "truncated 1" in said.output
    assert "1 other files left out; 4 of them sent now" in said.output
    assert len(pd.read_csv(out)) == 4
    assert "0 of them sent now" in predict(films, "--url", service.url, "--out", out, CXR_API_KEY=KEY).output
    fresh = predict(films, "--url", service.url, "--out", out, "--fresh", CXR_API_KEY=KEY)
    assert "4 of them sent now" in fresh.output


def test_a_stop_says_that_nothing_is_lost(
    predict: Callable[..., Result], service: PretendService, films: Path, tmp_path: Path
) -> None:
    said = predict(films, "--url", service.url, "--out", tmp_path / "results.csv", CXR_API_KEY="wrong")
    assert said.exit_code == 1
    assert "401 unauthorized" in said.output
    assert "the same command goes on from there" in said.output
    assert "wrong" not in said.output


@pytest.mark.parametrize("options", [["--url", "http://127.0.0.1:9", "--rejected"], ["--fresh"]])
def test_options_that_do_not_go_together_are_refused(
    predict: Callable[..., Result], films: Path, options: list[str]
) -> None:
    assert predict(films, *options).exit_code == 2


def test_a_package_on_this_machine_answers_for_a_folder(
    predict: Callable[..., Result], tmp_path: Path, encode: Callable[..., bytes], film: Callable[..., Any]
) -> None:
    path = Path(__file__).parent.parent / "release/tiny_package.py"
    spec = importlib.util.spec_from_file_location("tiny_package_of_clients", path)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.write_tiny_package(tmp_path / "model")
    folder = tmp_path / "films"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/one.png").write_bytes(encode(film(1)))
    (folder / "two.png").write_bytes(encode(film(2)))
    (folder / "three.png").write_bytes(b"no image")
    out = tmp_path / "results.parquet"
    said = predict(folder, "--model", tmp_path / "model", "--out", out)
    assert said.exit_code == 1, said.output
    table = pd.read_parquet(out).set_index("file")
    assert table.index.tolist() == ["deep/one.png", "three.png", "two.png"]
    assert table.loc["three.png", "error"] == "not_an_image"
    shown = predict(folder, "--model", tmp_path / "model", "--json")
    lines = {line["file"]: line for line in map(json.loads, shown.stdout.splitlines())}
    assert lines["two.png"]["confidence"] == table.loc["two.png", "confidence"]
    assert lines["two.png"]["prediction"] == table.loc["two.png", "prediction"]
    assert "0 of them sent now" in predict(folder, "--model", tmp_path / "model", "--out", out).output
