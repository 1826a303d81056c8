"""What is counted of requests and predictions: the same tally in a worker's memory, in the file and in a report."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from bentoml_service.latency_buckets import bucket_of

__all__ = ["ABORTED", "Observation", "Tally", "outcome_of"]

ABORTED = 0  # status of a request whose client left before the answer began
_SHED = (429, 503)  # refused to keep the others served
_MOST_KEYS = 50_000  # 10 MB: some 20 routes, 14 statuses and the 50 buckets around a latency need 14,000


@dataclass(frozen=True, slots=True)
class Observation:
    """One prediction as the drift window sees it; holds nothing of a patient.

    Attributes:
        label: the predicted class.
        confidence: its probability, 0-1.
        mean, std: of the decoded film's grey values, 0-255.
        aspect: width / height of the film.
        warnings: codes of its warnings.
    """

    label: str
    confidence: float
    mean: float
    std: float
    aspect: float
    warnings: tuple[str, ...] = ()


def outcome_of(status: int) -> str:
    """What became of a request: ``answered``, ``refused``, ``shed``, ``failed`` or ``aborted``.

    429 and 503 are shed load, other 4xx refused, other 5xx failed.
    """
    if status == ABORTED:
        return "aborted"
    if status in _SHED:
        return "shed"
    return "answered" if status < 400 else "refused" if status < 500 else "failed"


@dataclass
class Tally:
    """Counts that can be added to each other.

    Attributes:
        requests: (route, status, latency bucket) to number and summed seconds.
        minutes: (minute since 1970, route, status, latency bucket) to number.
        labels: predictions by label.
        warnings: warnings by code.
        lost: requests and predictions that could not be kept.
        observations: (seconds since 1970, observation), oldest first.
    """

    window: int
    requests: dict[tuple[str, int, int], tuple[int, float]] = field(default_factory=dict)
    minutes: dict[tuple[int, str, int, int], int] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    observations: deque[tuple[int, Observation]] = field(init=False)

    def __post_init__(self) -> None:
        self.observations = deque(maxlen=self.window)

    def __bool__(self) -> bool:
        return bool(self.requests or self.labels or self.lost)

    def add_request(self, minute: int, route: str, status: int, seconds: float) -> None:
        """Count one request; where there are too many kinds to hold, count it as lost."""
        key = (route, status, bucket_of(seconds))
        number, total = self.requests.get(key, (0, 0.0))
        if not number and len(self.requests) + len(self.minutes) >= _MOST_KEYS:
            self.lost += 1
            return
        self.requests[key] = (number + 1, total + seconds)
        self.minutes[(minute, *key)] = self.minutes.get((minute, *key), 0) + 1

    def add_prediction(self, time: int, seen: Observation) -> None:
        """Count one prediction; the window keeps the latest."""
        self.labels[seen.label] += 1
        self.warnings.update(seen.warnings)
        self.observations.append((time, seen))

    def add(self, later: Tally) -> None:
        """Add the counts of a later tally."""
        for key, (number, seconds) in later.requests.items():
            had, total = self.requests.get(key, (0, 0.0))
            self.requests[key] = (had + number, total + seconds)
        for recent, number in later.minutes.items():
            self.minutes[recent] = self.minutes.get(recent, 0) + number
        self.labels.update(later.labels)
        self.warnings.update(later.warnings)
        self.lost += later.lost
        self.observations.extend(later.observations)

    def forget_before(self, minute: int) -> None:
        """Drop minutes that no report covers any more."""
        self.minutes = {key: number for key, number in self.minutes.items() if key[0] >= minute}
