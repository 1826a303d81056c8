"""A file that a running service follows: read when it changes, and again after a failure that may pass by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from cxr_core.errors import CxrError

__all__ = ["Followed"]

_Content = TypeVar("_Content")
_logger = logging.getLogger("cxr.service")


class Followed(Generic[_Content]):
    """The content of a file as it is at each use. May be used from several threads.

    Args:
        path: the file.
        read: reads it; raises CxrError where that fails.
        content: what is in force until the first reading.
        failed: what is in force after a reading that failed, given what was in force before.
        remark: sentence that the log adds to the reason of a failed reading.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], _Content],
        content: _Content,
        failed: Callable[[_Content], _Content],
        remark: str = "",
    ) -> None:
        self._path = path
        self._read = read
        self._content = content
        self._failed = failed
        self._remark = remark
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None  # None: read at the next use, whatever the file's stamp

    def current(self) -> _Content:
        """What the file holds now, or what a failed reading leaves in force."""
        with self._lock:
            if (seen := self._stamp()) != self._seen:
                self._seen = seen
                try:
                    self._content = self._read(self._path)
                except CxrError as error:
                    self._content = self._failed(self._content)
                    if isinstance(error.__cause__, OSError):
                        self._seen = None  # may pass without a change of the file: look again at the next use
                    _logger.error("%s", f"{error} {self._remark}".strip())
            return self._content

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size
