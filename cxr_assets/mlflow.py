"""MLflow beside Dagster: one MLflow run for each Dagster run, its tuning and training nested in it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace

import dagster as dg

from cxr_assets.resources import SettingsResource
from cxr_assets.staleness import data_version
from cxr_core.store import ArtefactStore
from cxr_core.training.processes import process_mark
from cxr_core.training.tracking import EXPERIMENT, Run, Tracker
from cxr_core.training.tracking_client import PROCESS

__all__ = ["MlflowResource"]

_DAGSTER_RUN = "dagster_run_id"  # tag by which dagster-mlflow finds the MLflow run of a Dagster run
_WEBSERVER = "DAGSTER_WEBSERVER_URL"  # environment: where this deployment's UI is, for links


class MlflowResource(dg.ConfigurableResource):
    """Opens MLflow runs; a server that is away costs a warning, never the work, and gets everything later."""

    settings: dg.ResourceDependency[SettingsResource]

    @contextmanager
    def run(
        self, context: dg.AssetExecutionContext, name: str, tags: Mapping[str, str]
    ) -> Iterator[tuple[Tracker, Run]]:
        """A run named after an asset, nested in the MLflow run of the Dagster run.

        It is tagged with the Dagster run, the asset, the version of its code and the data versions of its inputs.

        Args:
            context: of the asset.
            name: of the run.
            tags: for example digests of the data.
        """
        now = self.settings.load()
        tracker = Tracker(now.mlflow_uri, EXPERIMENT, warn=context.log.warning, store=ArtefactStore(now.store))
        marks = {**_lineage(context), "dagster.asset": name, **tags}
        with self._of_dagster_run(context, tracker) as parent, tracker.run(name, marks, parent) as run:
            yield tracker, run

    @contextmanager
    def _of_dagster_run(self, context: dg.AssetExecutionContext, tracker: Tracker) -> Iterator[Run]:
        """The MLflow run that dagster-mlflow keeps for a Dagster run, found again by every asset of that run."""
        run_id = _open(context, tracker) if tracker.connect() else ""
        parent = tracker.attach(run_id, context.run.job_name, (_DAGSTER_RUN, context.run.run_id))
        status = "FAILED"
        try:
            yield parent
            status = "FINISHED"
        finally:
            if not run_id or not _close(status):
                parent.end(status)


def _lineage(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Where a run stands in Dagster."""
    key, run_id = context.asset_key, context.run.run_id
    # Not the tag by which dagster-mlflow finds the run of the Dagster run again: this is another one.
    marks = {"dagster.run_id": run_id, "dagster.asset_key": key.to_user_string()}
    if code := context.assets_def.code_versions_by_key.get(key):
        marks["dagster.code_version"] = code
    for parent in sorted(context.assets_def.asset_deps[key]):
        if version := data_version(context.instance, parent):
            marks[f"dagster.input.{parent.to_user_string()}"] = version
    if url := os.environ.get(_WEBSERVER):
        marks["dagster.url"] = f"{url.rstrip('/')}/runs/{run_id}"
    return marks


def _open(context: dg.AssetExecutionContext, tracker: Tracker) -> str:
    """MLflow's identifier of the Dagster run's run, which is now the active one; empty where that failed."""
    import mlflow
    from dagster_mlflow.resources import MlFlow  # seconds of imports: not at module level

    # dagster-mlflow is written for job-level resources, whose hook ends runs of named jobs only; an asset may run
    # outside of one, so the run is opened and ended here (TRAPS 23).
    init = SimpleNamespace(
        log=context.log,
        dagster_run=context.run,
        run_id=context.run.run_id,
        resource_config={
            "experiment_name": EXPERIMENT, "mlflow_tracking_uri": tracker.uri, "env": {},
            "extra_tags": {PROCESS: process_mark()},
        },
    )  # fmt: skip
    try:
        MlFlow(init)
        active = mlflow.active_run()
    except Exception as error:  # MLflow raises whatever its store raises; the tracker tries again by itself
        context.log.warning(f"dagster-mlflow could not open the run of this Dagster run ({type(error).__name__}).")
        _close("FAILED")
        return ""
    return active.info.run_id if active else ""


def _close(status: str) -> bool:
    """End the active run; False where MLflow did not take it."""
    import mlflow

    try:
        mlflow.end_run(status)
    except Exception:  # whatever its store raises; the tracker then ends the run, now or later
        return False
    return True
