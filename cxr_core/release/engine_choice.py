"""Which engine is fastest on this machine: measured once for each model, and remembered.

The measurement runs in a process of its own: what the slower libraries hold is given back with it, and an engine that
crashes takes no service down.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr_core.digests import digest_json
from cxr_core.errors import CxrError
from cxr_core.locking import locked
from cxr_core.release.engines import ENGINES, OnnxRuntimeEngine, available_engines
from cxr_core.release.manifest import PackageManifest, read_manifest
from cxr_core.release.predictor import Predictor

__all__ = ["BATCHES", "choose_engine", "fastest", "key_of", "measure_engines", "remember_engine"]

BATCHES = (1, 8)  # films at once: a single request, and a busy service
_SECONDS = 1.0  # of each engine and batch
_FEWEST = 3  # runs of each engine and batch, however slow
_WORTH = 1.05  # times as fast as ONNX Runtime another engine must be: less than that is noise
_PATIENCE = 180.0  # seconds for the whole measurement
_DEFAULT = OnnxRuntimeEngine.name

_Rates = dict[str, dict[str, float]]  # engine: batch size: images a second
_logger = logging.getLogger("cxr.service")  # whose level the service sets, so that a slow first start says why


def choose_engine(folder: Path, precision: str, threads: int, memory: Path, seconds: float = _SECONDS) -> str:
    """The engine to run a package with.

    ``int8`` always runs in ONNX Runtime: its loss was measured in that arithmetic, and other engines round otherwise.

    Args:
        folder: the model package.
        precision: ``fp32`` or ``int8``.
        threads: of the engine inside one call.
        memory: JSON file in which choices are remembered; several processes may ask at once, one measures.
        seconds: to measure each engine and batch size.

    Returns:
        Name in :data:`~cxr_core.release.engines.ENGINES`.
    """
    engines = available_engines()
    if precision != "fp32" or engines == [_DEFAULT]:
        return _DEFAULT
    key = key_of(read_manifest(folder), precision, threads, engines)
    try:
        with locked(memory, "remembering the engine"):
            if (known := _remembered(memory).get(key)) is None:
                _measure_elsewhere(folder, precision, threads, memory, seconds)
                known = _remembered(memory).get(key)
    except CxrError as error:
        _logger.warning("%s The engine is %s until this works.", error, _DEFAULT)
        return _DEFAULT
    engine = known.get("engine") if isinstance(known, dict) else None
    return engine if engine in engines else _DEFAULT


def key_of(manifest: PackageManifest, precision: str, threads: int, engines: Sequence[str]) -> str:
    """Digest of what a measurement depends on: model, libraries, processor, threads."""
    versions = [ENGINES[name].version() for name in engines]
    return digest_json([manifest.digest, precision, threads, versions, processor()])


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of the processor."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def measure_engines(
    folder: Path, precision: str, threads: int, engines: Sequence[str], seconds: float = _SECONDS
) -> _Rates:
    """Images a second of each engine at each batch size, run in turns, so that a busy machine slows all alike.

    Args:
        folder: the model package.
        precision: ``fp32`` or ``int8``.
        threads: of the engine inside one call.
        engines: names; one that cannot run the model, or does not reproduce its logits, is left out with a warning.
        seconds: of each engine and batch size.
    """
    predictors: dict[str, Predictor] = {}
    for name in engines:
        try:
            predictors[name] = Predictor.load(folder, threads, engine=name, precision=precision)
        except CxrError as error:
            _logger.warning("%s", error)
    rates: _Rates = {name: {} for name in predictors}
    for batch in BATCHES:
        for name, times in _time_in_turns(predictors, batch, seconds).items():
            rates[name][str(batch)] = batch / float(np.median(times))
    return rates


def _time_in_turns(predictors: Mapping[str, Predictor], batch: int, seconds: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in predictors}
    ends = time.monotonic() + seconds * len(predictors)
    while time.monotonic() < ends or any(len(taken) < _FEWEST for taken in times.values()):
        for name, predictor in predictors.items():
            size = predictor.manifest.preprocessing.size
            frames = np.full((batch, size, size), 128, np.uint8)
            started = time.perf_counter()
            predictor.logits(frames)
            times[name].append(time.perf_counter() - started)
        if not predictors:
            break
    return times


def fastest(rates: Mapping[str, Mapping[str, float]]) -> str:
    """Engine with the largest geometric mean of its rates; ONNX Runtime unless another is clearly faster."""
    scores = {name: math.exp(float(np.mean(np.log(list(found.values()))))) for name, found in rates.items()}
    if not scores:
        return _DEFAULT
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= _WORTH * scores.get(_DEFAULT, 0.0) else _DEFAULT


def remember_engine(folder: Path, precision: str, threads: int, memory: Path, seconds: float = _SECONDS) -> None:
    """Measure, and write the choice down beside those of other models and machines.

    Raises:
        CxrError: the file cannot be written.
    """
    from cxr_core.store import write_atomically  # brings pandas, which a running service does not need

    engines = available_engines()
    rates = measure_engines(folder, precision, threads, engines, seconds)
    choice = {"engine": fastest(rates), "images_per_second": rates, "processor": processor(), "threads": threads,
              "versions": [ENGINES[name].version() for name in engines]}  # fmt: skip
    known = {**_remembered(memory), key_of(read_manifest(folder), precision, threads, engines): choice}
    write_atomically(memory, json.dumps(known, indent=1, sort_keys=True).encode())


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):  # none yet, or damaged: it is measured anew
        return {}
    return known if isinstance(known, dict) else {}


def _measure_elsewhere(folder: Path, precision: str, threads: int, memory: Path, seconds: float) -> None:
    _logger.info("Measuring which engine is fastest here: once for this model, about ten seconds.")
    root = str(Path(__file__).resolve().parents[2])  # inside a bento nothing is installed
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", __name__, str(folder), precision, str(threads), str(memory), str(seconds)]
    try:
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise CxrError(f"The engines could not be measured within {_PATIENCE:.0f} seconds.") from error
    if done.returncode:
        raise CxrError(f"The engines could not be measured (status {done.returncode}).")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    remember_engine(Path(arguments[0]), arguments[1], int(arguments[2]), Path(arguments[3]), float(arguments[4]))
