"""The folder job: results where they were asked for, numbers in the UI, no file name anywhere else."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from cxr_core.store import ArtefactStore

JOB = "predict_folder"
PATIENT = "Doe_John_1970"


def load(name: str, file: str) -> ModuleType:
    """A helper of the tests of the core, by its path: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "core" / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


pretend = load("pretend_service_of_jobs", "client/pretend_service.py")
tiny = load("tiny_package_of_jobs", "release/tiny_package.py")


@pytest.fixture
def service() -> Iterator[Any]:
    pretended = pretend.PretendService()
    server = pretend.serve(pretended)
    yield pretended
    server.shutdown()
    server.server_close()


@pytest.fixture
def films(tmp_path: Path, encode: Callable[..., bytes], film: Callable[..., Any]) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(5):
        (folder / f"{PATIENT}_{number}.png").write_bytes(encode(film(number)))
    (folder / f"{PATIENT}_bad.png").write_bytes(b"BAD")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("CXR_API_KEY", pretend.KEY)
    (tmp_path / "dagster").mkdir()
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(home / "dagster"), overrides={"telemetry": {"enabled": False}}) as opened:
        yield opened


def run(instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    from cxr_assets.definitions import defs

    return defs.resolve_job_def(JOB).execute_in_process(
        instance=instance, run_config={"ops": {"predict_films": {"config": config}}}, raise_on_error=False
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    event = next(event for event in result.all_events if event.event_type_value == "STEP_OUTPUT")
    return {name: value.value for name, value in event.event_specific_data.metadata.items()}


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_predicted_by_a_service_and_found_done_by_the_next_run(
    instance: dg.DagsterInstance, service: Any, films: Path, home: Path
) -> None:
    out = home / "results.csv"
    result = run(instance, folder=str(films), out=str(out), url=service.url)
    assert result.success
    table = pd.read_csv(out, keep_default_na=False)
    assert len(table) == 6
    assert table["error"].value_counts().to_dict() == {"": 5, "truncated": 1}
    said = metadata(result)
    assert (said["films"], said["sent_now"], said["without_answer"]) == (6, 6, 1)
    assert said["results"] == str(out)
    assert said["confidence"].startswith("![Confidence by predicted class](data:image/png;base64,")
    kept = ArtefactStore(home / "store").root / said["path"]
    summary = json.loads((kept / "summary.json").read_text())
    assert summary["predictions"] == table.loc[table["error"] == "", "prediction"].value_counts().to_dict()
    assert pd.read_parquet(Path(str(kept)) / "results.parquet")["sha256"].tolist() == table["sha256"].tolist()
    again = run(instance, folder=str(films), out=str(out), url=service.url)
    assert again.success
    assert metadata(again)["sent_now"] == 0


def test_file_names_and_the_key_reach_neither_store_nor_event_log(
    instance: dg.DagsterInstance, service: Any, films: Path, home: Path
) -> None:
    assert run(instance, folder=str(films), out=str(home / "results.csv"), url=service.url).success
    assert PATIENT in (home / "results.csv").read_text()
    assert {name for heard in service.heard for name in heard.names} == {"film"}
    left = everything_in(home / "dagster") + everything_in(home / "store")
    assert JOB.encode() in left
    assert PATIENT.encode() not in left
    assert pretend.KEY.encode() not in left


def test_a_package_on_this_machine_serves_as_well(instance: dg.DagsterInstance, films: Path, home: Path) -> None:
    tiny.write_tiny_package(home / "model")
    out = home / "results.parquet"
    result = run(instance, folder=str(films), out=str(out), package=str(home / "model"))
    assert result.success
    table = pd.read_parquet(out)
    assert table["error"].value_counts().to_dict() == {"": 5, "not_an_image": 1}
    assert set(table["model"]) - {""} == {tiny.write_tiny_package(home / "same").digest}


def test_what_waiting_does_not_mend_fails_at_once(
    instance: dg.DagsterInstance, service: Any, films: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"folder": str(films), "out": str(home / "results.csv"), "url": service.url}
    cases = [
        ({**wanted, "package": "x"}, "names a url and a package"),
        ({**wanted, "folder": str(home / "nowhere")}, "is not there"),
        ({**wanted, "out": str(home / "results.doc")}, "must end in"),
    ]
    for config, sentence in cases:
        result = run(instance, **config)
        assert not result.success
        failure = next(event for event in result.all_events if event.is_step_failure)
        assert sentence in failure.step_failure_data.error.to_string()
    monkeypatch.setenv("CXR_API_KEY", "wrong")
    result = run(instance, **wanted)
    assert "401 unauthorized" in next(e for e in result.all_events if e.is_step_failure).step_failure_data.error.message


@pytest.mark.slow
def test_the_command_line_of_dagster_runs_it(service: Any, films: Path, home: Path) -> None:
    config = {"folder": str(films), "out": str(home / "results.jsonl"), "url": service.url}
    (home / "run.yaml").write_text(json.dumps({"ops": {"predict_films": {"config": config}}}))
    command = ["-m", "dagster", "job", "execute", "-m", "cxr_assets.definitions", "-j", JOB, "-c", "run.yaml"]
    environment = {**os.environ, "DAGSTER_HOME": str(home / "dagster"), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    done = subprocess.run(
        [sys.executable, *command], cwd=home, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len((home / "results.jsonl").read_text().splitlines()) == 6
    assert "predicting: 6/6 films" in done.stderr


def test_the_job_makes_no_asset() -> None:
    from cxr_assets.definitions import defs

    assert defs.resolve_job_def(JOB).asset_layer.selected_asset_keys == set()
