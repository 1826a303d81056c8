"""Progress of long work: a bar with rate and ETA in a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

__all__ = ["Advance", "Log", "progress", "show_bars_on", "terminal_name"]

Advance = Callable[[int], None]
Log = Callable[[str], None]

_LOG_EVERY_SECONDS = 5.0  # often enough to see life, seldom enough to keep the event log small

_logger = logging.getLogger("cxr")
_terminal: TextIO | None = None


def show_bars_on(stream: TextIO | None) -> None:
    """Show bars on this stream from now on, whatever becomes of standard error (Dagster captures it in its steps)."""
    global _terminal
    _terminal = stream


def terminal_name() -> str:
    """Path of the terminal that gets the bars, for a process of one's own that is to draw there too; empty: none."""
    stream = _terminal or sys.stderr
    try:
        return os.ttyname(stream.fileno()) if stream.isatty() else ""
    except (OSError, ValueError):  # no file behind it, or closed
        return ""


@contextmanager
def progress(total: int, what: str, unit: str = "images", log: Log | None = None) -> Iterator[Advance]:
    """Show how far a loop has come.

    Args:
        total: number of units planned, >= 0.
        what: what is being done, for example ``"decoding"``.
        unit: name of one unit, in the plural.
        log: where log lines go (Dagster passes ``context.log.info``). Without it: lines of the ``cxr`` logger, unless
            standard error is a terminal, which always gets a bar.

    Yields:
        A function that is told how many more units are done. It may be called from one thread at a time.
    """
    terminal = _terminal or (sys.stderr if sys.stderr.isatty() else None)
    say = log or (None if terminal else _logger.info)
    start = last = time.monotonic()
    count = 0
    with tqdm(total=total, desc=what, unit=f" {unit}", file=terminal, leave=False, disable=terminal is None) as bar:

        def advance(done: int) -> None:
            nonlocal count, last
            count += done
            bar.update(done)
            now = time.monotonic()
            if say and now - last >= _LOG_EVERY_SECONDS:
                last = now
                rate = count / (now - start)
                left = (total - count) / rate if rate else float("inf")
                say(f"{what}: {count}/{total} {unit}, {rate:.1f}/s, about {left:.0f} s left")

        yield advance
    if say and count:
        say(f"{what}: {count}/{total} {unit} in {time.monotonic() - start:.1f} s")
