"""Telling whether a process of this machine is gone for good (Linux; elsewhere nobody is ever said to be gone)."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_gone", "process_mark"]

_PROC = Path("/proc")
_START_TIME = 19  # field 22 of /proc/PID/stat (proc(5)), counted from the state that follows the name


def process_mark() -> str:
    """This process as ``boot/pid namespace/pid/start``: no other process, past or to come, has the same.

    Returns:
        Text without host or user names; empty where the system does not tell.
    """
    pid = os.getpid()
    start = _start_time(pid)
    return f"{_machine()}/{pid}/{start}" if start else ""


def is_gone(mark: str) -> bool:
    """Whether the process with this mark has provably ended: it ran here since the last boot, and runs no more."""
    machine, _, rest = mark.rpartition("/")[0].rpartition("/")
    start = mark.rpartition("/")[2]
    return bool(machine) and machine == _machine() and rest.isdigit() and _start_time(int(rest)) != start


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').readlink().name}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Clock ticks from boot to the start of a process; empty when it is gone, or dead and not yet buried."""
    try:
        state, *rest = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else rest[_START_TIME - 1]
