"""Micro-batching: frames of concurrent requests share a forward pass, and what would wait too long is refused at once.

A film takes a place before it is decoded and keeps it until its answer is there, so decoding is shed too. One thread
runs the network; it takes whatever waits, up to a batch, and never waits for more: an idle service answers at once.
Where the machine turns slower than it was when a film came in, the film is refused as soon as it has waited too long,
before it is decoded or run.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from bentoml_service.problems import RequestError

__all__ = ["MicroBatcher", "Place"]

Frame = npt.NDArray[np.uint8]
_Row = TypeVar("_Row")  # what the network gives of one frame
_T = TypeVar("_T")

_KEEP = 0.9  # of the moving average after each film: the latest ten or so decide
_BATCH_SHARE = 1 / 8  # of the patience that one batch may take: on a CPU large batches gain nothing and add waiting


class Place:
    """One film among those that wait: a context manager that gives the place back when the film is done.

    Args:
        give_back: called once, when the film is done.
        patience: seconds that the film may wait, in all.

    Attributes:
        since: when it was taken, seconds of ``time.monotonic``.
    """

    def __init__(self, give_back: Callable[[], None], patience: float) -> None:
        self.since = time.monotonic()
        self._patience = patience
        self._waited = 0.0
        self._give_back = give_back
        self._holders = 1
        self._lock = threading.Lock()

    def hold(self, work: Future[Any]) -> None:
        """Keep the place until ``work`` has ended, even if the request is gone: a running thread cannot be stopped."""
        with self._lock:
            self._holders += 1
        work.add_done_callback(lambda _: self._leave())

    def wait_ended(self, began: float | None = None) -> None:
        """Count a wait, before decoding or in the queue, that began then (default: when the place was taken).

        Raises:
            RequestError: 503 ``overloaded`` where the film has waited longer than it may.
        """
        self._waited += time.monotonic() - (self.since if began is None else began)
        if self._waited > self._patience:
            raise _overloaded()

    def _leave(self) -> None:
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._give_back()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()


@dataclass(frozen=True)
class _Waiting(Generic[_Row]):
    frame: Frame
    place: Place
    since: float
    answer: asyncio.Future[_Row]


class MicroBatcher(Generic[_Row]):
    """The queue in front of one network.

    Args:
        run: (n, size, size) uint8 frames to n rows, one a frame; called in one thread only.
        max_batch: frames in one call.
        queue: films inside at once, in decoding, in the queue or in the network; more are refused.
        patience_ms: a film that would wait longer than this, or has waited longer, is refused.
        film_seconds: what one film takes, a first guess; None: nobody is refused for it before films were seen.
    """

    def __init__(
        self,
        run: Callable[[Frame], Iterable[_Row]],
        max_batch: int,
        queue: int,
        patience_ms: float,
        film_seconds: float | None = None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._queue = queue
        self._patience = patience_ms / 1000
        self._film_seconds = film_seconds
        self._run_seconds = film_seconds  # of the network alone
        self._waiting: deque[_Waiting[_Row]] = deque()
        self._inside = 0
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "cxr-inference")
        self._task: asyncio.Task[None] | None = None
        self._last_done = 0.0
        self._closed = False

    @property
    def inside(self) -> int:
        """Films that have a place."""
        return self._inside

    @property
    def expected_wait(self) -> float:
        """Seconds that a film which came now would wait: films inside, times what each has been taking of late."""
        return self._inside * (self._film_seconds or 0.0)

    def reserve(self, patient: bool = False) -> Place:
        """A place for one film, to be taken before it is decoded. A film that none is before is never refused.

        Args:
            patient: for the later films of one request, which may wait as long as it takes; the queue is bounded for
                them as well.

        Raises:
            RequestError: 503 ``overloaded``; 503 ``not_ready`` once the service ends.
        """
        if self._closed:
            raise RequestError(503, "not_ready", "The service is ending: try again in a few seconds.")
        with self._lock:
            late = not patient and self.expected_wait > self._patience
            if late or self._inside >= self._queue:
                raise _overloaded()
            first = self._inside == 0
            self._inside += 1
        return Place(self._give_back, math.inf if patient or first else self._patience)

    async def submit(self, frame: Frame, place: Place | None = None) -> _Row:
        """Run one frame, in whatever batch it falls.

        Args:
            frame: (size, size) uint8.
            place: the film's; taken here where it has none.

        Returns:
            Its row.

        Raises:
            RequestError: as :meth:`reserve`.
            Exception: what ``run`` raised for the batch.
        """
        if place is None:
            with self.reserve() as own:
                return await self.submit(frame, own)
        loop = asyncio.get_running_loop()
        waiting: _Waiting[_Row] = _Waiting(frame, place, time.monotonic(), loop.create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done() or self._task.get_loop().is_closed():
            self._task = loop.create_task(self._work())
        return await waiting.answer  # where the request is cancelled, so is this, and the frame is passed over

    async def alone(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run something else in the inference thread, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def close(self) -> None:
        """Refuse further films, answer those that wait, end the thread."""
        self._closed = True
        if self._task is not None and not self._task.get_loop().is_closed():
            await asyncio.wait([self._task])
        self._thread.shutdown()

    def _give_back(self) -> None:
        with self._lock:
            self._inside -= 1

    async def _work(self) -> None:
        while batch := self._take():
            began = time.monotonic()
            try:
                rows = await self.alone(self._run, np.stack([waiting.frame for waiting in batch]))
            except Exception as error:
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
            else:
                for waiting, row in zip(batch, rows, strict=True):
                    if not waiting.answer.done():
                        waiting.answer.set_result(row)
            self._learn(batch, began)

    def _take(self) -> list[_Waiting[_Row]]:
        most = self._max_batch
        if self._run_seconds:
            most = min(most, max(1, int(_BATCH_SHARE * self._patience / self._run_seconds)))
        batch: list[_Waiting[_Row]] = []
        while self._waiting and len(batch) < most:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue
            try:
                waiting.place.wait_ended(waiting.since)
            except RequestError as error:
                waiting.answer.set_exception(error)
            else:
                batch.append(waiting)
        return batch

    def _learn(self, batch: list[_Waiting[_Row]], began: float) -> None:
        """Seconds a film: time since the last batch was done, or since the first film of this one came, by its size.

        So it covers decoding, the network and whatever else holds films up, and stays right when one hides the other.
        """
        now = time.monotonic()
        took = now - max(self._last_done, min(waiting.place.since for waiting in batch))
        self._last_done = now
        keep = math.pow(_KEEP, len(batch))
        self._film_seconds = _averaged(self._film_seconds, took / len(batch), keep)
        self._run_seconds = _averaged(self._run_seconds, (now - began) / len(batch), keep)


def _averaged(before: float | None, now: float, keep: float) -> float:
    return now if before is None else keep * before + (1 - keep) * now


def _overloaded() -> RequestError:
    return RequestError(503, "overloaded", "More films are waiting than can be answered in time: try again.")
