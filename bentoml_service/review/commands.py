"""Command ``review``: bring what readers decided back to the pipeline, and look after the queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bentoml_service.encryption import Cipher
from bentoml_service.review.queue import ReviewQueue
from bentoml_service.secret_keys import load_key_set
from cxr_core.commands import OneSentence
from cxr_core.errors import CxrError
from cxr_core.settings import load_settings

__all__ = ["app"]

_file = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The queue; default review.sqlite in the service's state folder.",
)


@click.group(name="review", cls=OneSentence)
def app() -> None:
    """The review queue of the prediction service. Needs its encryption key."""


@app.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the versions, for CXR_LABEL_CORRECTIONS.",
)
@click.option("--films", is_flag=True, help="Also the films that are still kept, UNENCRYPTED, as class folders.")
@_file
def export(out: Path, films: bool, file: Path | None) -> None:
    """Write the labels of all decisions as a version for the pipeline; nothing where the latest says the same."""
    from bentoml_service.review.export import export_films, export_labels  # brings pandas

    with _opened(file) as queue:
        table, corrections = export_labels(queue, out)
        click.echo(f"version {table.number}: {len(corrections)} labels in {table.path}")
        click.echo(f"sha256 {table.version}")
        if films:
            written = export_films(queue, out, table, corrections)
            click.echo(f"{written.films} films in {written.folder}, which is NOT encrypted")
            if written.gone:
                click.echo(f"{written.gone} labelled films are not kept any more")


@app.command()
@_file
def reseal(file: Path | None) -> None:
    """Encrypt everything with the present key, so that an older one can be removed. May run beside the service."""
    with _opened(file) as queue:
        click.echo(f"{queue.reseal()} rows are sealed with the present key")


@app.command()
@_file
def prune(file: Path | None) -> None:
    """Remove the cases whose time is over; the service does so by itself every hour."""
    with _opened(file) as queue:
        queue.prune()
        _show(queue)


@app.command()
@_file
def status(file: Path | None) -> None:
    """Show how many cases are open and decided, and how many went, or never came, and why."""
    with _opened(file) as queue:
        _show(queue)


def _show(queue: ReviewQueue) -> None:
    for name, number in queue.counts().items():
        click.echo(f"{name}\t{number}")


@contextmanager
def _opened(file: Path | None) -> Iterator[ReviewQueue]:
    settings = load_settings().service
    assert settings.state_dir is not None  # load_settings makes every path absolute
    path = file or settings.state_dir / "review.sqlite"
    if not path.is_file():
        raise CxrError(f"There is no review queue {path}: set CXR_SERVICE__STATE_DIR to the service's state folder.")
    queue = ReviewQueue(path, Cipher(load_key_set("encryption")), settings.review)
    try:
        yield queue
    finally:
        queue.close()


if __name__ == "__main__":
    app()
