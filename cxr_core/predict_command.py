"""``cxr predict``: films and folders, by the package on this machine or by a service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxr_core import NOTICE
from cxr_core.errors import CxrError

if TYPE_CHECKING:
    from cxr_core.client.models import FilmModel
    from cxr_core.client.outcome import Row
    from cxr_core.settings import Settings

__all__ = ["predict"]

_path = click.Path(path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=_path, metavar="FILE_OR_FOLDER...")
@click.option("--model", type=_path, help="Model package; default: the model in service, else the candidate.")
@click.option("--rejected", is_flag=True, help="Use the latest candidate even though it did not pass the gate.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line a film.")
@click.option("--out", type=_path, help="Write one row a film there: .csv, .parquet or .jsonl. Killed, it goes on.")
@click.option("--fresh", is_flag=True, help="With --out: ask again what was answered before.")
@click.option("--url", help="Ask the prediction service there: https://HOST, http://127.0.0.1:3001.")
@click.option("--key-file", type=_path, help="File with the API key of the service; default: the variable CXR_API_KEY.")
@click.option("--ca", type=_path, help="PEM file of the authority that signed the service's certificate.")
@click.option("--timeout", type=click.FloatRange(min=1), default=60, show_default=True, help="Seconds for an answer.")
@click.option(
    "--concurrency", type=click.IntRange(1, 64), default=2, show_default=True, help="Requests under way at a time."
)
def predict(
    paths: tuple[Path, ...],
    model: Path | None,
    rejected: bool,
    as_json: bool,
    out: Path | None,
    fresh: bool,
    url: str | None,
    key_file: Path | None,
    ca: Path | None,
    timeout: float,
    concurrency: int,
) -> None:
    """Classify films: files, and whole folders, by a model package here or, with --url, by a service.

    A film that cannot be used gives its reason in its place, and status 1 in the end.
    """
    from cxr_core.settings import load_settings

    if url and (model or rejected):
        raise click.UsageError("--url asks the model that is served there: leave out --model and --rejected.")
    if fresh and not out:
        raise click.UsageError("--fresh goes with --out.")
    now = load_settings()
    with _served(url, key_file, ca, timeout, now) if url else _local(model, rejected, now) as asked:
        failed = (
            _write(paths, asked, out, concurrency, fresh) if out else _show(paths, asked, concurrency, as_json=as_json)
        )
    if failed:
        raise click.exceptions.Exit(1)


@contextmanager
def _served(url: str, key_file: Path | None, ca: Path | None, timeout: float, now: Settings) -> Iterator[FilmModel]:
    from cxr_core.client.client import Client
    from cxr_core.client.models import ServedModel
    from cxr_core.client.retries import PATIENT
    from cxr_core.client.secret import find_key

    limits = now.service
    with Client(
        url, find_key(key_file), timeout, ca=ca, retries=PATIENT, max_files=limits.max_files
    ) as client:  # fmt: skip
        yield ServedModel(client, limits.max_bytes)


@contextmanager
def _local(folder: Path | None, rejected: bool, now: Settings) -> Iterator[FilmModel]:
    from cxr_core.client.models import LocalModel

    yield LocalModel(released_package(now, folder, rejected), now)


def released_package(now: Settings, folder: Path | None = None, rejected: bool = False) -> Path:
    """Folder of the package to predict with: the one named, the model in service, else the candidate.

    Raises:
        CxrError: there is none, or it did not pass the promotion gate and ``rejected`` is not set.
    """
    from cxr_core.release.champion import get_champion
    from cxr_core.release.package import load_manifest
    from cxr_core.store import ArtefactStore

    shelf = ArtefactStore(now.store)
    champion = None if rejected else get_champion(shelf)
    found = folder or shelf.local_tree(champion or shelf.get_ref("release_candidate"))
    if not load_manifest(found).decision.passed and not rejected:
        raise CxrError(f"The model in {found} did not pass the promotion gate: use --rejected to try it all the same.")
    return found


def _write(paths: tuple[Path, ...], model: FilmModel, out: Path, concurrency: int, fresh: bool) -> bool:
    from cxr_core.client.folder import journal_path, predict_folder

    try:
        found = predict_folder(paths, model, out, concurrency=concurrency, fresh=fresh)
    except KeyboardInterrupt:
        click.echo("Stopped. The same command goes on from here.", err=True)
        raise
    except CxrError as error:
        if not journal_path(out).exists():  # it had not begun
            raise
        raise CxrError(f"{error} What was answered is kept: the same command goes on from there.") from error
    counts = "  ".join(f"{name} {count}" for name, count in {**found.predictions, **found.errors}.items())
    left = f", {found.others} other files left out" if found.others else ""
    click.echo(f"{len(found.rows)} films in {out} ({counts}){left}; {found.asked} of them sent now")
    click.secho(NOTICE, dim=True)
    return bool(found.errors)


def _show(paths: tuple[Path, ...], model: FilmModel, concurrency: int, as_json: bool) -> bool:
    from cxr_core.client.asking import ask_about
    from cxr_core.client.films import find_films

    failed = False
    found = find_films(paths)
    for row in ask_about(found.films, model, model.identity().digest, concurrency=concurrency):
        failed |= _show_row(row, as_json)
    if not as_json:
        if found.others:
            click.echo(f"{found.others} other files left out", err=True)
        click.secho(NOTICE, dim=True)
    return failed


def _show_row(row: Row, as_json: bool) -> bool:
    """Show one row; whether it has no answer."""
    from cxr_core.client.answers import Answer
    from cxr_core.client.results import row_json

    outcome = row.outcome
    refused = not isinstance(outcome, Answer)
    if as_json:
        values = row_json(row)
        if not refused:
            values["label"] = values["prediction"]  # as the model package names it
        click.echo(json.dumps(values))
    elif isinstance(outcome, Answer):
        shown = "  ".join(f"{label} {p:.3f}" for label, p in outcome.probabilities.items())
        said = "" if (labels := outcome.prediction_set) is None else f"  set: {', '.join(labels) or 'empty'}"
        flags = f"  flags: {', '.join(outcome.flags)}" if outcome.flags else ""
        notes = "".join(f"  [{warning.code}]" for warning in outcome.warnings)
        click.echo(f"{row.file}: {outcome.prediction}  ({shown}){said}{flags}{notes}")
    else:
        click.echo(f"{row.file}: {outcome.detail}", err=True)
    return refused
