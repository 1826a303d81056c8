"""The audit trail's SQLite file: opened, checked at its end, and appended to by one process among several.

A transaction takes the write lock first, reads the signed head inside it, and replaces the head together with the new
rows: so several processes make one chain, and a crash leaves either all of that or nothing.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bentoml_service.audit_chain import START, Head, hash_row, mark_row, row_context, sign
from bentoml_service.audit_end import SCHEMA, AuditUnavailable, checked_head, read_schema
from bentoml_service.encryption import Cipher
from bentoml_service.key_sets import KeySet
from cxr_core.errors import CxrError
from cxr_core.locking import locked

__all__ = ["AuditStore"]

_BUSY_SECONDS = 5.0  # longer than any transaction of ours holds the lock; a request may wait as long
_PAUSE_SECONDS = 0.0005  # between two tries: SQLite's own waiting grows to 100 ms, thirty times a transaction


class AuditStore:
    """One connection to the file of a trail; for one thread at a time.

    Args:
        path: the SQLite file.
        cipher: seals the rows.
        keys: audit keys.
        durable: whether a commit waits until the disk has the rows.
        seen: head that this process knew before; the file must continue it, and is not made anew.

    Raises:
        AuditUnavailable: the file cannot be opened, or its end is damaged or is not what ``seen`` says.
    """

    def __init__(self, path: Path, cipher: Cipher | None, keys: KeySet, durable: bool, seen: Head | None) -> None:
        self.path = path
        self._cipher = cipher
        self._keys = keys
        with self._explained():
            if seen is None:
                _make_file(path)
            main = _identity(path)
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
        try:
            with self._explained(), _alone(path) if seen is None else nullcontext():
                self._prepare(durable, seen is None)
            with self._explained():
                self._connection.execute("BEGIN")  # one moment for all that is read
                self.seen = checked_head(path, self._connection, keys, seen)
                self._connection.execute("COMMIT")
                self._identity = (main, *_beside(path))
                self._connection.execute("PRAGMA busy_timeout = 0")  # _begin waits in its own way
        except BaseException:
            self.close()
            raise

    def _prepare(self, durable: bool, may_make: bool) -> None:
        run = self._connection.execute
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA secure_delete = ON")
        if run("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise AuditUnavailable(f"{self.path} needs a disk with file locks: set CXR_SERVICE__STATE_DIR to one.")
        run(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        if may_make and not read_schema(self._connection):
            with self._transaction():
                if not read_schema(self._connection):
                    for statement in SCHEMA.values():
                        run(statement)
                    self._write_head(Head(secrets.token_hex(16), 0, START.hex()))

    # ------------------------------------------------------------------ writing
    def append(self, payloads: Sequence[bytes]) -> range:
        """Seal, chain and commit events in one transaction.

        Returns:
            Their sequence numbers, in order.

        Raises:
            AuditUnavailable: nothing was written.
        """
        with self._explained():
            self.require_same_file()
            with self._transaction():
                head = self.extend(self._head(), payloads)
            self.seen = head
        return range(head.sequence + 1 - len(payloads), head.sequence + 1)

    def extend(self, head: Head, payloads: Sequence[bytes]) -> Head:
        """Add rows inside a transaction and return the new head, which is written too."""
        assert self._cipher is not None
        key, before, rows = self._keys.active, bytes.fromhex(head.hash), []
        now = time.time_ns() // 1000
        for sequence, payload in enumerate(payloads, head.sequence + 1):
            sealed = self._cipher.seal(payload, row_context(head.trail, sequence))
            before = hash_row(head.trail, before, sequence, now, sealed)
            rows.append(
                (sequence, now, sealed, before, key.id, mark_row(key, head.trail, sequence, now, sealed, before))
            )
        self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
        made = Head(head.trail, head.sequence + len(rows), before.hex())
        self._write_head(made)
        return made

    def probe(self) -> None:
        """Commit something, to find out whether that is possible.

        Raises:
            AuditUnavailable: it is not.
        """
        with self._explained():
            self.require_same_file()
            with self._transaction():
                self.seen = self._head()
                self._write_head(self.seen)

    @contextmanager
    def changing(self) -> Iterator[tuple[sqlite3.Connection, Head]]:
        """A transaction of another kind (an anchor, a pruning): the connection and the checked head.

        Raises:
            AuditUnavailable: the transaction failed and changed nothing.
        """
        with self._explained():
            self.require_same_file()
            with self._transaction():
                yield self._connection, self._head()

    def _head(self) -> Head:
        return checked_head(self.path, self._connection, self._keys, self.seen)

    def _write_head(self, head: Head) -> None:
        signed = sign(self._keys.active, head)
        self._connection.execute(
            "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)", (signed.text, signed.key_id, signed.mac)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._begin()
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _begin(self) -> None:
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_SECONDS)

    # ----------------------------------------------------------------- checking
    def require_same_file(self) -> None:
        """See that the path still leads to the file that is open, and to the log and the locks beside it.

        Raises:
            AuditUnavailable: one of them is gone, or another one lies there.
        """
        with self._explained():
            if (_identity(self.path), *_beside(self.path)) != self._identity:
                raise AuditUnavailable(
                    f"{self.path} or its -wal file was replaced: put the audit trail of this service back."
                )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise AuditUnavailable(_sentence(self.path, error)) from error
        except OSError as error:
            raise AuditUnavailable(f"The audit trail {self.path} cannot be reached: {error.strerror}.") from error

    def forget_removed(self) -> None:
        """Overwrite what deleted rows left in the write-ahead log; where somebody reads it, the next pruning does."""
        with self._explained():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _make_file(path: Path) -> None:
    """An empty file that this user alone may read, where there is none, and its name safe on the disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process makes the file: SQLite refuses whoever turns a new file to WAL beside another."""
    try:
        with locked(path, "opening the audit trail"):
            yield
    except AuditUnavailable:
        raise
    except CxrError as error:
        raise AuditUnavailable(str(error)) from error


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _beside(path: Path) -> list[tuple[int, int]]:
    """The write-ahead log and its index: they are there as long as a connection is; zeros for one that is gone."""
    files = [path.with_name(path.name + ending) for ending in ("-wal", "-shm")]
    return [_identity(file) if file.exists() else (0, 0) for file in files]


def _sentence(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return f"No space left for the audit trail {path}: free some space, and the service goes on by itself."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"Another program holds {path} for more than {_BUSY_SECONDS:.0f} seconds: end it."
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"{path} is damaged: move it away with its -wal file, keep it as evidence, and restart the service."
    return f"The audit trail {path} cannot be written ({getattr(error, 'sqlite_errorname', 'error')}): see its disk."
