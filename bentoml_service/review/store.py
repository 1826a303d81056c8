"""The review queue's SQLite file: rows of sealed bytes, shared by the worker processes (WAL).

Plain are only what queries need: random ids, times, states, digests. What a row says is sealed before it comes here.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.locking import locked

__all__ = ["ReviewStore"]

_VERSION = 1  # of the tables below
_BUSY_MS = 10_000  # how long a process waits for another's transaction, which takes milliseconds

# Decisions outlive their case: the label that a reader gave stays when the film has to go.
_TABLES = """
CREATE TABLE cases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL,
    state TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    model_digest TEXT NOT NULL,
    record BLOB NOT NULL,
    frame BLOB NOT NULL,
    film BLOB NOT NULL,
    UNIQUE (content_digest, model_digest)
);
CREATE INDEX cases_by_state ON cases (state, seq);
CREATE INDEX cases_by_time ON cases (created);
CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    case_id TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    model_digest TEXT NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX decisions_by_case ON decisions (case_id, seq);
CREATE TABLE tallies (reason TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""


class ReviewStore:
    """One connection to the file, for the threads of one process in turn.

    Raises:
        CxrError: from every method, in place of SQLite's errors: one sentence that names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with explain_os_errors(path, "opening the review queue"):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its side files the same rights
        with locked(path, "opening the review queue"):  # SQLite refuses whoever turns a new file to WAL beside another
            with self._explained():
                self._connection = sqlite3.connect(
                    path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
                )
                self._connection.row_factory = sqlite3.Row
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")  # a decision that was confirmed stays decided
                self._connection.execute("PRAGMA secure_delete = ON")  # what retention removes is overwritten
            with self.writing() as connection:
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                if found == 0:
                    for statement in _TABLES.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
                elif found != _VERSION:
                    raise CxrError(
                        f"{path} was written by another version of this service: serve it with that version."
                    )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection; each statement sees what is committed."""
        with self._lock, self._explained():
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection inside a transaction that no other process can write beside; undone by an exception."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._explained():
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise CxrError(
                f"The review queue {self.path} cannot be used ({name}): see that its disk has space and that the file "
                "is whole."
            ) from error
