"""How often, and after how long, a request is tried again."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass
from datetime import UTC

__all__ = ["PATIENT", "Retries", "parse_retry_after"]


@dataclass(frozen=True)
class Retries:
    """Exponential backoff with full jitter (AWS Architecture Blog, 2015): waits are drawn from 0 to the step.

    A ``Retry-After`` of the service is waited for as well, so that a limit of requests is never run into twice.

    Attributes:
        attempts: tries of one request, the first included.
        lost: tries where no answer comes at all: fewer, a wrong address is to be known soon.
        first: largest wait after the first try, seconds; it doubles with every further one.
        longest: largest wait without ``Retry-After``, seconds.
        patience: seconds that one request may spend waiting, all its waits together.
    """

    attempts: int = 5
    lost: int = 4
    first: float = 0.5
    longest: float = 30.0
    patience: float = 120.0

    def wait(self, tried: int, retry_after: float | None, spent: float, lost: bool = False) -> float | None:
        """Seconds until the next try; None to give up.

        Args:
            tried: tries so far, >= 1.
            retry_after: what the service asked for, seconds.
            spent: seconds that this request has waited already.
            lost: no answer came.
        """
        if tried >= (min(self.attempts, self.lost) if lost else self.attempts):
            return None
        jitter = random.uniform(0, min(self.longest, self.first * 2 ** min(tried - 1, 30)))
        seconds = (retry_after or 0.0) + jitter
        return seconds if spent + seconds <= self.patience else None


# A folder is not urgent: a key's limit of requests is simply waited for, and a restart of the service lived through.
PATIENT = Retries(attempts=60, lost=8, patience=3600.0)


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header (RFC 9110, 10.2.3), never negative; None where it says nothing."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:  # not a date either: as good as no header
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - time.time())
