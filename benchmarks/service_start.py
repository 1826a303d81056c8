"""Seconds until the service is ready, and its memory, beside those of a plain service of the same model."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Benchmark
from benchmarks.service_model import SMALL, model_package, service_films
from benchmarks.service_processes import Running, generate, plain_service, prediction_service

__all__ = ["measure"]

_WORKERS = 2  # memory a worker is what one more costs, with what they share divided


def measure(rounds: int = 3, seconds: float = 3.0) -> list[Benchmark]:
    """Both services started in turn, one worker each, several times; memory of two workers after some load.

    Args:
        rounds: starts of each.
        seconds: of load before memory is looked at.
    """
    with TemporaryDirectory(prefix="cxr-bench-") as scratch:
        root = Path(scratch)
        (root / "model").mkdir()
        package, kind = model_package(root / "model")
        films = service_films(SMALL)
        services: tuple[Callable[[Path, int], AbstractContextManager[Running]], ...] = (
            lambda folder, workers: prediction_service(package, folder, workers),
            lambda folder, workers: plain_service(package, folder, workers),
        )
        starts: tuple[list[float], list[float]] = ([], [])
        memory = []
        for number in range(rounds + 1):
            for place, service in enumerate(services):
                folder = root / f"{place}-{number}"
                folder.mkdir()
                with service(folder, 1) as running:
                    if number:  # the first fills the caches of the file system
                        starts[place].append(running.ready)
        for place, service in enumerate(services):
            folder = root / f"{place}-memory"
            folder.mkdir()
            with service(folder, _WORKERS) as running:
                generate(running, films, seconds=seconds, concurrency=8)
                memory.append(running.memory())
    ours, theirs = (statistics.median(each) for each in starts)
    ratio = statistics.median(our / their for our, their in zip(*starts, strict=True))
    note = f"{kind}; ready after {ours:.1f} against {theirs:.1f} s, one worker each, {rounds} starts"
    memory_note = f"{kind}; {memory[0]:.0f} against {memory[1]:.0f} MiB a worker, {_WORKERS} workers each, after load"
    return [
        Benchmark("service_start", ratio, 1.0, "lower", "seconds to ready, service over plain service", note),
        Benchmark("service_memory", memory[0] / memory[1], 1.0, "lower",
                  "proportional set size a worker, service over plain service", memory_note),
    ]  # fmt: skip
