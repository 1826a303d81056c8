"""What runs an exported network: ONNX Runtime or OpenVINO on a CPU, ONNX Runtime's CUDA provider on a GPU.

Every engine computes in float32: OpenVINO would take bfloat16 where the processor has it (logits off by .01), and CUDA
would take TF32.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.release.prediction import Outputs

__all__ = [
    "EMBEDDING",
    "ENGINES",
    "INPUT",
    "OUTPUT",
    "Engine",
    "available_engines",
    "cpu_session",
    "open_engine",
    "usable_cores",
]

INPUT = "input"
OUTPUT = "logits"
EMBEDDING = "embedding"  # second output, where the package's part ``embedding`` is joined to the network
Floats = npt.NDArray[np.float32]

_ENDS = (OUTPUT, EMBEDDING)  # outputs that a network may have, in their order; the second is optional

_CGROUP = Path("/sys/fs/cgroup/cpu.max")  # Linux, cgroup version 2: "quota period" in microseconds


class Engine(ABC):
    """A network that is ready to run. ``run`` may be called from several threads at once.

    Attributes:
        name: key in :data:`ENGINES`.
        package: the library, for its version.
        at_once: frames in one call; more are run in turns. On a CPU 16 are no faster than 8 and take 100 MB more.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    at_once: ClassVar[int] = 8

    @abstractmethod
    def __init__(self, network: bytes, threads: int | None) -> None:
        """Load a network.

        Args:
            network: content of an ONNX file with one input ``input`` and the output ``logits``, maybe ``embedding``.
            threads: inside one call; None leaves it to the library.
        """

    @abstractmethod
    def run(self, tensor: Floats) -> Outputs:
        """Logits, and the embeddings where the network gives them, of input (n, 3, side, side) float32, n >= 1."""

    @classmethod
    @abstractmethod
    def here(cls) -> bool:
        """Whether this machine has what it takes; imports nothing."""

    @classmethod
    def version(cls) -> str:
        """Name and version of the library."""
        return f"{cls.package} {importlib.metadata.version(cls.package)}"


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU."""

    name = "onnxruntime"
    package = "onnxruntime"

    def __init__(self, network: bytes, threads: int | None) -> None:
        self._session = _session(network, threads, None, ["CPUExecutionProvider"])

    def run(self, tensor: Floats) -> Outputs:
        """See :class:`Engine`."""
        return Outputs(*self._session.run(None, {INPUT: tensor}))

    @classmethod
    def here(cls) -> bool:
        """It is a requirement of the project."""
        return True


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU; optional."""

    name = "openvino"
    package = "openvino"

    def __init__(self, network: bytes, threads: int | None) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        model = core.read_model(BytesIO(network))
        known = [next((name for name in _ENDS if name in o.names), o.any_name) for o in model.outputs]
        _check_ends([i.any_name for i in model.inputs], known, None)
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(model, "CPU", options)
        self._request = compiled.create_infer_request()
        self._outputs = [compiled.output(name) for name in known]
        self._lock = threading.Lock()  # a request computes one batch at a time

    def run(self, tensor: Floats) -> Outputs:
        """See :class:`Engine`."""
        with self._lock:
            found = self._request.infer({INPUT: tensor})
            return Outputs(*(np.array(found[output]) for output in self._outputs))

    @classmethod
    def here(cls) -> bool:
        """Whether the package is installed."""
        return find_spec("openvino") is not None


class CudaEngine(Engine):
    """ONNX Runtime on the first CUDA device; needs the package onnxruntime-gpu in place of onnxruntime."""

    name = "cuda"
    package = "onnxruntime-gpu"
    at_once = 64

    def __init__(self, network: bytes, threads: int | None) -> None:
        provider = ("CUDAExecutionProvider", {"use_tf32": "0"})
        self._session = _session(network, threads, None, [provider, "CPUExecutionProvider"])
        if self._session.get_providers()[0] != "CUDAExecutionProvider":  # it falls back to the CPU without a word
            raise CxrError("ONNX Runtime cannot use the CUDA device: see that CUDA and cuDNN are installed.")

    def run(self, tensor: Floats) -> Outputs:
        """See :class:`Engine`."""
        return Outputs(*self._session.run(None, {INPUT: tensor}))

    @classmethod
    def here(cls) -> bool:
        """Whether ONNX Runtime was built with the provider, and there is a device."""
        try:
            importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            return False
        return Path("/dev/nvidia0").exists()


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (OnnxRuntimeEngine, OpenVinoEngine, CudaEngine)}


def available_engines() -> list[str]:
    """Engines that this machine has, in the order of :data:`ENGINES`."""
    return [name for name, engine in ENGINES.items() if engine.here()]


def open_engine(name: str, network: bytes, threads: int | None = None) -> Engine:
    """Load a network into an engine.

    Args:
        name: key in :data:`ENGINES`.
        network: content of the ONNX file.
        threads: inside one call; None leaves it to the library.

    Raises:
        CxrError: no such engine here, or it cannot load the network.
    """
    if name not in ENGINES:
        raise CxrError(f"There is no engine {name!r}: set service.inference.engine to auto or {', '.join(ENGINES)}.")
    if not ENGINES[name].here():
        raise CxrError(
            f"The engine {name} is not on this machine: install {ENGINES[name].package}, or set "
            "service.inference.engine to auto."
        )
    try:
        return ENGINES[name](network, threads)
    except CxrError:
        raise
    except Exception as error:  # the libraries' exception classes share no base of their own
        raise CxrError(f"The network cannot be loaded by {name}: package the model again.") from error


def cpu_session(network: bytes, threads: int | None, outputs: Sequence[str]) -> Any:
    """An ONNX Runtime session on the CPU, with exactly these outputs.

    Raises:
        CxrError: another number or name of inputs or outputs.
    """
    return _session(network, threads, outputs, ["CPUExecutionProvider"])


def _session(network: bytes, threads: int | None, outputs: Sequence[str] | None, providers: Sequence[Any]) -> Any:
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # it has some on Windows only
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # Threads that wait by spinning take the cores from decoding: 20 ms of processor a film, 10.5 without (two cores).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(network, options, list(providers))
    _check_ends([i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()], outputs)
    return session


def _check_ends(inputs: list[str], outputs: list[str], expected: Sequence[str] | None) -> None:
    """Refuse a network with other ends; without ``expected``: than those that an engine serves."""
    allowed = [list(_ENDS[:1]), list(_ENDS)] if expected is None else [list(expected)]
    if inputs != [INPUT] or outputs not in allowed:
        wanted = " and ".join(f"{name!r}" for name in allowed[0])
        raise CxrError(f"The network must have one input {INPUT!r} and the output {wanted}: export the model again.")


def import_openvino() -> Any:
    """Import OpenVINO without its usage statistics.

    ``import openvino`` alone sends an event to Google Analytics and writes an identifier into the home folder (seen in
    openvino 2026.4: ``openvino/tools/ovc/__init__.py``), unless its package openvino_telemetry is not there.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # its import now fails
    return importlib.import_module("openvino")


def usable_cores(read: Callable[[], str] = lambda: _CGROUP.read_text()) -> int:
    """Processors that this process may use: its affinity, and a container's quota rounded up; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = read().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return max(1, cores)
    return max(1, cores)
