"""A load generator that costs little: ``python -m benchmarks.service_load FILE`` in a process of its own.

Keep-alive connections over raw asyncio, requests written as bytes that lie ready, answers read no further than status
and length: a client library would take more processor time than the service's own HTTP.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.service_outcome import Load, Outcome, unpack

_PAUSE = 0.05  # seconds after a refusal in a closed loop: a client that honours Retry-After would wait longer
_DRAIN = 10.0  # seconds after the last arrival in which an answer still counts


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at most."""

    def __init__(self) -> None:
        self.transport: Any = None  # uvloop's is no asyncio.Transport by name
        self._buffer = b""
        self._needed = -1  # bytes of the whole answer, once its head is there
        self._status = 0
        self._last = False  # the service closes after this answer
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Send; the future holds the status, 0 where the connection ended first."""
        self._answer = asyncio.get_running_loop().create_future()
        self._buffer, self._needed = b"", -1
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer."""
        self._buffer += data
        if self._needed < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            self._status = int(head[9:12])
            at = head.find(b"\r\ncontent-length:")
            if at < 0:
                raise ValueError("an answer without content-length")
            self._needed = end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])
            self._last = b"\r\nconnection: close" in head
        if len(self._buffer) >= self._needed:
            if self._last:
                self.transport.close()
            self._done(self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits gets no answer."""
        self._done(0)

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def _done(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class _Run:
    """One run of a load."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = unpack(Path(load.requests).read_bytes())
        self.outcome = Outcome()
        self.statuses: Counter[str] = Counter()
        self.sent = 0
        self.start = 0.0
        self.idle: list[_Connection] = []

    async def run(self) -> Outcome:
        """Warm up, measure."""
        loop = asyncio.get_running_loop()
        self.start = loop.time() + self.load.warm
        end = self.start + self.load.seconds
        watching = asyncio.create_task(self._watch()) if self.load.probe else None
        timing = asyncio.create_task(self._time())
        if self.load.rate:
            await self._open(end)
        else:
            await asyncio.gather(*(self._closed(end) for _ in range(self.load.concurrency)))
        timing.cancel()
        if watching:
            watching.cancel()
        self.outcome.processor = time.process_time() - self.outcome.processor
        self.outcome.elapsed = self.load.seconds
        self.outcome.statuses = dict(self.statuses)
        return self.outcome

    async def _time(self) -> None:
        await asyncio.sleep(self.load.warm)
        self.outcome.processor = time.process_time()

    def _next(self) -> bytes:
        self.sent += 1
        return self.requests[self.sent % len(self.requests)]

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self.load.port)
        return connection

    def _count(self, status: int, began: float, ended: float, counts: bool) -> None:
        if counts:
            self.statuses[str(status) if status else "lost"] += 1
            if status == 200:
                self.outcome.latencies.append((ended - began) * 1000)

    async def _closed(self, end: float) -> None:
        """Ask, wait, ask. What was answered inside the measurement counts."""
        loop = asyncio.get_running_loop()
        connection = await self._connect()
        while (began := loop.time()) < end:
            status = await connection.ask(self._next())
            ended = loop.time()
            self._count(status, began, ended, counts=self.start <= ended < end)
            if status != 200:
                await asyncio.sleep(_PAUSE)
            if not connection.usable:
                connection = await self._connect()
        if connection.transport:
            connection.transport.close()

    async def _open(self, end: float) -> None:
        """Arrivals at random times, whatever has been answered. What arrived inside the measurement counts."""
        loop = asyncio.get_running_loop()
        draw = random.Random(self.load.seed)
        arrival = loop.time()
        tasks = []
        while (arrival := arrival + draw.expovariate(self.load.rate)) < end:
            if (early := arrival - loop.time()) > 0:
                await asyncio.sleep(early)
            tasks.append(asyncio.create_task(self._arrive(arrival)))
        _, late = await asyncio.wait(tasks, timeout=_DRAIN)
        for task in late:
            task.cancel()
        self.statuses["lost"] += len(late)

    async def _arrive(self, arrival: float) -> None:
        connection = self.idle.pop() if self.idle else None
        counts = arrival >= self.start
        try:
            connection = connection if connection and connection.usable else await self._connect()
        except OSError:  # no place in the queue of the listening socket
            self._count(0, arrival, arrival, counts)
            return
        status = await connection.ask(self._next())
        self._count(status, arrival, asyncio.get_running_loop().time(), counts)
        if connection.usable:
            self.idle.append(connection)

    async def _watch(self) -> None:
        """Ask the probe at its times, each on a connection of its own, as a load balancer does."""
        head = f"GET {self.load.probe} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            status = 0
            try:
                async with asyncio.timeout(_DRAIN):
                    status = await (await self._connect()).ask(head)
            except (OSError, TimeoutError):
                status = 0
            took = loop.time() - began
            if began >= self.start:
                if status == 200:
                    self.outcome.probes.append(took * 1000)
                else:
                    self.outcome.probes_lost += 1
            await asyncio.sleep(max(0.0, self.load.probe_every - took))


def _main(file: str) -> None:
    import uvloop

    values: dict[str, Any] = json.loads(Path(file).read_text())
    outcome = uvloop.run(_Run(Load(**values)).run())
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1])
