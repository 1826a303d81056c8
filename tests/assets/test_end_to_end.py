"""From raw films to answers over HTTP, through the commands that a person types."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import httpx
import pytest

from cxr_core.evaluation.temperature import TemperatureScaling

CXR = [sys.executable, "-c", "from cxr_core.cli import main; main()"]

pytestmark = pytest.mark.slow


def command(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([*CXR, *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def mlflow_runs() -> dict[str, str]:
    """Parent of each MLflow run, by name."""
    from mlflow import MlflowClient

    from cxr_core.settings import load_settings

    client = MlflowClient(load_settings().mlflow_uri)
    runs = client.search_runs([client.get_experiment_by_name("cxr").experiment_id])
    names = {"": "", **{run.info.run_id: run.info.run_name for run in runs}}
    assert {run.info.status for run in runs} == {"FINISHED"}
    return {run.info.run_name: names[run.data.tags.get("mlflow.parentRunId", "")] for run in runs}


def health_check(url: str) -> int:
    """Exit status of the image's own health check, against ``url``."""
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text()
    _, code = json.loads(re.search(r"CMD (\[\"python\".*\])", dockerfile).group(1))[1:]
    script = code.replace("http://127.0.0.1:3001", url)
    return subprocess.run([sys.executable, "-c", script], capture_output=True).returncode


@pytest.fixture
def served(pipeline: SimpleNamespace, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts ``cxr serve`` once and gives its address; ends exactly the processes that it started."""
    started: list[subprocess.Popen[bytes]] = []

    def serve() -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = (tmp_path / "serve.log").open("wb")
        process = subprocess.Popen([*CXR, "serve", "--port", str(port)], stdout=log, stderr=log, start_new_session=True)
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            if process.poll() is not None:
                break
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").status_code == 200:
                    return url
            time.sleep(0.5)
        raise AssertionError((tmp_path / "serve.log").read_text())

    yield serve
    for process in started:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.mark.parametrize("pipeline", ["whole"], indirect=True)
def test_raw_films_become_a_service_that_answers_as_the_pipeline_does(
    pipeline: SimpleNamespace, served: Callable[[], str]
):
    first = pipeline.refresh()
    assert first.problem == ""
    assert len(first.made) == 41
    assert pipeline.refresh().made == {}
    assert mlflow_runs() == {"pipeline": "", "tuned_hyperparameters": "pipeline", "trial-0": "tuned_hyperparameters",
                             "trained_model": "pipeline", "release_candidate": "pipeline",
                             "bento": "pipeline"}  # fmt: skip

    films = sorted(pipeline.raw.rglob("*.png"))[:3]
    lines = [json.loads(line) for line in command("predict", "--json", *map(str, films)).splitlines()]
    index = pipeline.store.read_table(pipeline.store.get_ref("image_index")).set_index("file")["image_id"]
    predictions = pipeline.store.read_table(pipeline.store.get_ref("predictions")).set_index("image_id")
    ids = {path: index[path.relative_to(pipeline.raw).as_posix()] for path in sorted(pipeline.raw.rglob("*.png"))}
    held_out = next(path for path, image_id in ids.items() if image_id in predictions.index)
    said = json.loads(command("predict", "--json", str(held_out)))
    row = predictions.loc[ids[held_out]]
    folder = pipeline.store.local_tree(pipeline.store.get_ref("calibrated_model"))
    scaling = TemperatureScaling.model_validate_json((folder / "temperature.json").read_bytes())
    expected = scaling.probabilities(row[["l_0", "l_1", "l_2"]].to_numpy(float)[None])[0]
    assert [*said["probabilities"].values()] == pytest.approx(expected.tolist(), abs=1e-4)
    assert set(said["parts"]) >= {"calibration"}

    key = command("keys", "create", "--id", "test").split()[-1]
    command("secrets", "create")
    url = served()
    assert health_check(url) == 0
    assert health_check("http://127.0.0.1:9") == 1  # nothing answers there
    assert httpx.post(f"{url}/predict", files={"file": films[0].read_bytes()}).status_code == 401
    for film, line in zip(films, lines, strict=True):
        answer = httpx.post(f"{url}/predict", headers={"X-API-Key": key}, files={"file": film.read_bytes()})
        assert answer.status_code == 200
        assert answer.json()["prediction"] == line["label"]
        assert answer.json()["probabilities"] == pytest.approx(line["probabilities"], abs=1e-6)
        assert "not a medical device" in answer.json()["notice"]


@pytest.mark.parametrize("pipeline", ["whole"], indirect=True)
def test_a_model_that_fails_the_gate_is_neither_built_nor_used(pipeline: SimpleNamespace):
    stopped = pipeline.refresh({"gates.min_macro_f1": 0.99})
    assert stopped.problem.startswith("release_candidate failed its check promotion_gate: Macro F1 on test is 0.")
    assert pipeline.instance.get_latest_materialization_event(dg.AssetKey("bento")) is None
    assert not pipeline.materialise("bento").success
    film = next(iter(sorted(pipeline.raw.rglob("*.png"))))
    assert "did not pass the promotion gate" in command("predict", str(film), code=1)
    assert "probabilities" in command("predict", "--rejected", "--json", str(film))


@pytest.mark.parametrize("pipeline", ["whole"], indirect=True)
def test_equal_inputs_give_equal_bytes_in_every_asset(
    pipeline: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from cxr_core.store import ArtefactStore

    def digests(store: ArtefactStore) -> dict[str, str]:
        refs = store.root / "refs"
        found = [*refs.glob("*.json"), *refs.glob("robustness_conditions/*.json")]
        return {
            path.relative_to(refs).with_suffix("").as_posix(): json.loads(path.read_bytes())["digest"] for path in found
        }

    assert pipeline.refresh().problem == ""
    first = digests(pipeline.store)
    for name in ("STORE", "CACHE_DIR", "CHECKPOINT_DIR", "BENTO_HOME"):
        monkeypatch.setenv(f"CXR_{name}", str(tmp_path / "second" / name.lower()))
    built = {name: first.pop(name) for name in ("bento", "champion")}
    assert built["bento"]
    assets = {name.partition("/")[0] for name in first} - {"settings"}
    assert "robustness_conditions" in assets
    assert pipeline.materialise(*assets).success
    assert digests(ArtefactStore(tmp_path / "second/store")) == first
