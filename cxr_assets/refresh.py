"""Bring the pipeline up to date: observe the raw images, then make what is missing or out of date, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from cxr_assets.staleness import Graph, next_wave, stale_assets, stale_partitions
from cxr_core.errors import CxrError
from cxr_core.settings import Settings
from cxr_core.store import ArtefactStore

__all__ = ["Refresh", "refresh"]


@dataclass
class Refresh:
    """What a refresh did.

    Attributes:
        made: assets that were materialised, with the reason, in the order of the runs.
        fresh: number of assets that were up to date and stayed so.
        problem: why it stopped early; empty when everything is up to date.
    """

    made: dict[str, str] = field(default_factory=dict)
    fresh: int = 0
    problem: str = ""


def refresh(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    store: ArtefactStore,
    settings: Settings,
    observe_job: str,
    pipeline_job: str,
    run_config: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
    partitioned_jobs: Sequence[str] = (),
) -> Refresh:
    """Observe, then materialise stale assets wave by wave until none is left.

    Args:
        defs: the code location.
        instance: where versions are recorded.
        store: where artefacts lie.
        settings: those that ``run_config`` leads to.
        observe_job: name of the job that looks at the raw images.
        pipeline_job: name of the job whose assets are brought up to date; it holds all that they depend on.
        run_config: run config of every run, for example settings overrides.
        say: told what is about to be made, and why.
        partitioned_jobs: names of the jobs that make the partitioned assets among what the pipeline depends on; each
            stale partition is a run of its own, after all else that can be made.
    """
    # A terminal shows bars, and at the end the sentence; elsewhere the log lines are what shows life.
    level = "CRITICAL" if sys.stderr.isatty() else "INFO"
    config = {"loggers": {"console": {"config": {"log_level": level}}}, **(run_config or {})}
    graph = Graph.of(defs, settings, pipeline_job, *partitioned_jobs)
    jobs = {
        key: job
        for job in partitioned_jobs
        for key in graph.partitions
        if key in defs.resolve_job_def(job).asset_layer.selected_asset_keys
    }
    done = Refresh()

    def execute(job: str, **what: Any) -> dg.ExecuteInProcessResult:
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance, run_config=config, raise_on_error=False, **what
        )

    observed = execute(observe_job)
    if not observed.success:
        done.problem = _why(observed)
        return done
    while stale := stale_assets(graph, instance, store):
        wave = _in_one_go(graph, next_wave(graph, stale))
        again = [key for key in wave if key.to_user_string() in done.made]
        if again:
            raise CxrError(
                f"{again[0].to_user_string()} is out of date again right after it was made: {stale[again[0]]}."
            )
        say("making " + ", ".join(f"{key.to_user_string()} ({stale[key]})" for key in wave))
        made: set[dg.AssetKey | None] = set()
        if wave[0] in graph.partitions:
            waiting = list(stale_partitions(graph, wave[0], instance, store))
            for number, partition in enumerate(waiting, 1):
                say(f"  {wave[0].to_user_string()} {number} of {len(waiting)}: {partition}")
                result = execute(jobs[wave[0]], partition_key=partition)
                if not result.success:
                    break
            else:
                made.add(wave[0])
        else:
            result = execute(pipeline_job, asset_selection=wave)
            made.update(event.asset_key for event in result.get_asset_materialization_events())
        done.made.update({key.to_user_string(): stale[key] for key in wave if key in made})
        if not result.success:
            done.problem = _why(result)
            break
    names = {key.to_user_string() for key in graph.parents.keys() - stale.keys()}
    done.fresh = len(names - done.made.keys())
    return done


def _in_one_go(graph: Graph, wave: list[dg.AssetKey]) -> list[dg.AssetKey]:
    """What of a wave one job can make: all that needs no partitioned asset of the wave, else one partitioned asset."""
    later = {key for key in wave if key in graph.partitions}
    now = [key for key in wave if key not in later and not graph.ancestors(key) & later]
    return now or [next(key for key in wave if key in later)]


def _why(result: dg.ExecuteInProcessResult) -> str:
    """The sentence of the first failed step; for a failed gate, what the check found."""
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if check.blocking and not check.passed:
                return f"{check.asset_key.to_user_string()} failed its check {check.check_name}: {check.description}"
    for event in result.all_events:
        if event.is_step_failure:
            return f"{event.step_key}: {_sentence(event.step_failure_data)}"
    return "The run failed; its log in the Dagster UI says where."


def _sentence(failure: Any) -> str:
    """What a step's code raised, without Dagster's wrapping, the class's name, and whatever caused it below."""
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    _, _, text = error.message.strip().partition(": ")
    return text or str(error.message).strip()
