"""Films a second through the service: against its own network alone, and against a plain service of the same model."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.harness import Benchmark
from benchmarks.service_model import LARGE, SMALL, bare_forward, model_package, service_films
from benchmarks.service_outcome import Outcome
from benchmarks.service_processes import Running, generate, plain_service, prediction_service, trivial_service

__all__ = ["measure"]

_CONCURRENCY = (1, 8, 32)
_ENGINE_GOAL, _PLAIN_GOAL = 0.85, 3.0
_WORKERS = 1  # processes of each service: on two cores one has the network on both
_SAME = 1e-3  # of a probability: what two decoders of one JPEG may differ by
# A closed loop of 32 waits for its answers by nature: what is shed in an overload is measured elsewhere.
_PATIENT = {"CXR_SERVICE__INFERENCE__PATIENCE_MS": "60000", "CXR_SERVICE__INFERENCE__QUEUE": "64"}


@dataclass
class _Rounds:
    """What was measured, round by round."""

    bare: list[float] = field(default_factory=list)
    ours: list[dict[int, Outcome]] = field(default_factory=list)
    plain: list[dict[int, Outcome]] = field(default_factory=list)


def measure(seconds: float = 5.0, rounds: int = 3, workers: int = _WORKERS) -> list[Benchmark]:
    """Both services and the bare network in turn, so that a drift of the machine's speed hits all three.

    Args:
        seconds: of each of the seven measurements of a round.
        rounds: how many.
        workers: processes of each service.
    """
    with TemporaryDirectory(prefix="cxr-bench-") as scratch, ExitStack() as stack:
        root = Path(scratch)
        folders = [root / name for name in ("model", "ours", "plain", "trivial")]
        for folder in folders:
            folder.mkdir()
        package, kind = model_package(folders[0])
        ours = stack.enter_context(prediction_service(package, folders[1], workers, _PATIENT))
        plain = stack.enter_context(plain_service(package, folders[2], workers))
        engine = str(ours.get("/model")["engine"])
        small = service_films(SMALL)
        _check_same(ours, plain, small[0])
        found = _Rounds()
        for _ in range(rounds):
            bare, batch = bare_forward(package, engine, small, seconds / 5)
            found.bare.append(bare)
            found.ours.append(_all(ours, small, seconds))
            found.plain.append(_all(plain, small, seconds))
        large = service_films(LARGE)
        beside = {name: generate(service, large, seconds=seconds, concurrency=8).rate
                  for name, service in (("ours", ours), ("plain", plain))}  # fmt: skip
        trivial = stack.enter_context(trivial_service(folders[3]))
        cost = generate(trivial, small, seconds=seconds / 2, concurrency=8)
    best = [max(outcome.rate for outcome in each.values()) for each in found.ours]
    theirs = [max(outcome.rate for outcome in each.values()) for each in found.plain]
    setting = (
        f"{kind}, {engine}, {workers} worker, grey JPEG of {SMALL} px (median {_kilobytes(small)} KB), {rounds} rounds"
    )
    cost_ms = _cost(found.ours[-1][_CONCURRENCY[-1]])
    engine_note = (
        f"{setting}; bare network {statistics.median(found.bare):.1f} films/s at batch {batch}; "
        f"{_table('service', found.ours)}; load generator {cost_ms:.2f} ms of processor a film, "
        f"alone {cost.rate:.0f} requests/s"
    )
    plain_note = (
        f"{setting}; {_table('service', found.ours)}; {_table('plain', found.plain)}; at {LARGE} px and concurrency 8 "
        f"{beside['ours']:.1f} against {beside['plain']:.1f} films/s"
    )
    return [
        Benchmark("service_throughput", _ratio(best, found.bare), _ENGINE_GOAL, "higher",
                  "films a second at saturation, service over bare network", engine_note),
        Benchmark("service_over_plain", _ratio(best, theirs), _PLAIN_GOAL, "higher",
                  "films a second at saturation, service over FastAPI with eager PyTorch", plain_note),
    ]  # fmt: skip


def _all(service: Running, films: list[bytes], seconds: float) -> dict[int, Outcome]:
    return {at: generate(service, films, seconds=seconds, concurrency=at) for at in _CONCURRENCY}


def _check_same(ours: Running, plain: Running, film: bytes) -> None:
    """Two services are compared only where they answer alike."""
    first, second = ours.predict(film), plain.predict(film)
    difference = max(abs(first[label] - second[label]) for label in first)
    if first.keys() != second.keys() or difference > _SAME:
        raise RuntimeError(f"the services disagree by {difference:.2g}: nothing is to be compared")


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def _table(name: str, rounds: list[dict[int, Outcome]]) -> str:
    rows = []
    for at in _CONCURRENCY:
        outcomes = [each[at] for each in rounds]
        rate = statistics.median(outcome.rate for outcome in outcomes)
        late = float(np.percentile([ms for outcome in outcomes for ms in outcome.latencies], 95))
        other = sum(count for outcome in outcomes for status, count in outcome.statuses.items() if status != "200")
        rows.append(f"{rate:.1f} (p95 {late:.0f} ms{f', {other} refused' if other else ''})")
    return f"{name} at concurrency {', '.join(map(str, _CONCURRENCY))}: {', '.join(rows)} films/s"


def _cost(outcome: Outcome) -> float:
    return outcome.processor * 1000 / max(1, sum(outcome.statuses.values()))


def _kilobytes(films: list[bytes]) -> int:
    return round(statistics.median(map(len, films)) / 1000)
