"""Commands ``audit`` (verify, anchor, export, prune the audit trail) and ``secrets`` (make, rotate, list its keys)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click

from bentoml_service.audit_anchors import make_anchor, read_anchor
from bentoml_service.audit_prune import prune as prune_trail
from bentoml_service.audit_reading import exported
from bentoml_service.audit_store import AuditStore
from bentoml_service.audit_verify import verify_trail
from bentoml_service.encryption import Cipher
from bentoml_service.key_sets import PURPOSES, KeySet
from bentoml_service.secret_keys import create_secrets, load_key_set, load_secrets, rotate_secret, secrets_file
from cxr_core.commands import OneSentence
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.settings import load_settings

__all__ = ["audit", "secrets"]

_trail = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The trail; default audit.sqlite in the service's state folder.",
)
_keys = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Secrets file; default CXR_SECRETS, else data/service-secrets.json.",
)


class _Moment(click.ParamType):
    """A date or a date and time, UTC where it names no zone."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("give a date such as 2031-12-31, or a time such as 2031-12-31T12:00+01:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group(cls=OneSentence)
def audit() -> None:
    """The tamper-evident audit trail of the prediction service."""


@audit.command()
@_trail
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="An anchor that was kept elsewhere; finds an older copy of the trail. May be given several times.",
)
@click.pass_context
def verify(ctx: click.Context, file: Path | None, anchors: tuple[Path, ...]) -> None:
    """Read every row and say which were edited, deleted, inserted, moved or rewritten; status 1 if any."""
    keys = load_key_set("audit")
    report = verify_trail(_path(file), keys, {str(path): read_anchor(path, keys) for path in anchors})
    for finding in report.findings:
        click.echo(finding.text)
    for note in report.notes:
        click.echo(f"Not checked: {note}")
    end = report.head.sequence if report.head else "unknown"
    click.echo(f"{report.rows} rows read, {report.pruned} pruned with proof, signed end {end}, anchors {len(anchors)}.")
    if not anchors:
        click.echo("Without an anchor an older copy of the whole file is not found.", err=True)
    if report.findings:
        ctx.exit(1)


@audit.command()
@_trail
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where to write it.")
def anchor(file: Path | None, out: Path) -> None:
    """Export a small signed anchor; keep it where whoever can change the trail cannot."""
    from cxr_core.store import write_atomically

    keys = load_key_set("audit")
    with _opened(_path(file), None, keys) as store:
        write_atomically(out, make_anchor(store, keys))


@audit.command()
@_trail
@click.option("--since", type=_Moment(), help="From this date or time on (UTC where it names no zone).")
@click.option("--until", type=_Moment(), help="Before this date or time.")
@click.option("--patient", is_flag=True, help="Ask for a patient id, and export the rows of that patient alone.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; default: standard output.")
@click.pass_context
def export(
    ctx: click.Context,
    file: Path | None,
    since: datetime | None,
    until: datetime | None,
    patient: bool,
    out: Path | None,
) -> None:
    """Decrypt the rows as JSON Lines; status 1 if some do not open."""
    keys = load_secrets()
    # Asked for, so that it is in no history of commands and in no list of processes.
    wanted = keys.every_pseudonym(click.prompt("Patient id", hide_input=True, err=True)) if patient else None
    closed = 0
    with _written(out) as stream:
        for row in exported(_path(file), keys.audit, keys.cipher, since, until):
            closed += "error" in row
            if wanted is None or row.get("patient") in wanted:
                stream.write(json.dumps(row) + "\n")
    if closed:
        click.echo(f"{closed} rows do not open: see `cxr audit verify`.", err=True)
        ctx.exit(1)


@audit.command()
@_trail
def prune(file: Path | None) -> None:
    """Remove rows older than the retention setting; a signed proof and a row of the trail say what went."""
    keys = load_secrets()
    days = load_settings().service.audit.retention_days
    with _opened(_path(file), keys.cipher, keys.audit) as store:
        removed = prune_trail(store, keys.audit, days, datetime.now(UTC))
    click.echo(f"{removed} rows older than {days} days removed.")


@click.group(cls=OneSentence)
def secrets() -> None:
    """Keys of the service itself: encryption, audit trail, patient pseudonyms. No command shows a key."""


@secrets.command()
@_keys
def create(file: Path | None) -> None:
    """Make the file with a first key for each purpose."""
    path = file or secrets_file()
    create_secrets(path)
    click.echo(f"{path}: keep a copy elsewhere; without it nothing that the service keeps can be read.")


@secrets.command()
@click.argument("purpose", type=click.Choice(PURPOSES))
@_keys
def rotate(purpose: str, file: Path | None) -> None:
    """Make a new active key; the old ones stay, to open and verify what they made."""
    click.echo(rotate_secret(file or secrets_file(), purpose))


@secrets.command("list")
def list_secrets() -> None:
    """Show purpose, id, state and age of each key, never the key."""
    for purpose in PURPOSES:
        for position, key in enumerate(load_key_set(purpose).all):
            created = key.created.isoformat() if key.created else "-"
            click.echo(f"{purpose}\t{key.id}\t{'kept' if position else 'active'}\t{created}")


def _path(file: Path | None) -> Path:
    if file is not None:
        return file
    folder = load_settings().service.state_dir
    assert folder is not None  # load_settings makes every path absolute
    return folder / "audit.sqlite"


@contextlib.contextmanager
def _opened(path: Path, cipher: Cipher | None, keys: KeySet) -> Iterator[AuditStore]:
    if not path.is_file():
        raise CxrError(f"There is no audit trail in {path}: name its file with --file.")
    store = AuditStore(path, cipher, keys, durable=True, seen=None)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def _written(out: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that is there when it is whole, for this user alone: it is not encrypted."""
    if out is None:
        yield sys.stdout
        return
    with explain_os_errors(out, "writing the export"):
        descriptor, temporary = tempfile.mkstemp(dir=out.absolute().parent, prefix=".tmp-")
        try:
            with os.fdopen(descriptor, "w") as stream:
                yield stream
            Path(temporary).replace(out)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


if __name__ == "__main__":
    click.Group("service", commands=[audit, secrets])()
