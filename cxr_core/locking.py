"""One process at a time at a file of ours."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_core.errors import explain_os_errors

__all__ = ["locked"]


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Wait until no other process holds the lock of ``path``, and hold it.

    The lock is a file beside it, ``.NAME.lock``, which stays behind, empty; a process that dies gives it back.

    Args:
        path: what is to be changed; its folder is made, for its owner alone, where there is none.
        doing: what for, as an error says it: "writing the API keys".

    Raises:
        CxrError: the lock file cannot be made.
    """
    with explain_os_errors(path, doing):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
