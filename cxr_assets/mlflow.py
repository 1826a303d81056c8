"""MLflow beside Dagster: one MLflow run for each Dagster run, its tuning and training nested in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace

import dagster as dg

from cxr_assets.resources import SettingsResource
from cxr_core.training.tracking import Run, Tracker

__all__ = ["MlflowResource"]

_EXPERIMENT = "cxr"


class MlflowResource(dg.ConfigurableResource):
    """Opens MLflow runs; a server that is away costs a warning, never the work."""

    settings: dg.ResourceDependency[SettingsResource]

    @contextmanager
    def run(
        self, context: dg.AssetExecutionContext, name: str, tags: Mapping[str, str]
    ) -> Iterator[tuple[Tracker, Run]]:
        """A run named after an asset, nested in the MLflow run of the Dagster run.

        Args:
            context: of the asset.
            name: of the run.
            tags: for example digests of the data.
        """
        tracker = Tracker(self.settings.load().mlflow_uri, _EXPERIMENT, warn=context.log.warning)
        # Not "dagster_run_id": by that tag dagster-mlflow finds the run of the Dagster run again, which this is not.
        marks = {"dagster.run_id": context.run.run_id, "dagster.asset": name, **tags}
        with self._of_dagster_run(context, tracker) as parent, tracker.run(name, marks, parent) as run:
            yield tracker, run

    @contextmanager
    def _of_dagster_run(self, context: dg.AssetExecutionContext, tracker: Tracker) -> Iterator[Run | None]:
        """The MLflow run that dagster-mlflow keeps for a Dagster run, found again by every asset of that run."""
        if not tracker.connect():
            yield None
            return
        from dagster_mlflow.resources import MlFlow  # seconds of imports: not at module level

        # dagster-mlflow is written for job-level resources, whose hook ends runs of named jobs only; an asset may run
        # outside of one, so the run is opened and ended here.
        init = SimpleNamespace(
            log=context.log,
            dagster_run=context.run,
            run_id=context.run.run_id,
            resource_config={
                "experiment_name": _EXPERIMENT, "mlflow_tracking_uri": tracker.uri, "env": {}, "extra_tags": {},
            },
        )  # fmt: skip
        try:
            MlFlow(init)
        except Exception as error:  # MLflow raises whatever its store raises
            context.log.warning(f"MLflow keeps no run for this Dagster run ({type(error).__name__}).")
            yield None
            return
        try:
            import mlflow

            active = mlflow.active_run()
            yield tracker.attach(active.info.run_id) if active else None
        finally:
            mlflow.end_run()
