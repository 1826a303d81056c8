"""What a load generator is told, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Load", "Outcome", "pack", "unpack"]


@dataclass(frozen=True)
class Load:
    """What is to be sent.

    Attributes:
        port: of 127.0.0.1.
        requests: file of length-prefixed request bytes, sent in turn; see :func:`pack`.
        seconds: of measurement.
        warm: seconds before it, uncounted.
        concurrency: of a closed loop: each connection sends when it was answered.
        rate: of an open loop, arrivals a second, whatever was answered; 0: closed loop.
        probe: path that is asked every ``probe_every`` seconds beside the load; empty: none.
        probe_every: seconds.
        seed: of the arrival times (Poisson).
    """

    port: int
    requests: str
    seconds: float
    warm: float = 1.0
    concurrency: int = 1
    rate: float = 0.0
    probe: str = ""
    probe_every: float = 0.2
    seed: int = 0


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        statuses: answers by status; ``lost`` counts requests without an answer.
        latencies: milliseconds of each answer of status 200, from arrival (open loop) or sending.
        probes: milliseconds of each probe that was answered with 200.
        probes_lost: probes with another answer, or none.
        elapsed: seconds measured.
        processor: seconds of processor time that the generator took.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    probes_lost: int = 0
    elapsed: float = 0.0
    processor: float = 0.0

    @property
    def answered(self) -> int:
        """Answers of status 200."""
        return self.statuses.get("200", 0)

    @property
    def rate(self) -> float:
        """Such answers a second."""
        return self.answered / self.elapsed


def pack(requests: list[bytes]) -> bytes:
    """Requests as one file: each with its length, eight bytes."""
    return b"".join(len(request).to_bytes(8, "big") + request for request in requests)


def unpack(data: bytes) -> list[bytes]:
    """The requests of such a file."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "big")
        found.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return found
