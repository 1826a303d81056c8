"""The MLflow runs of a Dagster run: nested, named after their assets, and complete in the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cxr_assets.mlflow import MlflowResource
from cxr_assets.resources import SettingsResource
from cxr_core.store import ArtefactStore
from cxr_core.training.tracking import EXPERIMENT, Tracker

Steps = dict[str, Callable[[], None]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one database for all tests of this file: making its tables takes seconds."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def uri(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    monkeypatch.setenv("CXR_MLFLOW_URI", uri)
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    return uri


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides={"telemetry": {"enabled": False}}) as made:
        yield made


def run_pipeline(
    instance: dg.DagsterInstance, between: Callable[[str], None] = lambda asset: None
) -> dg.ExecuteInProcessResult:
    """Two assets, one on the other; ``between`` is called with the asset's name inside its MLflow run."""

    @dg.asset(code_version="3")
    def films() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("f" * 64))

    def tracked(name: str, deps: list[Any]) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=deps, code_version="7")
        def made(context: dg.AssetExecutionContext, mlflow: MlflowResource) -> dg.MaterializeResult:
            with mlflow.run(context, name, {"splits": "abc"}) as (tracker, run):
                run.params({"seed": 42})
                between(name)
                with tracker.run(f"{name}-trial", parent=run) as trial:
                    trial.metrics({"log_loss": 0.5})
            return dg.MaterializeResult(data_version=dg.DataVersion("t" * 64))

        return made

    tuned = tracked("tuned", [films])
    settings = SettingsResource()
    return dg.Definitions(
        assets=[films, tuned, tracked("trained", [tuned])],
        jobs=[dg.define_asset_job("pipeline")],
        resources={"mlflow": MlflowResource(settings=settings), "settings": settings},
        executor=dg.in_process_executor,
    ).resolve_job_def("pipeline").execute_in_process(instance=instance, raise_on_error=False)  # fmt: skip


def held(uri: str, run_id: str) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Parent, status and tags of the MLflow runs of a Dagster run, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    top = {run.info.run_id for run in runs if run.data.tags.get("dagster_run_id") == run_id}
    middle = {run.info.run_id for run in runs if run.data.tags.get("mlflow.parentRunId") in top}
    mine = [run for run in runs if run.info.run_id in top | middle or run.data.tags.get("mlflow.parentRunId") in middle]
    names = {"": "", **{run.info.run_id: run.info.run_name for run in mine}}
    found = {
        run.info.run_name: (names[run.data.tags.get("mlflow.parentRunId", "")], run.info.status, run.data.tags)
        for run in mine
    }
    assert len(found) == len(mine), f"doubled: {[run.info.run_name for run in mine]}"
    return found


TREE = {
    "pipeline": ("", "FINISHED"),
    "tuned": ("pipeline", "FINISHED"),
    "tuned-trial": ("tuned", "FINISHED"),
    "trained": ("pipeline", "FINISHED"),
    "trained-trial": ("trained", "FINISHED"),
}


def tree(uri: str, run_id: str) -> dict[str, tuple[str, str]]:
    return {name: (parent, status) for name, (parent, status, _) in held(uri, run_id).items()}


def test_assets_nest_in_one_run_and_say_where_they_come_from(
    uri: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("DAGSTER_WEBSERVER_URL", "http://dagster.example/")
    done = run_pipeline(instance)
    assert done.success
    assert tree(uri, done.run_id) == TREE
    tags = held(uri, done.run_id)["trained"][2]
    expected = {
        "dagster.run_id": done.run_id,
        "dagster.asset": "trained",
        "dagster.asset_key": "trained",
        "dagster.code_version": "7",
        "dagster.input.tuned": "t" * 64,
        "dagster.url": f"http://dagster.example/runs/{done.run_id}",
        "splits": "abc",
    }
    assert {name: tags.get(name) for name in expected} == expected
    assert held(uri, done.run_id)["tuned"][2]["dagster.input.films"] == "f" * 64
    assert mlflow.active_run() is None


def test_an_asset_that_fails_leaves_no_run_open(uri: str, instance: dg.DagsterInstance) -> None:
    import mlflow

    def fail(asset: str) -> None:
        if asset == "trained":
            raise ValueError("no films")

    done = run_pipeline(instance, fail)
    assert not done.success
    assert tree(uri, done.run_id) == {
        "pipeline": ("", "FAILED"),
        "tuned": ("pipeline", "FINISHED"),
        "tuned-trial": ("tuned", "FINISHED"),
        "trained": ("pipeline", "FAILED"),
    }
    assert mlflow.active_run() is None


@pytest.mark.parametrize("moment", ["start", "tuned", "trained"])
def test_a_pipeline_goes_on_without_mlflow_and_is_tracked_whole_later(
    moment: str, uri: str, folder: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    import mlflow

    database, aside = folder / "mlflow.db", folder / "away.db"
    Tracker(uri, EXPERIMENT).connect()

    def go_away(now: str) -> None:
        if now == moment:
            database.rename(aside)
            database.mkdir()

    go_away("start")
    done = run_pipeline(instance, go_away)
    assert done.success
    assert mlflow.active_run() is None
    database.rmdir()
    aside.rename(database)
    warnings = [
        entry.user_message
        for entry in instance.all_logs(done.run_id)
        if "MLflow at" in entry.user_message and entry.level == 30
    ]
    assert len(warnings) == (1 if moment == "trained" else 2)  # one an asset

    assert Tracker(uri, EXPERIMENT, store=ArtefactStore(tmp_path / "store")).connect()
    assert tree(uri, done.run_id) == TREE
    assert held(uri, done.run_id)["trained"][2]["dagster.input.tuned"] == "t" * 64
