"""The file in which all workers add up their counts: SQLite in WAL mode, one short transaction a flush.

Writes survive a killed process; a power cut may take the last seconds (synchronous=NORMAL). The file may be deleted,
moved or damaged while the service runs: it is made anew, under a lock, so that workers agree on which file is current.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bentoml_service.telemetry_counts import Observation, Tally
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.locking import locked

__all__ = ["Stored", "TelemetryStore"]

_VERSION = 1  # of the tables
_BUSY_SECONDS = 2.0  # waiting for another worker's transaction, which takes milliseconds
_SIDECARS = ("-wal", "-shm", "-journal")
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (route TEXT, status INTEGER, bucket INTEGER, number INTEGER NOT NULL, seconds REAL NOT NULL,
                       PRIMARY KEY (route, status, bucket)) WITHOUT ROWID;
CREATE TABLE minutes (minute INTEGER, route TEXT, status INTEGER, bucket INTEGER, number INTEGER NOT NULL,
                      PRIMARY KEY (minute, route, status, bucket)) WITHOUT ROWID;
CREATE TABLE named (kind TEXT, name TEXT, number INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE observations (id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, model TEXT NOT NULL,
                           label TEXT NOT NULL, confidence REAL NOT NULL, mean REAL NOT NULL, std REAL NOT NULL,
                           aspect REAL NOT NULL, warnings TEXT NOT NULL);
CREATE INDEX observations_of_model ON observations (model, id);
"""
_ADD_REQUEST = """INSERT INTO requests VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
                  SET number = number + excluded.number, seconds = seconds + excluded.seconds"""
_ADD_MINUTE = "INSERT INTO minutes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number"
_ADD_NAMED = "INSERT INTO named VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number"
_ADD_OBSERVATION = """INSERT INTO observations (time, model, label, confidence, mean, std, aspect, warnings)
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_WINDOW = """SELECT time, label, confidence, mean, std, aspect, warnings FROM observations
             WHERE model = ? ORDER BY id DESC LIMIT ?"""


@dataclass(frozen=True)
class Stored:
    """What the file holds: ``tally``, counted ``since`` (seconds since 1970) the file was made."""

    since: float
    tally: Tally


class TelemetryStore:
    """Opened when it is first used; for one thread at a time.

    Args:
        path: the SQLite file.
        window: observations of one model that are kept at least.
        minutes: minutes that are kept.
        model: digest of the model whose observations are written and read.
    """

    def __init__(self, path: Path, window: int, minutes: int, model: str) -> None:
        self.path = path
        self.window = window
        self.minutes = minutes
        self.model = model
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None

    def write(self, tally: Tally) -> None:
        """Add a tally, all of it or nothing.

        Raises:
            sqlite3.Error, CxrError: it could not be written; nothing was added.
        """
        named = [("label", *item) for item in tally.labels.items()]
        named += [("warning", *item) for item in tally.warnings.items()]
        named += [("lost", "", tally.lost)] if tally.lost else []
        with self._transaction("BEGIN IMMEDIATE") as connection:
            connection.executemany(_ADD_REQUEST, [(*key, *value) for key, value in tally.requests.items()])
            connection.executemany(_ADD_MINUTE, [(*key, number) for key, number in tally.minutes.items()])
            connection.executemany(_ADD_NAMED, named)
            connection.executemany(_ADD_OBSERVATION, [self._row(*item) for item in tally.observations])
            connection.execute("DELETE FROM minutes WHERE minute < ?", (int(time.time() // 60) - self.minutes,))
            # Twice the window, so that the model before this one still has some after a change of models.
            connection.execute(
                "DELETE FROM observations WHERE id <= (SELECT MAX(id) FROM observations) - ?", (2 * self.window,)
            )

    def read(self) -> Stored:
        """All counts, and the latest observations of the model.

        Raises:
            sqlite3.Error, CxrError: the file cannot be read.
        """
        found = Tally(self.window)
        with self._transaction("BEGIN") as connection:
            since = connection.execute("SELECT value FROM meta WHERE name = 'since'").fetchone()[0]
            for route, status, bucket, number, seconds in connection.execute("SELECT * FROM requests"):
                found.requests[(route, status, bucket)] = (number, seconds)
            for minute, route, status, bucket, number in connection.execute("SELECT * FROM minutes"):
                found.minutes[(minute, route, status, bucket)] = number
            for kind, name, number in connection.execute("SELECT * FROM named"):
                if kind == "lost":
                    found.lost = number
                else:
                    (found.labels if kind == "label" else found.warnings)[name] = number
            rows = connection.execute(_WINDOW, (self.model, self.window)).fetchall()
        for moment, label, confidence, mean, std, aspect, warnings in reversed(rows):
            seen = Observation(label, confidence, mean, std, aspect, tuple(json.loads(warnings)))
            found.observations.append((moment, seen))
        return Stored(since, found)

    def close(self) -> None:
        """Close the file; it is opened again when it is used again."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # what was committed is safe, nothing else is open
                self._connection.close()
        self._connection = self._seen = None

    def _row(self, moment: int, seen: Observation) -> tuple[object, ...]:
        values = (seen.label, seen.confidence, seen.mean, seen.std, seen.aspect)
        return (moment, self.model, *values, json.dumps(seen.warnings))

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._current()
        try:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # it may have been rolled back already
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if _is_damage(error):
                self._set_aside()
            self.close()  # an I/O error stays with its connection: the next use opens another
            raise

    def _current(self) -> sqlite3.Connection:
        """The connection, made anew when the file at ``path`` is no longer the one that it writes to."""
        if self._connection is None or self._stamp() != self._seen:
            self.close()
            try:
                with locked(self.path, "making the telemetry file"):
                    self._open()
            except sqlite3.Error as error:
                if _is_damage(error):
                    self._set_aside()
                self.close()
                raise
        assert self._connection is not None
        return self._connection

    def _open(self) -> None:
        with explain_os_errors(self.path, "making the telemetry file"):
            if not self.path.exists():
                for sidecar in self._sidecars():  # of a file that is gone: they would be taken for the new one's
                    sidecar.unlink(missing_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self._seen = self._stamp()
        self._connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            script = f"BEGIN IMMEDIATE; {_TABLES} INSERT INTO meta VALUES ('since', {time.time():.3f});"
            self._connection.executescript(f"{script} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            self.close()
            raise CxrError(f"{self.path} was made by another version of the service: move it away.")

    def _set_aside(self) -> None:
        """Put a damaged file out of the way, unless another worker has done so; the next use makes a new one."""
        damaged = self._seen
        self.close()
        with (
            locked(self.path, "making the telemetry file"),
            explain_os_errors(self.path, "putting the damaged telemetry file aside"),
        ):
            if damaged is not None and self._stamp() == damaged:
                self.path.replace(self.path.with_name(f"{self.path.name}.damaged"))
                for sidecar in self._sidecars():
                    sidecar.unlink(missing_ok=True)

    def _sidecars(self) -> list[Path]:
        return [self.path.with_name(self.path.name + ending) for ending in _SIDECARS]

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
