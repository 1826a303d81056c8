"""The ``cxr`` command. Packages above the core add sub-commands through the entry-point group ``cxr.commands``."""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxr_core import NOTICE, __version__
from cxr_core.commands import OneSentence
from cxr_core.predict_command import predict
from cxr_core.site_points_command import fit_points

if TYPE_CHECKING:
    from cxr_core.settings import Settings

__all__ = ["draw_phantoms", "main"]


class _Commands(OneSentence):
    """Own commands and those of other packages, which are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group="cxr.commands"))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if own := super().get_command(ctx, cmd_name):
            return own
        found = entry_points(group="cxr.commands", name=cmd_name)
        return next(iter(found)).load() if found else None


@click.group(cls=_Commands, help=f"Chest X-ray classification with evidence. {NOTICE}")
@click.version_option(__version__)
def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("cxr").setLevel(logging.INFO)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Values only, as JSON.")
def settings(as_json: bool) -> None:
    """Print every setting with its value and where the value comes from."""
    from cxr_core.settings import describe, load_settings

    now = load_settings()
    if as_json:
        click.echo(now.model_dump_json(indent=1))
        return
    for name, value, source in describe(now):
        click.echo(f"{name} = {value}")
        if source:
            click.secho(f"    {source}", dim=True)


@main.command()
@click.option("--into", type=click.Path(path_type=Path), help="Folder for the images; default: the settings' raw_dir.")
def phantom(into: Path | None) -> None:
    """Make the synthetic films of the demo, with ground truth, where they are missing."""
    from cxr_core.settings import load_settings

    draw_phantoms(load_settings(), into)


def draw_phantoms(settings: Settings, into: Path | None = None) -> None:
    """Make the phantoms of the settings in ``into`` (default: their raw folder) and say how many there are."""
    from cxr_core.dataset.phantom import ensure_phantoms
    from cxr_core.progress import progress

    target = into or settings.raw_dir
    assert target is not None  # load_settings makes every path absolute
    with progress(settings.phantom.total_files, "drawing phantoms", "films") as advance:
        done = 0

        def step(count: int, _total: int) -> None:
            nonlocal done
            advance(count - done)
            done = count

        truth = ensure_phantoms(target, settings.phantom, step)
    click.echo(f"{len(truth.table)} phantom films in {target}")


@main.command()
@click.option("--into", type=click.Path(path_type=Path), help="Folder for the images; default: data/raw.")
@click.option("--dataset", help="Kaggle handle, owner/name.")
def download(into: Path | None, dataset: str | None) -> None:
    """Fetch the report's data set from Kaggle (needs an account there)."""
    from cxr_core.dataset.download import KAGGLE_DATASET, download
    from cxr_core.settings import project_root

    click.echo(f"{download(into or project_root() / 'data/raw', dataset or KAGGLE_DATASET)}")


@main.command()
def track() -> None:
    """Upload to MLflow what it missed while it was away."""
    from cxr_core.settings import load_settings
    from cxr_core.store import ArtefactStore
    from cxr_core.training.tracking import EXPERIMENT, Tracker
    from cxr_core.training.tracking_outbox import Outbox

    now = load_settings()
    store = ArtefactStore(now.store)
    if not Outbox(store).pending():
        click.echo("Nothing waits for MLflow.")
        return
    tracker = Tracker(now.mlflow_uri, EXPERIMENT, lambda sentence: click.echo(sentence, err=True), store)
    if tracker.connect():
        left = "; another process is uploading the rest" if Outbox(store).pending() else ""
        click.echo(f"Runs uploaded to MLflow: {tracker.uploaded}{left}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line a model.")
def models(as_json: bool) -> None:
    """List every model that the promotion gate judged, and which one is in service."""
    from cxr_core.release.champion import models as judged_models
    from cxr_core.settings import load_settings
    from cxr_core.store import ArtefactStore

    for row in judged_models(ArtefactStore(load_settings().store)):
        if as_json:
            click.echo(json.dumps(row))
            continue
        click.echo(f"{row['package'][:12]}  {row['name']} {row['version']}  {row['state']}")
        for reason in row["reasons"]:
            click.echo(f"    {reason}")


main.add_command(predict)
main.add_command(fit_points)
