"""What tracking says to MLflow: reaching it, finding or making runs, delivering one event, closing dead runs."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cxr_core.errors import CxrError
from cxr_core.training.processes import is_gone
from cxr_core.training.registry import Refused, point_alias, register_version

__all__ = ["PROCESS", "RECORD", "Birth", "Event", "close_dead_runs", "deliver", "experiment_id", "find_or_make",
           "is_refusal", "make", "milliseconds", "open_client", "without_password"]  # fmt: skip

Event = dict[str, Any]  # JSON: "kind" and what that kind needs, see deliver

RECORD = "cxr.record"  # tag by which a run is found again
PROCESS = "cxr.process"  # tag with the process that fills the run
_PARENT_TAG = "mlflow.parentRunId"  # how MLflow's pages know nested runs
_SQLITE = "sqlite:///"
_SECONDS = 10  # to wait for a database server to answer
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where a URI names none
_METRICS, _PARAMS = 1000, 100  # MLflow's limits of one batch

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow reports usage to its makers otherwise
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # its default of 7 with growing pauses holds the work up for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@dataclass(frozen=True)
class Birth:
    """All that is needed to find a run in MLflow, or to make it.

    Attributes:
        name: of the run.
        tags: that it is made with.
        start: milliseconds since 1970.
        tag: name of the tag by which it is found; empty where ``value`` is MLflow's run id.
        value: of that tag.
        parent: of the run that it is nested in.
    """

    name: str
    tags: dict[str, str]
    start: int
    tag: str
    value: str
    parent: Birth | None = None

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Birth:
        """The inverse of ``dataclasses.asdict``."""
        parent = value["parent"]
        return cls(**{**value, "parent": cls.from_dict(parent) if parent else None})


def milliseconds() -> int:
    """Now, as MLflow counts time."""
    return int(time.time() * 1000)


def open_client(uri: str) -> Any:
    """An ``MlflowClient`` of a server that is there.

    Raises:
        Exception: whatever says that it is not; within seconds, where MLflow itself would try for minutes.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if uri.startswith(_SQLITE):
        Path(uri.removeprefix(_SQLITE)).absolute().parent.mkdir(parents=True, exist_ok=True)
    elif scheme in _PORTS:
        host, port = urlsplit(uri).hostname or "localhost", urlsplit(uri).port or _PORTS[scheme]
        socket.create_connection((host, port), timeout=_SECONDS).close()
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 1  # it opens a database ten times with growing pauses, in all 102 s, before it gives up
    for noisy, level in {
        "alembic": logging.WARNING,
        "mlflow": logging.WARNING,
        "mlflow.store": logging.CRITICAL,
    }.items():
        logging.getLogger(noisy).setLevel(level)  # a failure is told in one sentence by the tracker
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(client: Any, uri: str, name: str) -> str:
    """Identifier of an experiment, made where it is missing; with SQLite its artefacts lie beside the database.

    Raises:
        CxrError: somebody deleted it.
    """
    if known := client.get_experiment_by_name(name):
        if known.lifecycle_stage != "active":
            raise CxrError(f"experiment {name} was deleted there, restore it or remove it for good with `mlflow gc`")
        return str(known.experiment_id)
    location = None
    if uri.startswith(_SQLITE):
        location = (Path(uri.removeprefix(_SQLITE)).absolute().parent / "artifacts").as_uri()
    return str(client.create_experiment(name, location))


def make(client: Any, experiment: str, birth: Birth, parent_id: str) -> str:
    """A new run; its identifier."""
    tags = {**birth.tags, _PARENT_TAG: parent_id} if parent_id else birth.tags
    return str(client.create_run(experiment, birth.start, tags, birth.name).info.run_id)


def find_or_make(client: Any, experiment: str, birth: Birth) -> str:
    """Identifier of a run, which is made under its parent where it is missing."""
    if not birth.tag:
        return birth.value
    quoted = birth.value.replace("'", "\\'")
    found = client.search_runs([experiment], f"tags.`{birth.tag}` = '{quoted}'", order_by=["start_time ASC"])
    if found:
        return str(found[0].info.run_id)
    parent = find_or_make(client, experiment, birth.parent) if birth.parent else ""
    return make(client, experiment, birth, parent)


def deliver(client: Any, run_id: str, event: Event) -> None:
    """Hand one event to MLflow. Delivered twice it leaves what once leaves.

    MLflow's SQL store drops a metric that it has with the same time, step and value.

    Raises:
        Exception: MLflow, SQLAlchemy, the operating system and HTTP clients all raise their own.
    """
    match event["kind"]:
        case "log":
            _log(client, run_id, event)
        case "text":
            client.log_text(run_id, event["content"], event["name"])
        case "files":
            path = Path(event["path"])
            if not path.exists():
                raise Refused(f"{path.name} is gone.")
            (client.log_artifacts if path.is_dir() else client.log_artifact)(run_id, str(path), event["folder"])
        case "register":
            register_version(client, run_id, event["model"], event["folder"], event["tags"], event["aliases"])
        case "alias":
            point_alias(client, event["model"], event["package_digest"], event["alias"])
        case "end":
            client.set_terminated(run_id, event["status"], event["time"])
        case kind:
            raise Refused(f"Unknown tracking event {kind!r}.")


def _log(client: Any, run_id: str, event: Event) -> None:
    from mlflow.entities import Metric, Param, RunTag

    params = [Param(name, value) for name, value in event["params"].items()]
    for start in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[start : start + _PARAMS], synchronous=True)
    if event["tags"]:
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in event["tags"].items()], synchronous=True)
    metrics = [Metric(*metric) for metric in event["metrics"]]
    for start in range(0, len(metrics), _METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + _METRICS], synchronous=True)


def is_refusal(error: Exception) -> bool:
    """Whether MLflow is there and will never take this, for example a name or a value that it does not allow."""
    return isinstance(error, Refused) or getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"


def close_dead_runs(client: Any, experiment: str) -> None:
    """End as KILLED the runs of this machine whose process is gone."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if is_gone(run.data.tags.get(PROCESS, "")):
            client.set_terminated(run.info.run_id, "KILLED")


def without_password(uri: str) -> str:
    """A URI without user and password."""
    scheme, found, rest = uri.partition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2]}"
