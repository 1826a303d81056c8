"""The end of an audit trail: what is checked at each opening and each transaction, without reading the whole chain."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from bentoml_service.audit_chain import START, Cut, Head, Signed, verify
from bentoml_service.key_sets import KeySet
from cxr_core.errors import CxrError

__all__ = ["SCHEMA", "AuditUnavailable", "checked_head", "read_cuts", "read_head", "read_schema", "unsigned_trail"]

SCHEMA = {
    "entries": "CREATE TABLE entries (sequence INTEGER PRIMARY KEY, time INTEGER NOT NULL, sealed BLOB NOT NULL, "
    "hash BLOB NOT NULL, key_id TEXT NOT NULL, mark BLOB NOT NULL)",
    "head": "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL, key_id TEXT NOT NULL, "
    "mac TEXT NOT NULL)",
    "cuts": "CREATE TABLE cuts (last INTEGER PRIMARY KEY, text TEXT NOT NULL, key_id TEXT NOT NULL, mac TEXT NOT NULL)",
    "anchors": "CREATE TABLE anchors (sequence INTEGER PRIMARY KEY, text TEXT NOT NULL, key_id TEXT NOT NULL, "
    "mac TEXT NOT NULL)",
}


class AuditUnavailable(CxrError):
    """The audit trail cannot be written: no space, gone, replaced, locked or damaged."""


def read_schema(connection: sqlite3.Connection) -> dict[str, str]:
    """Name to definition of everything in the file; a trigger or a view that somebody added is among it."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return dict(found.fetchall())


def read_head(connection: sqlite3.Connection, keys: KeySet) -> Head | None:
    """The head, or None where it is missing or its signature does not hold."""
    found = connection.execute("SELECT text, key_id, mac FROM head").fetchall()
    return verify(keys, Head, Signed(*found[0])) if len(found) == 1 else None


def unsigned_trail(connection: sqlite3.Connection) -> str | None:
    """The name that a head gives whose signature does not hold; None where it gives none."""
    found = connection.execute("SELECT text FROM head").fetchone()
    name = re.search(r'"trail": "([0-9a-f]{32})"', found[0]) if found and isinstance(found[0], str) else None
    return name[1] if name else None


def read_cuts(connection: sqlite3.Connection, keys: KeySet) -> dict[int, Cut | None]:
    """Last row of each pruning to its proof, None where the signature does not hold; in order."""
    found = connection.execute("SELECT last, text, key_id, mac FROM cuts ORDER BY last").fetchall()
    return {last: verify(keys, Cut, Signed(*signed)) for last, *signed in found}


def checked_head(path: Path, connection: sqlite3.Connection, keys: KeySet, seen: Head | None) -> Head:
    """The head, if its signature, the last row and what this process saw before agree with it.

    Args:
        path: named in errors.
        connection: inside a transaction, so that all is read at one time.
        keys: audit keys.
        seen: an earlier head of the same trail, or None.

    Raises:
        AuditUnavailable: says which of them does not.
    """
    if read_schema(connection) != SCHEMA:
        raise AuditUnavailable(f"{path} has not the tables of an audit trail: see `cxr audit verify`.")
    head = read_head(connection, keys)
    if head is None:
        raise AuditUnavailable(
            f"The head of {path} is damaged, or signed with a key that is not here: see `cxr audit verify`."
        )
    last = connection.execute("SELECT max(sequence) FROM entries").fetchone()[0] or 0
    if last > head.sequence or not _holds(connection, keys, head):
        raise AuditUnavailable(f"The end of {path} is not what its head says: see `cxr audit verify`.")
    if seen is not None and (head.trail != seen.trail or not _holds(connection, keys, seen)):
        raise AuditUnavailable(
            f"{path} lacks rows that this service wrote: an older copy was put in its place; put the newer one back."
        )
    return head


def _holds(connection: sqlite3.Connection, keys: KeySet, head: Head) -> bool:
    """Whether the row of a head has its hash; where it was pruned, whether a proof covers it."""
    if head.sequence == 0:
        return head.hash == START.hex()
    found = connection.execute("SELECT hash FROM entries WHERE sequence = ?", (head.sequence,)).fetchone()
    if found:
        return isinstance(found[0], bytes) and found[0].hex() == head.hash
    cuts = [cut for cut in read_cuts(connection, keys).values() if cut and cut.first <= head.sequence <= cut.last]
    return any(cut.last > head.sequence or cut.hash == head.hash for cut in cuts)
