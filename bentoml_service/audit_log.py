"""The audit trail of the service: one sealed, chained row for each request, kept before the answer leaves.

Several processes write one chain. In each, one thread commits all rows that wait in one transaction, so that thirty
requests at once cost one write to the disk. What cannot be written stops the request: :class:`AuditUnavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bentoml_service.audit_chain import Head
from bentoml_service.audit_end import AuditUnavailable
from bentoml_service.audit_store import AuditStore
from bentoml_service.secret_keys import Secrets
from cxr_core.errors import CxrError
from cxr_core.settings_service import AuditSettings

__all__ = ["AuditEvent", "AuditTrail", "AuditUnavailable", "payload"]

_MAX_PAYLOAD = 8192  # bytes: a row is a line about a request; ten files of a batch take about 2,000
_MAX_ROWS = 1000  # of one transaction: about 20 ms under the lock
_MAX_WAITING = 10_000  # rows in memory: a disk that stands still must not fill it
_LOOK_SECONDS = 1.0  # between two looks at a trail that nobody writes to, or that cannot be written

_logger = logging.getLogger("cxr.service")


@dataclass(frozen=True)
class AuditEvent:
    """What is kept of one request; None where it is not known.

    Attributes:
        request_id: the id that the answer carries.
        key_id: whose API key it was.
        role: of that key.
        method: HTTP method.
        route: template of the route (``/review/cases/{id}``), never the path that was sent.
        status: HTTP status of the answer.
        code: stable code of a problem.
        model: digest of the model that answered.
        patient: pseudonym of the patient id, :meth:`bentoml_service.secret_keys.Secrets.pseudonym`.
        detail: a few more JSON values, no patient information; 8 KB with all the others.
    """

    request_id: str
    key_id: str | None = None
    role: str | None = None
    method: str | None = None
    route: str | None = None
    status: int | None = None
    code: str | None = None
    model: str | None = None
    patient: str | None = None
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def payload(event: AuditEvent) -> bytes:
    """The JSON text that is sealed.

    Raises:
        CxrError: the detail is no JSON, or too long.
    """
    try:
        values = {**vars(event), "detail": dict(event.detail or {})}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError):
        raise CxrError("The detail of an audit event must hold JSON values only.") from None
    if len(text) > _MAX_PAYLOAD:
        raise CxrError(f"An audit event must be shorter than {_MAX_PAYLOAD} bytes: keep its detail small.")
    return text


@dataclass(frozen=True)
class _Waiting:
    payload: bytes
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[int]


class AuditTrail:
    """One process's hand on the audit trail.

    Args:
        path: the SQLite file, made where there is none; its folder too.
        secrets: keys that seal and sign.
        settings: how durable a row is before :meth:`record` returns.
    """

    def __init__(self, path: Path, secrets: Secrets, settings: AuditSettings) -> None:
        self.path = path
        self._secrets = secrets
        self._durable = settings.fsync == "always"
        self._store: AuditStore | None = None
        self._seen: Head | None = None
        self._healthy = False
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def healthy(self) -> bool:
        """Whether the last try to write succeeded, and nothing is known to stand against the next one."""
        return self._healthy and not self._closed

    def open(self) -> None:
        """Open the trail, check its end and start writing.

        A caller that catches the error may go on: the trail opens by itself once that is possible.

        Raises:
            AuditUnavailable: the file cannot be written, or its end is damaged.
        """
        if self._thread is not None:
            return
        failed: AuditUnavailable | None = None
        try:
            self._probe()
        except AuditUnavailable as error:
            failed = error
        self._healthy = failed is None
        self._thread = threading.Thread(target=self._write, name="audit-trail", daemon=True)
        self._thread.start()
        if failed is not None:
            raise failed

    async def record(self, event: AuditEvent) -> int:
        """Write one row.

        Returns:
            Its sequence number, once it is as durable as the setting says.

        Raises:
            AuditUnavailable: the row was not written.
            CxrError: the event is no JSON or too long.
        """
        text = payload(event)
        if self._thread is None or self._closed:
            raise AuditUnavailable("The audit trail is not open.")
        if self._waiting.qsize() >= _MAX_WAITING:
            raise AuditUnavailable(f"The audit trail {self.path} does not keep up: see its disk.")
        loop = asyncio.get_running_loop()
        item = _Waiting(text, loop, loop.create_future())
        self._waiting.put(item)
        return await item.future

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        if self._thread is None or self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    # -------------------------------------------------------- the writer thread
    def _write(self) -> None:
        more = True
        while more:
            batch, more = self._take()
            try:
                sequences = self._commit(batch) if batch else self._look()
                self._healthy = True
                self._answer(batch, sequences, None)
            except AuditUnavailable as error:
                self._fail(batch, error)
            except Exception as error:  # a fault of ours must not end the thread and leave requests waiting
                _logger.error("%s in the audit trail's writer", type(error).__name__, exc_info=True)
                self._fail(batch, AuditUnavailable("The audit trail failed; the log says where."))
        self._drop()

    def _take(self) -> tuple[list[_Waiting], bool]:
        """Rows that wait, none after a while without; and whether more may come."""
        batch: list[_Waiting] = []
        try:
            item = self._waiting.get(timeout=_LOOK_SECONDS)
            while item is not None:
                batch.append(item)
                if len(batch) == _MAX_ROWS:
                    return batch, True
                item = self._waiting.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _commit(self, batch: list[_Waiting]) -> range:
        store = self._opened()
        sequences = store.append([item.payload for item in batch])
        self._seen = store.seen
        return sequences

    def _look(self) -> range:
        if self._healthy:
            self._opened().require_same_file()
        elif not self._closed:
            self._probe()
            _logger.warning("The audit trail %s can be written again", self.path)
        return range(0)

    def _probe(self) -> None:
        store = self._opened()
        store.probe()
        self._seen = store.seen

    def _opened(self) -> AuditStore:
        if self._store is None:
            self._store = AuditStore(
                self.path, self._secrets.cipher, self._secrets.audit, durable=self._durable, seen=self._seen
            )
            self._seen = self._store.seen
        return self._store

    def _fail(self, batch: list[_Waiting], error: AuditUnavailable) -> None:
        if self._healthy:
            _logger.error("%s", error)
        self._healthy = False
        self._drop()
        self._answer(batch, range(0), error)

    def _drop(self) -> None:
        """Close the connection: the next try opens the file that then lies there."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @staticmethod
    def _answer(batch: list[_Waiting], sequences: range, error: AuditUnavailable | None) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int]]] = defaultdict(list)
        for position, item in enumerate(batch):
            loops[item.loop].append((item.future, sequences[position] if error is None else 0))
        for loop, results in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(_settle, results, error)


def _settle(results: list[tuple[asyncio.Future[int], int]], error: AuditUnavailable | None) -> None:
    for future, sequence in results:
        if future.done():  # the request was given up; its row is there all the same
            continue
        if error is None:
            future.set_result(sequence)
        else:
            future.set_exception(AuditUnavailable(str(error)))
