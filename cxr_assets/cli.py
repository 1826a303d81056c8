"""``cxr run`` and ``cxr crossval``: the pipeline, and the evidence beside it, from the command line."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING

import click

from cxr_core import NOTICE
from cxr_core.errors import CxrError

if TYPE_CHECKING:
    from cxr_core.settings import Settings

__all__ = ["crossval", "run"]


_changes = click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Override a setting: training.max_epochs=3."
)


@click.command()
@_changes
def run(changes: tuple[str, ...]) -> None:
    """Bring the whole pipeline up to date and say where to look."""
    from cxr_assets.home import ensure_dagster_home
    from cxr_core.store import ArtefactStore

    settings = _bring_up_to_date("pipeline", changes)
    store = ArtefactStore(settings.store)
    report = store.local_tree(store.get_ref("evidence_report")) / "evidence_report.html"
    click.echo(
        f"""
Look at
  the pipeline     make ui      then http://127.0.0.1:3000 (runs and figures are recorded in {ensure_dagster_home()})
  the evidence     {report}
  the artefacts    {settings.store}
  a prediction     cxr predict FILE...
  the service      make serve   then http://127.0.0.1:3001 (first: cxr keys create --id NAME, cxr secrets create)
{NOTICE}"""
    )


@click.command()
@_changes
def crossval(changes: tuple[str, ...]) -> None:
    """Cross-validate by whole patients: scores inside each source, out of fold. Killed, it goes on where it was."""
    from cxr_core.evaluation.comparison import REPORT_FILE, inside_table
    from cxr_core.store import ArtefactStore

    settings = _bring_up_to_date("cross_validate", changes)
    store = ArtefactStore(settings.store)
    folder = store.local_tree(store.get_ref("out_of_fold"))
    report = json.loads((folder / REPORT_FILE).read_text())
    click.echo("\nDisease against normal inside each source, area under the ROC curve with its interval")
    click.echo(inside_table(report).to_string(index=False, float_format="{:.3f}".format))
    click.echo(f"\nAll numbers and figures are in {folder}\n{NOTICE}")


def _bring_up_to_date(job: str, changes: tuple[str, ...]) -> Settings:
    """Make what is missing or out of date among a job's assets, and say how it went; the settings that were used."""
    from cxr_assets.home import ensure_dagster_home
    from cxr_core.progress import show_bars_on

    if sys.stderr.isatty():
        show_bars_on(os.fdopen(os.dup(sys.stderr.fileno()), "w"))
    start = time.monotonic()
    ensure_dagster_home()
    _make_phantoms()
    import dagster as dg

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    from cxr_assets.definitions import OBSERVE_JOB, PIPELINE_JOB, ROBUSTNESS_JOB, defs
    from cxr_assets.refresh import refresh
    from cxr_assets.resources import dump_overrides
    from cxr_core.settings import load_settings
    from cxr_core.store import ArtefactStore

    overrides = dict(_parse(change) for change in changes)
    settings = load_settings(overrides)
    with dg.DagsterInstance.get() as instance:
        config = dump_overrides(overrides) if overrides else None
        store = ArtefactStore(settings.store)
        swept = [ROBUSTNESS_JOB] if job == PIPELINE_JOB else []
        done = refresh(defs, instance, store, settings, OBSERVE_JOB, job, config, click.echo, swept)
    click.echo(f"{len(done.made)} assets made, {done.fresh} were up to date, {time.monotonic() - start:.0f} s")
    if done.problem:
        click.echo("cxr report writes the evidence report from what there is.")
        raise CxrError(done.problem)
    return settings


def _make_phantoms() -> None:
    """The demo makes its own data, unless the user brings some."""
    from cxr_core.cli import draw_phantoms
    from cxr_core.settings import load_settings

    settings = load_settings()
    if settings.profile == "demo" and "CXR_RAW_DIR" not in os.environ:
        draw_phantoms(settings)


def _parse(change: str) -> tuple[str, object]:
    name, separator, value = change.partition("=")
    if not separator:
        raise CxrError(f"--set {change} has no value: write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
