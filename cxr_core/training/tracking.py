"""Experiment tracking with MLflow (report 8.3). It never stops the work: its first failure is told, then it rests."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Run", "Tracker"]

_SQLITE = "sqlite:///"
_PARENT_TAG = "mlflow.parentRunId"  # how MLflow's pages know nested runs

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow reports usage to its makers otherwise
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # its default of 7 with growing pauses holds the work up for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_logger = logging.getLogger("cxr")


class Tracker:
    """Runs of one MLflow experiment.

    Uses the client alone: no global tracking URI, no active run, no autologging, no ``./mlruns``. With a SQLite URI
    the folder is created, and artefacts lie in ``artifacts`` beside the database.

    Args:
        uri: MLflow tracking URI, for example ``sqlite:////data/mlflow/mlflow.db`` or ``http://host:5000``.
        experiment: its name.
        warn: told in one sentence when tracking fails; default the ``cxr`` logger. Later calls then do nothing.
    """

    def __init__(self, uri: str, experiment: str, warn: Callable[[str], None] | None = None) -> None:
        self.uri = uri
        self.experiment = experiment
        self._warn = warn or _logger.warning
        self._client: Any = None
        self._experiment_id = ""
        self._failed = False

    @property
    def failed(self) -> bool:
        """Whether tracking has given up."""
        return self._failed

    def connect(self) -> bool:
        """Reach the server and make the experiment where it is missing; False where tracking has failed."""
        if self._client is None:
            self._attempt(self._connect)
        return not self._failed

    def attach(self, run_id: str) -> Run:
        """A run that somebody else opened, and will end."""
        return Run(self, run_id)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str] | None = None, parent: Run | None = None) -> Iterator[Run]:
        """A run, nested under ``parent`` where one is given; it ends as FAILED where the block raises."""
        run = Run(self, self._attempt(lambda: self._start(name, dict(tags or {}), parent)))
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        finally:
            if run.run_id:
                self._attempt(lambda: self._client.set_terminated(run.run_id, status=status))

    def _start(self, name: str, tags: dict[str, str], parent: Run | None) -> str:
        if self._client is None:
            self._connect()
        if parent and parent.run_id:
            tags[_PARENT_TAG] = parent.run_id
        run_id: str = self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
        return run_id

    def _connect(self) -> None:
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        from mlflow import MlflowClient

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        location = None
        if self.uri.startswith(_SQLITE):
            folder = Path(self.uri.removeprefix(_SQLITE)).absolute().parent
            folder.mkdir(parents=True, exist_ok=True)
            location = (folder / "artifacts").as_uri()
        client = MlflowClient(tracking_uri=self.uri)
        known = client.get_experiment_by_name(self.experiment)
        self._experiment_id = known.experiment_id if known else client.create_experiment(self.experiment, location)
        self._client = client

    def _attempt(self, work: Callable[[], Any]) -> Any:
        if self._failed:
            return None
        try:
            return work()
        except Exception as error:  # MLflow, SQLAlchemy, the operating system and HTTP clients all raise their own
            self._failed = True
            self._warn(
                f"MLflow at {_without_password(self.uri)} failed ({type(error).__name__}): the run goes on untracked."
            )
            return None


class Run:
    """One MLflow run; every method does nothing once tracking has failed.

    Attributes:
        run_id: MLflow's identifier, or empty where tracking failed.
    """

    def __init__(self, tracker: Tracker, run_id: str | None) -> None:
        self._tracker = tracker
        self.run_id = run_id or ""

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters, names to anything with a text form."""
        self._batch(params=values)

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags."""
        self._batch(tags=values)

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Record numbers; what is not a number (None, text) is left out."""
        self._batch(metrics=[(values, step)])

    def history(self, rows: Sequence[Mapping[str, Any]], step: str = "epoch") -> None:
        """Record a training history, one dict per epoch, against its ``step`` entry."""
        self._batch(metrics=[({k: v for k, v in row.items() if k != step}, int(row[step])) for row in rows])

    def artefact(self, path: Path, folder: str | None = None) -> None:
        """Record a copy of a local file, inside ``folder`` of the run's artefacts."""
        self._do(lambda client: client.log_artifact(self.run_id, str(path), folder))

    def text(self, content: str, name: str) -> None:
        """Record a text as the artefact ``name``."""
        self._do(lambda client: client.log_text(self.run_id, content, name))

    def _batch(
        self,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[tuple[Mapping[str, Any], int]] = (),
    ) -> None:
        def send(client: Any) -> None:
            from mlflow.entities import Metric, Param, RunTag

            now = int(time.time() * 1000)
            numbers = [
                Metric(name, float(value), now, step)
                for values, step in metrics
                for name, value in values.items()
                if isinstance(value, int | float)
            ]
            texts = [Param(name, str(value)) for name, value in (params or {}).items()]
            marks = [RunTag(name, str(value)) for name, value in (tags or {}).items()]
            for start in range(0, max(1, len(numbers)), 1000):  # MLflow's limit of one batch
                client.log_batch(self.run_id, metrics=numbers[start : start + 1000])
            for start in range(0, len(texts), 100):  # MLflow's limit of one batch
                client.log_batch(self.run_id, params=texts[start : start + 100])
            if marks:
                client.log_batch(self.run_id, tags=marks)

        self._do(send)

    def _do(self, work: Callable[[Any], None]) -> None:
        if self.run_id:
            self._tracker._attempt(lambda: work(self._tracker._client))


def _without_password(uri: str) -> str:
    scheme, found, rest = uri.partition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2]}"
