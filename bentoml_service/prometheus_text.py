"""The counts in the text formats that Prometheus scrapes, and the choice between them and JSON.

Any worker answers for all, because the counts come from the file they share. So there is a collector of our own, and
none of prometheus_client's per-process state, whose import has to wait until BentoML has set its environment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from bentoml_service.latency_buckets import BOUNDS, cumulative
from bentoml_service.telemetry_counts import Tally, outcome_of
from bentoml_service.telemetry_store import Stored

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from cxr_core.release.predictor import ModelIdentity

__all__ = ["JSON", "MEDIA_TYPES", "OPENMETRICS", "TEXT", "Format", "choose_format", "expose"]

Format = Literal["json", "text", "openmetrics"]
_Counts = dict[tuple[str, ...], int]  # label values to number

JSON: Format = "json"
TEXT: Format = "text"
OPENMETRICS: Format = "openmetrics"

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
_OFFERS: dict[str, Format] = {
    "application/json": "json",
    "application/openmetrics-text": "openmetrics",
    "text/plain": "text",
    "application/*": "json",
    "text/*": "text",
    "*/*": "json",
}


def choose_format(accept: str) -> Format:
    """The format that an ``Accept`` header prefers (RFC 9110, 12.5.1); JSON where it names none of ours.

    The largest q decides, then the order in the header.
    """
    best: Format = "json"
    best_weight = 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = _weight(parameters)
        if name in _OFFERS and weight > best_weight:
            best, best_weight = _OFFERS[name], weight
    return best


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0  # not a weight: as if the type were not named
    return 1.0


def expose(stored: Stored, current: bool, model: ModelIdentity | None, form: Format = TEXT) -> str:
    """Counts as Prometheus text 0.0.4 or OpenMetrics 1.0.

    Args:
        stored: the counts.
        current: whether they are those of all workers up to now.
        model: the model that answers, for ``cxr_model_info``.
        form: ``text`` or ``openmetrics``.
    """
    from prometheus_client import CollectorRegistry, exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    registry = CollectorRegistry()
    registry.register(_Families(list(_families(stored, current, model))))
    write = openmetrics.generate_latest if form == OPENMETRICS else exposition.generate_latest
    text: bytes = write(registry)
    return text.decode()


class _Families:
    """A collector, as prometheus_client understands it, of families that are ready."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _families(stored: Stored, current: bool, model: ModelIdentity | None) -> Iterable[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    tally = stored.tally
    requests: Counter[tuple[str, int]] = Counter()
    for (route, status, _), (number, _) in tally.requests.items():
        requests[route, status] += number
    counted: _Counts = {(route, str(status)): number for (route, status), number in requests.items()}
    yield _counter("cxr_requests", "Requests by route template and status (0: the client left).", counted,
                   ("route", "status"))  # fmt: skip
    yield _durations(tally)
    labels: _Counts = {(label,): number for label, number in tally.labels.items()}
    yield _counter("cxr_predictions", "Predictions by label.", labels, ("label",))
    codes: _Counts = {(code,): number for code, number in tally.warnings.items()}
    yield _counter("cxr_warnings", "Warnings of predictions by code.", codes, ("code",))
    yield CounterMetricFamily("cxr_telemetry_lost_events", "Events that could not be kept.", value=tally.lost)
    yield GaugeMetricFamily("cxr_telemetry_up", "Whether the counts of all workers could be read.", value=int(current))
    yield GaugeMetricFamily("cxr_telemetry_since_seconds", "When counting began, seconds since 1970.",
                            value=stored.since)  # fmt: skip
    if model is not None:
        said: dict[str, str] = {"name": model.name, "version": model.version, "digest": model.digest}
        yield InfoMetricFamily("cxr_model", "The model that answers.", value=said)


def _counter(name: str, help_text: str, counts: _Counts, labels: tuple[str, ...]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, help_text, labels=labels)
    for values in sorted(counts):
        family.add_metric(values, counts[values])
    return family


def _durations(tally: Tally) -> Metric:
    from prometheus_client.core import HistogramMetricFamily
    from prometheus_client.utils import floatToGoString

    buckets: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for (route, status, bucket), (number, seconds) in tally.requests.items():
        key = (route, outcome_of(status))
        buckets[key][bucket] += number
        sums[key] += seconds
    family = HistogramMetricFamily(
        "cxr_request_duration_seconds", "Seconds until the answer was sent.", labels=("route", "outcome")
    )
    for key in sorted(buckets):
        edges: list[Any] = list(zip(map(floatToGoString, BOUNDS), cumulative(buckets[key]), strict=True))
        family.add_metric(key, [*edges, ("+Inf", buckets[key].total())], sums[key])
    return family
