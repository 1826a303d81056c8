"""Frames made while the network works: the next batch is prepared in a thread beside the forward pass."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames

__all__ = ["AheadFrames"]

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]


class AheadFrames:
    """Other frames, taken in order; while one batch is used, the batch that follows it is made in a thread.

    NumPy and OpenCV release the interpreter's lock while they compute, so that this costs the network little. At most
    one batch lies ahead. Rows that do not follow the last ones are taken at once. Used as a context manager, which
    waits for the thread at its end.

    Args:
        base: n frames, whose ``take`` may be called from another thread.
    """

    def __init__(self, base: Frames) -> None:
        self._base = base
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="frames-ahead")
        self._following: tuple[Rows, Future[Pixels]] | None = None

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""
        return self._base.side

    def __len__(self) -> int:
        return len(self._base)

    def take(self, rows: Rows) -> Pixels:
        """Frames of the given rows; those that follow are begun.

        Raises:
            Exception: whatever the base raises, in the call that asks for those rows.
        """
        ready, self._following = self._following, None
        known = ready is not None and np.array_equal(ready[0], rows)
        found = ready[1].result() if ready is not None and known else self._base.take(rows)
        if len(rows):
            start = int(rows[-1]) + 1
            following = np.arange(start, min(start + len(rows), len(self)))
            if len(following):
                self._following = (following, self._worker.submit(self._base.take, following))
        return found

    def __enter__(self) -> AheadFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)
