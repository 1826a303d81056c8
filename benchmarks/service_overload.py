"""The service at twice what it can do: it answers in time or sheds, and ``/health`` answers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.harness import Benchmark
from benchmarks.service_model import SMALL, model_package, service_films
from benchmarks.service_processes import generate, prediction_service

__all__ = ["measure"]

_TIMES = 2.0  # the capacity
_LIMIT = 500.0  # ms, p95 of what is accepted
_HEALTH_LIMIT = 1000.0  # ms: what a load balancer's probe usually waits
_SHED = ("429", "503")


def measure(seconds: float = 30.0) -> list[Benchmark]:
    """Open-loop arrivals at twice the throughput that a closed loop of eight has just reached, with usual settings."""
    with TemporaryDirectory(prefix="cxr-bench-") as scratch:
        root = Path(scratch)
        for name in ("model", "ours"):
            (root / name).mkdir()
        package, kind = model_package(root / "model")
        films = service_films(SMALL)
        with prediction_service(package, root / "ours") as ours:
            capacity = generate(ours, films, seconds=seconds / 3, concurrency=8).rate
            found = generate(ours, films, seconds=seconds, warm=3.0, rate=_TIMES * capacity, probe="/health", seed=1)
            after = generate(ours, films, seconds=seconds / 6, concurrency=1)
    p95 = float(np.percentile(found.latencies, 95)) if found.latencies else float("inf")
    wrong = sum(count for status, count in found.statuses.items() if status not in ("200", *_SHED))
    late = found.probes_lost + sum(ms > _HEALTH_LIMIT for ms in found.probes)
    shed = sum(found.statuses.get(status, 0) for status in _SHED)
    note = (
        f"{kind}, grey JPEG of {SMALL} px; {_TIMES * capacity:.0f} arrivals/s for {seconds:.0f} s at a capacity of "
        f"{capacity:.1f}: {found.answered} answered ({found.rate:.1f}/s, p50 {_median(found.latencies):.0f} ms, p95 "
        f"{p95:.0f} ms), {shed} shed, {wrong} otherwise; /health {len(found.probes)} times, p50 "
        f"{_median(found.probes):.0f} ms, longest {max(found.probes, default=float('nan')):.0f} ms; afterwards p50 "
        f"{_median(after.latencies):.0f} ms"
    )
    return [
        Benchmark("service_overload", p95 / _LIMIT, 1.0, "lower", "p95 of the accepted over 500 ms", note),
        Benchmark("service_overload_lost", float(wrong + late), 0.0, "lower",
                  f"answers other than 200, 429, 503, and /health not within {_HEALTH_LIMIT:.0f} ms", note),
    ]  # fmt: skip


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else float("nan")
