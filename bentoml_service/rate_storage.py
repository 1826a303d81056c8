"""Counts of the rate limits in one SQLite file, so that all worker processes share them.

A storage of the ``limits`` package under the scheme ``sqlite``. Each count is one statement, so two processes never
both take the last place. Nothing is synced to the disk: a power cut loses counts, which is no loss, and a file that it
damaged is made anew.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from limits.storage.base import SlidingWindowCounterSupport, Storage, TimestampedSlidingWindow

from cxr_core.errors import explain_os_errors
from cxr_core.locking import locked

__all__ = ["SqliteStorage", "sqlite_uri"]

# How another process is waited for. SQLite's own waiting grows to 100 ms a step and loses to a busy neighbour; a
# statement takes 0.1 ms, so short steps win soon. At most a quarter second in all: the event loop waits with us.
_TRIES, _STEP = 500, 0.0005
_DOING = "counting requests"  # as an error says it
_OPENING_PATIENCE = 5.0  # seconds, once
_PURGE_EVERY = 1000  # writes; counts past their time are deleted together

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, count INTEGER NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counts_expires ON counts (expires);
"""
_INCREMENT = """
INSERT INTO counts VALUES (:name, :amount, :expires)
ON CONFLICT (name) DO UPDATE SET
    count = CASE WHEN expires <= :now THEN excluded.count ELSE count + excluded.count END,
    expires = CASE WHEN expires <= :now THEN excluded.expires ELSE expires END
RETURNING count
"""
# The previous window counts for the part of it that the sliding window still covers.
_ACQUIRE = """
INSERT INTO counts SELECT :current, :amount, :expires
WHERE coalesce((SELECT count FROM counts WHERE name = :previous), 0) * :weight
    + coalesce((SELECT count FROM counts WHERE name = :current), 0) < :limit - :amount + 1
ON CONFLICT (name) DO UPDATE SET count = count + excluded.count
RETURNING count
"""

_logger = logging.getLogger("cxr.service")


def sqlite_uri(path: Path | None) -> str:
    """Address of a file of counts for ``limits``; ``None``: in the memory of this process alone."""
    return f"sqlite://{quote(str(path))}" if path else "sqlite://"


class SqliteStorage(Storage, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """Fixed and sliding windows over ``sqlite:///ABSOLUTE/PATH``, or ``sqlite://`` for memory; threads may share it.

    Raises:
        CxrError: the file cannot be made.
    """

    STORAGE_SCHEME = ["sqlite"]  # noqa: RUF012  # limits reads a list

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions, **options)
        name = unquote(urlsplit(uri or "").path)
        self._lock = threading.Lock()
        self._writes = 0
        self._database = _open(Path(name)) if name else _connect(":memory:")

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What a broken file raises."""
        return sqlite3.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a fixed window that ends ``expiry`` seconds after its first count; returns the count."""
        now = time.time()
        row = self._write(_INCREMENT, {"name": key, "amount": amount, "expires": now + expiry, "now": now})
        assert row is not None
        return row

    def get(self, key: str) -> int:
        """Count of a fixed window."""
        return self._read(key)[0]

    def get_expiry(self, key: str) -> float:
        """When a fixed window ends, seconds of the epoch; now, where there is none."""
        return self._read(key)[1] or time.time()

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` if previous and current window, weighted, leave room for it; returns whether they did."""
        now = time.time()
        previous, current = self.sliding_window_keys(key, expiry, now)
        passed = now % expiry
        values: dict[str, str | float] = {
            "previous": previous,
            "current": current,
            "amount": amount,
            "limit": limit,
            "weight": 1 - passed / expiry,
            "expires": now - passed + 2 * expiry,
        }
        return self._write(_ACQUIRE, values) is not None

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Count of the previous window and seconds that it still matters, the same of the current window."""
        now = time.time()
        previous, current = self.sliding_window_keys(key, expiry, now)
        left = expiry - now % expiry
        return self._read(previous)[0], left, self._read(current)[0], left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a sliding window."""
        for name in self.sliding_window_keys(key, expiry, time.time()):
            self.clear(name)

    def clear(self, key: str) -> None:
        """Forget a fixed window."""
        self._write("DELETE FROM counts WHERE name = :name RETURNING count", {"name": key})

    def reset(self) -> int | None:
        """Forget everything; returns how many windows there were."""
        with self._lock:
            return len(self._run("DELETE FROM counts RETURNING count", {}))

    def check(self) -> bool:
        """Whether the file answers."""
        with self._lock:
            return self._database.execute("SELECT count(*) FROM counts").fetchone() is not None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _read(self, name: str) -> tuple[int, float]:
        with self._lock:
            found = self._database.execute(
                "SELECT count, expires FROM counts WHERE name = ? AND expires > ?", (name, time.time())
            ).fetchone()
        return found or (0, 0.0)

    def _write(self, statement: str, values: dict[str, str | float]) -> int | None:
        with self._lock:
            self._writes += 1
            if self._writes % _PURGE_EVERY == 0:
                self._run("DELETE FROM counts WHERE expires <= :now", {"now": time.time()})
            found = self._run(statement, values)
        return int(found[0][0]) if found else None

    def _run(self, statement: str, values: dict[str, str | float]) -> list[tuple[int]]:
        for left in reversed(range(_TRIES)):
            try:
                return self._database.execute(statement, values).fetchall()  # all: the statement ends, its lock goes
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not left:
                    raise
                time.sleep(_STEP)
        raise AssertionError("the last try returns or raises")


def _connect(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=_OPENING_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL").fetchone()
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(_SCHEMA)
        database.execute("SELECT count(*) FROM counts WHERE expires > 0").fetchone()
        database.execute("PRAGMA busy_timeout = 0")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _open(path: Path) -> sqlite3.Connection:
    """Open a file that only its owner may read; one at a time, so that nobody deletes what another has just mended."""
    with locked(path, _DOING), explain_os_errors(path, _DOING):
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            return _connect(str(path))
        except sqlite3.OperationalError:
            raise  # busy, no permission, no space: not damage
        except sqlite3.DatabaseError:
            _logger.warning("%s was damaged and is made anew: it held only counts.", path)
            for ending in ("", "-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            return _connect(str(path))
