"""Reading an audit trail beside the running service: one moment of it, row by row, and decrypted for an export."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bentoml_service.audit_chain import Row, row_context
from bentoml_service.audit_end import read_head
from bentoml_service.encryption import CannotOpen, Cipher
from bentoml_service.key_sets import KeySet
from cxr_core.errors import CxrError

__all__ = ["exported", "iso", "opened_to_read", "rows"]

_COLUMNS = "sequence, time, sealed, hash, key_id, mark"


@contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as it is at one moment; nothing in it can be changed.

    Raises:
        CxrError: there is no such file, or it cannot be opened. Of a damaged one the first statement says so.
    """
    if not path.is_file():
        raise CxrError(f"There is no audit trail in {path}: name its file with --file.")
    connection = _connected(path)
    try:
        yield connection
    finally:
        connection.close()


def _connected(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    alone = not path.with_name(f"{path.name}-wal").exists()
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if not alone:
            raise CxrError(
                f"{path} cannot be read ({error.sqlite_errorname}): see its disk and permissions."
            ) from error
        # A copy on a disk that cannot be written: SQLite makes files beside it, unless it may take it as unchanging.
        connection = sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            connection.close()
            raise
    return connection


def rows(connection: sqlite3.Connection, after: int | None = None, limit: int = -1) -> Iterator[Row]:
    """Rows in order of their sequence numbers, all or those after one; ``limit`` of them at most."""
    where = "" if after is None else f"WHERE sequence > {int(after)}"
    for values in connection.execute(f"SELECT {_COLUMNS} FROM entries {where} ORDER BY sequence LIMIT {int(limit)}"):
        yield Row(*values)


def iso(microseconds: int) -> str:
    """ISO 8601 in UTC of microseconds since 1970."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds")


def exported(
    path: Path, keys: KeySet, cipher: Cipher, since: datetime | None, until: datetime | None
) -> Iterator[dict[str, Any]]:
    """The events of a trail, decrypted.

    Args:
        path: the trail's file.
        keys: audit keys, for the head, which names the trail.
        cipher: encryption keys.
        since: from this time on.
        until: before this time.

    Yields:
        ``sequence``, ``time`` and the event's members; for a row that does not open, ``error`` in their place.

    Raises:
        CxrError: there is no trail, or its head or the file is damaged.
    """
    start = _microseconds(since) if since else 0
    end = _microseconds(until) if until else 1 << 62
    with opened_to_read(path) as connection:
        try:
            head = read_head(connection, keys)
            if head is None:
                raise CxrError(
                    f"The head of {path} is damaged, or signed with a key that is not here: see `cxr audit verify`."
                )
            for row in rows(connection):
                if not isinstance(row.time, int) or start <= row.time < end:
                    yield {"sequence": row.sequence, **_opened(row, head.trail, cipher)}
        except sqlite3.Error as error:
            raise CxrError(f"{path} is damaged: see `cxr audit verify`.") from error


def _opened(row: Row, trail: str, cipher: Cipher) -> dict[str, Any]:
    try:
        return {"time": iso(row.time), **json.loads(cipher.open(row.sealed, row_context(trail, row.sequence)))}
    except CannotOpen as error:
        return {"error": str(error)}
    except (TypeError, ValueError, OverflowError):
        return {"error": "The row was altered: see `cxr audit verify`."}


def _microseconds(when: datetime) -> int:
    return round(when.timestamp() * 1e6)
