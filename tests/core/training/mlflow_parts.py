"""What the tracking tests share: an MLflow on SQLite that goes away and comes back, and all that it holds."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXPERIMENT = "cxr-test"
_OWN = {"cxr.record", "cxr.process", "mlflow.parentRunId"}  # differ from run to run


@dataclass
class Mlflow:
    """MLflow's database in a folder of its own, artefacts beside it."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "mlflow.db"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.database}"

    def go_away(self) -> None:
        """A folder takes the database's place; to a connection that is open, SQLite says that it is read-only."""
        self.database.rename(self.folder / "away.db")
        self.database.mkdir()

    def come_back(self) -> None:
        self.database.rmdir()
        (self.folder / "away.db").rename(self.database)

    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def holds(self, experiment: str = EXPERIMENT) -> dict[str, dict[str, Any]]:
        """Everything of an experiment, by the name of the run; two runs of one name are an error."""
        client = self.client()
        found = client.get_experiment_by_name(experiment)
        runs = client.search_runs([found.experiment_id]) if found else []
        names = {run.info.run_id: run.info.run_name for run in runs}
        assert len(set(names.values())) == len(names), f"doubled runs: {sorted(names.values())}"
        return {run.info.run_name: self._run(client, run, names) for run in runs}

    def _run(self, client: Any, run: Any, names: dict[str, str]) -> dict[str, Any]:
        def metric(one: Any) -> tuple[int, int, str]:
            return one.step, one.timestamp, "nan" if math.isnan(one.value) else repr(one.value)

        root = Path(run.info.artifact_uri.removeprefix("file://"))
        return {
            "status": run.info.status,
            "start": run.info.start_time,
            "end": run.info.end_time,
            "params": run.data.params,
            "tags": {name: value for name, value in run.data.tags.items() if name not in _OWN},
            "parent": names.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
            "metrics": {
                name: [metric(one) for one in client.get_metric_history(run.info.run_id, name)]
                for name in sorted(run.data.metrics)
            },
            "artefacts": {
                path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
            },
        }

    def versions(self, model: str) -> dict[str, tuple[dict[str, str], list[str], str]]:
        """Tags, aliases and the run's name of each version of a registered model."""
        client = self.client()
        return {
            str(one.version): (
                dict(one.tags),
                sorted(client.get_model_version(model, one.version).aliases),
                client.get_run(one.run_id).info.run_name,
            )
            for one in client.search_model_versions(f"name = '{model}'")
        }


def copy_of(template: Path, folder: Path) -> Mlflow:
    """A fresh MLflow from a database whose tables are made already, which takes seconds."""
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    return Mlflow(folder)
