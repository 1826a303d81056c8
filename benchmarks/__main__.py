"""``python -m benchmarks [NAME ...]``: a line for each result, and ``benchmarks/latest.json``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.harness import Benchmark
from cxr_core.store import write_atomically

NAMES = ("input_pipeline", "one_pass", "memory", "trainer", "pruning", "bootstrap", "evaluation_cost", "gradcam",
         "robustness_sweep", "service_throughput", "service_overload", "service_start")  # fmt: skip

_LATEST = Path(__file__).parent / "latest.json"


def main(names: list[str]) -> None:
    """Measure the named benchmarks, all by default; each result takes its place in the file as soon as it is there."""
    for name in names or NAMES:
        found = import_module(f"benchmarks.{name}").measure()
        for result in found if isinstance(found, list) else [found]:
            sys.stdout.write(result.line() + "\n")
            sys.stdout.flush()
            _keep(result)


def _keep(result: Benchmark) -> None:
    kept = {one["name"]: one for one in json.loads(_LATEST.read_bytes())} if _LATEST.exists() else {}
    kept[result.name] = asdict(result)
    write_atomically(_LATEST, json.dumps(list(kept.values()), indent=1).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
