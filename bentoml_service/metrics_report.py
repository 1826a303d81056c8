"""The metrics of report 7.4 as JSON: latency, throughput, error rate, availability, per route and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from bentoml_service.latency_buckets import RELATIVE_ERROR, quantile
from bentoml_service.telemetry_counts import Tally, outcome_of
from bentoml_service.telemetry_store import Stored

__all__ = ["PROBES", "report_metrics"]

# Asked every few seconds by machines: in the totals they would outnumber and outrun the requests of people.
PROBES = frozenset({"/health", "/livez", "/readyz"})

_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}  # report 7.4

_Row = tuple[str, int, int, int]  # route, status, latency bucket, number


def report_metrics(stored: Stored, shared: bool, now: float, minutes: int) -> dict[str, Any]:
    """Put a tally into words.

    Args:
        stored: the counts, and since when.
        shared: whether they are those of all workers up to now.
        now: seconds since 1970.
        minutes: how far ``recent`` reaches back, beside the minute that has begun.

    Returns:
        JSON-ready. ``recent`` and ``overall`` each have ``seconds`` (what they cover), ``total`` (without probes) and
        ``routes`` by template; each of these:

        - ``requests``, ``statuses`` (number by status), ``outcomes`` (number by :func:`outcome_of`);
        - ``per_second``: requests a second;
        - ``latency_ms``: ``p50``, ``p95``, ``p99`` of what was answered (status below 400) within
          ``relative_error``; refusals are quick and would flatter it (Beyer et al., Site Reliability Engineering, 2016,
          chapter 6, "the four golden signals");
        - ``availability``: share of requests not answered with a status of 500-599 (Beyer et al., The Site Reliability
          Workbook, 2018, chapter 2), ``error_rate``: the rest; 503 is an error, 429 is not;
        - ``shed_rate``: 429 and 503, ``refused_rate``: other 4xx.

        Rates and percentiles are None where there is no request; requests whose client left count in no rate.
    """
    first = int(now // 60) - minutes
    recent = [(*key[1:], number) for key, number in stored.tally.minutes.items() if key[0] >= first]
    overall = [(*key, number) for key, (number, _) in stored.tally.requests.items()]
    age = max(now - stored.since, 1.0)
    return {
        "since": datetime.fromtimestamp(stored.since, UTC).isoformat(timespec="seconds"),
        "all_workers": shared,
        "lost_events": stored.tally.lost,
        "relative_error": round(RELATIVE_ERROR, 4),
        "recent": {"minutes": minutes, **_scope(recent, min(now - first * 60, age), bool(overall))},
        "overall": _scope(overall, age, bool(overall)),
        "predictions": _predictions(stored.tally),
    }


def _predictions(tally: Tally) -> dict[str, Any]:
    return {
        "number": tally.labels.total(),
        "labels": dict(sorted(tally.labels.items())),
        "warnings": dict(sorted(tally.warnings.items())),
    }


def _scope(rows: list[_Row], seconds: float, any_ever: bool) -> dict[str, Any]:
    routes = sorted({row[0] for row in rows})
    return {
        "seconds": round(seconds, 1),
        "total": _numbers((row for row in rows if row[0] not in PROBES), seconds, any_ever),
        "routes": {route: _numbers((row for row in rows if row[0] == route), seconds, True) for route in routes},
    }


def _numbers(rows: Iterable[_Row], seconds: float, any_ever: bool) -> dict[str, Any]:
    statuses: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    answered: Counter[int] = Counter()
    for _, status, bucket, number in rows:
        statuses[status] += number
        outcomes[outcome_of(status)] += number
        if outcome_of(status) == "answered":
            answered[bucket] += number
    asked = statuses.total() - outcomes["aborted"]
    errors = sum(number for status, number in statuses.items() if status >= 500)
    return {
        "requests": statuses.total(),
        "per_second": round(statuses.total() / seconds, 4) if any_ever else None,
        "latency_ms": {name: _milliseconds(quantile(answered, share)) for name, share in _SHARES.items()},
        "availability": _share(asked - errors, asked),
        "error_rate": _share(errors, asked),
        "shed_rate": _share(outcomes["shed"], asked),
        "refused_rate": _share(outcomes["refused"], asked),
        "statuses": {str(status): statuses[status] for status in sorted(statuses)},
        "outcomes": dict(sorted((+outcomes).items())),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
