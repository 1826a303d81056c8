"""Command ``keys``: create, list and revoke the API keys of the prediction service."""

from __future__ import annotations

from pathlib import Path

import click

from bentoml_service.security import create_key, key_file, read_keys, revoke_key
from cxr_core.commands import OneSentence

__all__ = ["app"]

_id = click.option("--id", "key_id", required=True, help="Who holds the key: a ward or a program, no patient's name.")
_file = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Key file; default CXR_API_KEYS, else data/api-keys.json.",
)


@click.group(name="keys", cls=OneSentence)
def app() -> None:
    """API keys of the prediction service."""


@app.command()
@_id
@_file
def create(key_id: str, file: Path | None) -> None:
    """Make a key and show it, this once: only its digest is stored."""
    click.echo(create_key(file or key_file(), key_id))


@app.command("list")
@_file
def list_keys(file: Path | None) -> None:
    """Show who holds a key, and since when."""
    for entry in read_keys(file or key_file()):
        click.echo(f"{entry.id}\t{entry.created.isoformat()}")


@app.command()
@_id
@_file
def revoke(key_id: str, file: Path | None) -> None:
    """Remove a key; running services refuse it at once."""
    revoke_key(file or key_file(), key_id)


if __name__ == "__main__":
    app()
