"""``python -m benchmarks [NAME ...]``: a line for each result, and ``benchmarks/latest.json``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.harness import Benchmark
from cxr_core.store import write_atomically

NAMES = ("input_pipeline", "one_pass", "memory", "trainer", "pruning", "service_throughput", "service_overload",
         "service_start")  # fmt: skip


def main(names: list[str]) -> None:
    """Measure the named benchmarks, all by default."""
    results: list[Benchmark] = []
    for name in names or NAMES:
        found = import_module(f"benchmarks.{name}").measure()
        for result in found if isinstance(found, list) else [found]:
            results.append(result)
            sys.stdout.write(result.line() + "\n")
            sys.stdout.flush()
    if not names:
        text = json.dumps([asdict(result) for result in results], indent=1)
        write_atomically(Path(__file__).parent / "latest.json", text.encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
