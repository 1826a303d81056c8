"""Command ``keys``: create, list, rotate and revoke the API keys of the prediction service."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from bentoml_service.permissions import ROLES
from bentoml_service.security import create_key, key_file, read_keys, revoke_key, rotate_key
from cxr_core.commands import OneSentence

__all__ = ["app"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([0-9]{1,5})([mhd])")


class _Duration(click.ParamType):
    """``30m``, ``24h`` or ``90d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = _DURATION.fullmatch(value)
        if found is None:
            self.fail("a duration is a number of minutes, hours or days: 30m, 24h, 90d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


class _Moment(click.ParamType):
    """A date (the key works to its end, UTC), a date and time (UTC where it names no zone), or a duration from now."""

    name = "date or duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if found := _DURATION.fullmatch(value):
            return datetime.now(UTC).replace(microsecond=0) + timedelta(**{_UNITS[found[2]]: int(found[1])})
        try:
            moment = datetime.fromisoformat(value)
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
                moment += timedelta(days=1)
        except (ValueError, OverflowError):
            self.fail("give a date such as 2031-12-31, a time such as 2031-12-31T12:00+01:00, or 90d", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
@click.option("--role", type=click.Choice(ROLES), default="technician", show_default=True, help="What it may do.")
@click.option("--expires", type=_Moment(), help="Date (works through it, UTC) or duration (90d); default: never.")
@_file
def create(key_id: str, role: str, expires: datetime | None, file: Path | None) -> None:
    """Make a key and show it, this once: only its digest is stored."""
    click.echo(create_key(file or key_file(), key_id, role, expires))


@app.command("list")
@_file
def list_keys(file: Path | None) -> None:
    """Show id, role, creation, expiry and state of every key; never a key."""
    for entry in read_keys(file or key_file()):
        expires = entry.expires.isoformat() if entry.expires else "never"
        click.echo("\t".join((entry.id, entry.role, entry.created.isoformat(), expires, entry.state())))


@app.command()
@_id
@click.option("--overlap", type=_Duration(), default="24h", show_default=True, help="How long the old key still works.")
@click.option(
    "--expires", type=_Moment(), help="Of the new key; default: after as long a life as the old one was given."
)
@_file
def rotate(key_id: str, overlap: timedelta, expires: datetime | None, file: Path | None) -> None:
    """Make a new key of the same id and role and show it, this once; the old one ends after the overlap."""
    click.echo(rotate_key(file or key_file(), key_id, overlap, expires))


@app.command()
@_id
@_file
def revoke(key_id: str, file: Path | None) -> None:
    """Refuse every key of an id; running services do at once."""
    revoke_key(file or key_file(), key_id)


if __name__ == "__main__":
    app()
