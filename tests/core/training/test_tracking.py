import os
from pathlib import Path

import numpy as np
import pytest
from mlflow_parts import Mlflow

from cxr_core.store import ArtefactStore
from cxr_core.training.tracking import Tracker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


def test_runs_nest_and_hold_what_was_logged(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{folder / 'deep/mlflow.db'}"
    warnings: list[str] = []
    tracker = Tracker(uri, "cxr-test", warnings.append)
    figure = tmp_path / "figure.svg"
    figure.write_text("<svg/>")
    with tracker.run("tuning", tags={"data": "abc"}) as parent:
        parent.params({"trials": 2})
        parent.artefact(figure, "figures")
        parent.text("trial,log_loss\n", "trials.csv")
        for number in range(2):
            with tracker.run(f"trial {number}", parent=parent) as trial:
                trial.history([{"epoch": 1, "val_loss": 0.5, "auc": None}, {"epoch": 2, "val_loss": 0.25, "auc": 0.9}])
                trial.metrics({"log_loss": 0.125 * number})
    assert warnings == []

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("cxr-test")
    assert experiment.artifact_location == (folder / "deep/artifacts").as_uri()
    run = client.get_run(parent.run_id)
    assert (run.info.status, run.data.params, run.data.tags["data"]) == ("FINISHED", {"trials": "2"}, "abc")
    assert [file.path for file in client.list_artifacts(parent.run_id)] == ["figures", "trials.csv"]
    children = client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.run_id}'")
    assert sorted(child.data.metrics["log_loss"] for child in children) == [0.0, 0.125]
    steps = client.get_metric_history(children[0].info.run_id, "val_loss")
    assert [(metric.step, metric.value) for metric in steps] == [(1, 0.5), (2, 0.25)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.svg"]  # no ./mlruns


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_whose_work_fails_is_marked_and_the_error_goes_on(
    error: type[BaseException], status: str, mlflow: Mlflow
) -> None:
    with pytest.raises(error), Tracker(mlflow.uri, "cxr-test").run("fails"):
        raise error
    assert mlflow.holds()["fails"]["status"] == status


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/no/such/mlflow.db"])
def test_tracking_that_cannot_work_warns_once_and_the_work_goes_on(uri: str, tmp_path: Path) -> None:
    warnings: list[str] = []
    tracker = Tracker(uri, "cxr-test", warnings.append)
    done = False
    with tracker.run("training") as run, tracker.run("trial", parent=run) as trial:
        run.params({"a": 1})
        trial.history([{"epoch": 1, "val_loss": 0.5}])
        run.artefact(Path(__file__))
        done = True
    assert done
    assert tracker.failed
    assert len(warnings) == 1
    assert uri in warnings[0]


def test_a_warning_never_shows_a_password() -> None:
    warnings: list[str] = []
    with Tracker("http://user:secret@127.0.0.1:9", "cxr-test", warnings.append).run("training"):
        pass
    assert "secret" not in warnings[0]


def test_usage_reports_to_the_makers_are_off() -> None:
    with Tracker("http://127.0.0.1:9", "cxr-test", lambda text: None).run("training"):
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_package_is_registered_once_and_aliases_move(mlflow: Mlflow, tmp_path: Path) -> None:
    warnings: list[str] = []
    tracker = Tracker(mlflow.uri, "cxr-test", warnings.append)
    (tmp_path / "package").mkdir()
    (tmp_path / "package/manifest.json").write_text("{}")
    first = {"package_digest": "a" * 64, "version": "1.0.0", "gate": "passed"}
    second = {"package_digest": "b" * 64, "version": "1.1.0", "gate": "rejected", "reasons": "Macro F1 is 0.7"}
    with tracker.run("release 1") as run:
        run.folder(tmp_path / "package", "package")
        run.register("cxr", "package", first, ["challenger"])
        run.alias("cxr", "a" * 64, "champion")
    with tracker.run("release 2") as run:
        run.folder(tmp_path / "package", "package")
        run.register("cxr", "package", second, ["challenger"])
    with tracker.run("release 1 again") as run:
        run.register("cxr", "package", {**first, "gate": "rejected"})
    assert mlflow.versions("cxr") == {
        "1": ({**first, "gate": "rejected"}, ["champion"], "release 1"),
        "2": (second, ["challenger"], "release 2"),
    }
    with tracker.run("promotion") as run:
        run.alias("cxr", "b" * 64, "champion")
        run.alias("cxr", "c" * 64, "challenger")
    aliases = {version: named for version, (_, named, _) in mlflow.versions("cxr").items()}
    assert aliases == {"1": [], "2": ["challenger", "champion"]}
    assert ["has no version of package cccccccccccccccc" in warning for warning in warnings] == [True]
    source = mlflow.client().get_model_version("cxr", "1").source
    assert (Path(source.removeprefix("file://")) / "manifest.json").read_text() == "{}"


def test_numpy_numbers_are_numbers(mlflow: Mlflow) -> None:
    with Tracker(mlflow.uri, "cxr-test").run("training") as run:
        run.metrics({"a": np.float32(0.5), "b": np.int64(2), "c": None, "d": "0.5", "e": True})
    held = mlflow.holds()["training"]["metrics"]
    assert {name: value for name, ((_, _, value),) in held.items()} == {"a": "0.5", "b": "2.0", "e": "1.0"}


def test_what_belongs_to_a_deleted_experiment_waits_for_it(mlflow: Mlflow, tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path / "store")
    Tracker(mlflow.uri, "cxr-test", store=store).connect()
    experiment = mlflow.client().get_experiment_by_name("cxr-test").experiment_id
    mlflow.client().delete_experiment(experiment)
    for number in range(2):
        warnings: list[str] = []
        with Tracker(mlflow.uri, "cxr-test", warnings.append, store).run(f"training {number}"):
            pass
        assert ["was deleted there, restore it" in warning for warning in warnings] == [True]
    mlflow.client().restore_experiment(experiment)
    assert Tracker(mlflow.uri, "cxr-test", store=store).connect()
    assert {name: run["status"] for name, run in mlflow.holds().items()} == {
        "training 0": "FINISHED", "training 1": "FINISHED",
    }  # fmt: skip
