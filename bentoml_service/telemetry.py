"""Latency, errors and the drift window of the service, shared by all workers (report 7.4; TRAPS 17).

Counting only adds to memory; a thread writes to the shared file twice a second. A file that cannot be written costs
no request: the counts wait in bounded memory and are written as soon as that works again.
"""

from __future__ import annotations

import atexit
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bentoml_service.drift_window import report_drift
from bentoml_service.metrics_report import report_metrics
from bentoml_service.prometheus_text import TEXT, Format, expose
from bentoml_service.telemetry_counts import Observation, Tally
from bentoml_service.telemetry_store import Stored, TelemetryStore
from cxr_core.errors import CxrError
from cxr_core.settings_service import TelemetrySettings

if TYPE_CHECKING:
    from cxr_core.release.predictor import ModelIdentity

__all__ = ["OTHER", "Observation", "Telemetry"]

OTHER = "other"  # stands for every route that is not known: a path may name a patient (TRAPS 25)

_EVERY_SECONDS = 0.5  # half of the second that a killed worker may lose
_LAST_TRIES = 3  # to write what is left when the service ends

_logger = logging.getLogger("cxr.service")


class Telemetry:
    """The counts of one worker and, through the file, of all. Safe to use from several threads; never raises.

    Args:
        path: the SQLite file that the workers share; made when it is not there.
        settings: window and minutes.
        model: the model that answers; the drift window holds its predictions alone.
        routes: the known route templates; any other is counted as ``other``. None: all are taken as they come.

    Attributes:
        healthy: whether the last access to the file worked.
    """

    def __init__(
        self,
        path: Path,
        settings: TelemetrySettings,
        model: ModelIdentity | None = None,
        routes: Collection[str] | None = None,
    ) -> None:
        self.settings = settings
        self.model = model
        self.healthy = True
        self._routes = None if routes is None else frozenset(routes)
        self._pending = Tally(settings.window)
        self._lock = threading.Lock()  # of the pending counts: held for microseconds
        self._store = TelemetryStore(path, settings.window, settings.minutes, model.digest if model else "")
        self._store_lock = threading.RLock()  # of the file: held while it is read or written
        self._last = Stored(time.time(), Tally(settings.window))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    # ------------------------------------------------------------------ counting
    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request.

        Args:
            route: its template, never the path that a client sent.
            status: of the answer; 0 when the client left before it began.
            seconds: until its answer was sent.
        """
        if self._routes is not None and route not in self._routes:
            route = OTHER
        minute = int(time.time() // 60)
        with self._lock:
            self._pending.add_request(minute, route, status, seconds)

    def prediction(self, seen: Observation) -> None:
        """Count one prediction, and put it into the drift window."""
        if not all(map(math.isfinite, (seen.confidence, seen.mean, seen.std, seen.aspect))):
            with self._lock:
                self._pending.lost += 1  # SQLite has no NaN: one such row would stop every later flush
            return
        moment = int(time.time())
        with self._lock:
            self._pending.add_prediction(moment, seen)

    # ------------------------------------------------------------------ reports
    def metrics(self) -> dict[str, Any]:
        """What ``GET /metrics`` answers as JSON; see :func:`report_metrics`. Reads the file: not for the event loop."""
        return report_metrics(*self._all(), time.time(), self.settings.minutes)

    def prometheus(self, form: Format = TEXT) -> str:
        """The same for Prometheus; see :func:`expose`."""
        return expose(*self._all(), self.model, form)

    def drift_report(self, reference: Mapping[str, Any] | None) -> dict[str, Any]:
        """What ``GET /drift_report`` answers; see :func:`report_drift`.

        Raises:
            CxrError: the reference profile is not one.
        """
        stored, shared = self._all()
        return report_drift(list(stored.tally.observations), self.settings.window, reference, shared)

    # ------------------------------------------------------------------ writing
    def flush(self) -> bool:
        """Write what is pending; False when that did not work, and it is kept for the next time."""
        with self._store_lock:
            with self._lock:
                taken, self._pending = self._pending, Tally(self.settings.window)
            if not taken:
                return True
            try:
                self._store.write(taken)
            except (sqlite3.Error, OSError, CxrError) as error:
                self._say(error)
                with self._lock:
                    taken.add(self._pending)
                    self._pending = taken
                    self._pending.forget_before(int(time.time() // 60) - self.settings.minutes)
                return False
            self._say(None)
            return True

    def close(self) -> None:
        """Write what is left and close the file; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        atexit.unregister(self.close)
        self._thread.join()
        for _ in range(_LAST_TRIES):
            if self.flush():
                break
        else:
            _logger.error("telemetry: the last counts could not be written and are lost")
        with self._store_lock:
            self._store.close()

    def _run(self) -> None:
        self._all()  # makes the file, from which on is counted
        while not self._ended.wait(_EVERY_SECONDS):
            if self.healthy:
                self.flush()
            else:
                self._all()  # finds out whether the file works again, also when there is nothing to write

    def _all(self) -> tuple[Stored, bool]:
        """The counts of all workers, and whether the file could be read: else as last read, and this worker's own."""
        with self._store_lock:
            written = self.flush()
            try:
                self._last = self._store.read()
            except (sqlite3.Error, OSError, CxrError) as error:
                self._say(error)
                written = False
            else:
                if written:
                    self._say(None)
            seen = Tally(self.settings.window)
            seen.add(self._last.tally)
            with self._lock:
                seen.add(self._pending)
            return Stored(self._last.since, seen), written

    def _say(self, error: Exception | None) -> None:
        """Log the first failure and the recovery, not every try in between."""
        if error is not None and self.healthy:
            _logger.error("telemetry cannot use its file, and goes on in memory: %s", error)
        elif error is None and not self.healthy:
            _logger.warning("telemetry can use its file again")
        self.healthy = error is None
