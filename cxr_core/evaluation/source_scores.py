"""Scores inside each source, where the source cannot give the class away (TRAPS 1), and their mean over the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES, Ranking, Resampled, joined, resample_weights
from cxr_core.evaluation.intervals import Counts, entry, intervals, undefined
from cxr_core.evaluation.metrics import Metrics, classification_metrics, named_sources, probabilities_of
from cxr_core.evaluation.weighted import OVERALL, PER_CLASS, WeightedScores

__all__ = ["DISEASE", "macro_over_sources", "per_source"]

Floats = npt.NDArray[np.float64]

DISEASE = "a disease"  # every class but the normal one, as one
_DISEASE_PLACE = -1  # among the classes


def per_source(
    predictions: pd.DataFrame, names: Sequence[str], seed: int, resamples: int = RESAMPLES, normal: str = "Normal"
) -> dict[str, dict[str, Any]]:
    """Every score of the films of each source.

    Args:
        predictions: the predictions table.
        names: class names in output order.
        seed, resamples: of the intervals; the groups of each source are drawn apart.
        normal: name of the class without disease.

    Returns:
        Source name (``unknown`` where none is recorded) to ``metrics`` (see
        :func:`~cxr_core.evaluation.metrics.classification_metrics`), ``intervals`` (see
        :func:`~cxr_core.evaluation.intervals.intervals`), and ``disease_auc``: area under the ROC curve of
        1 - p(normal), disease against normal, ``value``, ``low``, ``high``, with a ``reason`` where not available.
    """
    result: dict[str, dict[str, Any]] = {}
    for source in _sources(predictions, names, normal):
        result[source.name] = {
            "metrics": source.metrics,
            "intervals": intervals(source.labels, source.probabilities, source.groups, seed, resamples, names),
            "disease_auc": source.disease_entry(seed, resamples),
        }
    return result


def macro_over_sources(
    predictions: pd.DataFrame, names: Sequence[str], seed: int, resamples: int = RESAMPLES, normal: str = "Normal"
) -> dict[str, Any]:
    """Mean over the sources of each score inside a source, every source counting the same.

    A source enters the mean of a score where the score says something and has enough patient groups behind it
    (:data:`~cxr_core.evaluation.intervals.MIN_GROUPS`). All sources are scored on the same resamples of the groups of
    all films, so that a group whose copies lie in several sources is drawn as one.

    Args:
        predictions, names, seed, resamples, normal: as :func:`per_source`.

    Returns:
        The names in :data:`~cxr_core.evaluation.weighted.OVERALL`, ``disease_auc`` and, under ``per_class``, the class
        names to those in :data:`~cxr_core.evaluation.weighted.PER_CLASS`: ``value``, ``low``, ``high``, ``sources`` in
        the mean and ``left_out`` (source to reason); not available with fewer than two sources. And ``level``,
        ``resamples``, ``method``.
    """
    sources = _sources(predictions, names, normal)
    spreads = _joint_spreads(predictions, sources, seed, resamples)
    said = {"level": LEVEL, "resamples": resamples, "method": "percentile bootstrap over groups, sources together"}
    return {
        **{name: _mean(sources, spreads, name, None) for name in OVERALL},
        "disease_auc": _mean(sources, spreads, "auc", _DISEASE_PLACE),
        "per_class": {
            label: {name: _mean(sources, spreads, name, place) for name in PER_CLASS}
            for place, label in enumerate(names)
        },
        **said,
    }


@dataclass(frozen=True)
class _Source:
    name: str
    rows: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int64]
    probabilities: Floats
    groups: npt.NDArray[np.object_]
    metrics: Metrics
    counts: Counts
    diseased: npt.NDArray[np.bool_] | None  # None: there is no normal class
    disease: Floats  # 1 - p(normal)
    normal: str

    def ranking(self) -> Ranking | None:
        """Of disease against normal; None where there are not both."""
        if self.diseased is None or self.diseased.all() or not self.diseased.any():
            return None
        return Ranking(self.diseased, self.disease)

    def disease_counts(self) -> Counts:
        truth = np.zeros(0, np.int64) if self.diseased is None else self.diseased.astype(np.int64)
        groups = self.groups[: len(truth)]
        return Counts.of(truth, truth, groups, (self.normal, DISEASE))

    def disease_auc(self) -> float | None:
        ranking = self.ranking()
        return None if ranking is None else float(ranking.auc(np.ones((1, len(self.rows))))[0])

    def disease_entry(self, seed: int, resamples: int) -> dict[str, Any]:
        value, why, few = self.score("auc", _DISEASE_PLACE)
        ranking = None if why or few else self.ranking()
        if ranking is None:
            return entry(None if why else value, np.full(1, np.nan), few, why)
        spread = np.concatenate([ranking.auc(weights) for weights in resample_weights(self.groups, seed, resamples)])
        return entry(value, spread)

    def score(self, name: str, place: int | None) -> tuple[float | None, str | None, str | None]:
        """A score, why it says nothing, and why it has no interval (None where it does and has)."""
        if place == _DISEASE_PLACE:
            if self.diseased is None:
                return None, f"there is no class {self.normal}", None
            value, counts, place = self.disease_auc(), self.disease_counts(), 1
        else:
            metrics: Mapping[str, Any] = self.metrics
            side = metrics if place is None else metrics["per_class"][self.counts.names[place]]
            value, counts = side[name], self.counts
        return value, undefined(value, name, place, counts), counts.too_few(name, place)


def _sources(predictions: pd.DataFrame, names: Sequence[str], normal: str) -> list[_Source]:
    named = named_sources(predictions["source"]).to_numpy()
    labels, probabilities = predictions["label_index"].to_numpy(np.int64), probabilities_of(predictions, len(names))
    groups = predictions["group_id"].to_numpy(object)
    place = list(names).index(normal) if normal in names else None
    found = []
    for name in sorted(set(named.tolist())):
        rows = np.flatnonzero(named == name)
        truth, p = labels[rows], probabilities[rows]
        found.append(
            _Source(
                name,
                rows,
                truth,
                p,
                groups[rows],
                classification_metrics(truth, p, names),
                Counts.of(truth, p.argmax(axis=1), groups[rows], names),
                None if place is None else truth != place,
                np.zeros(len(rows)) if place is None else 1 - p[:, place],
                normal,
            )
        )
    return found


def _joint_spreads(
    predictions: pd.DataFrame, sources: Sequence[_Source], seed: int, resamples: int
) -> list[tuple[Resampled, Floats]]:
    """Scores and disease area of each source in each resample of all groups."""
    prepared = [(s.rows, WeightedScores(s.labels, s.probabilities), s.ranking()) for s in sources]
    scores: list[list[Resampled]] = [[] for _ in sources]
    areas: list[list[Floats]] = [[] for _ in sources]
    for weights in resample_weights(predictions["group_id"].to_numpy(object), seed, resamples):
        for number, (rows, weighted, ranking) in enumerate(prepared):
            mine = weights[:, rows]
            scores[number].append(weighted.scores(mine))
            areas[number].append(np.full(len(mine), np.nan) if ranking is None else ranking.auc(mine))
    return [(joined(parts), np.concatenate(area)) for parts, area in zip(scores, areas, strict=True)]


def _mean(
    sources: Sequence[_Source], spreads: Sequence[tuple[Resampled, Floats]], name: str, place: int | None
) -> dict[str, Any]:
    values: dict[str, float] = {}
    left_out: dict[str, str] = {}
    chosen: list[Floats] = []
    for source, ((overall, per_class), disease) in zip(sources, spreads, strict=True):
        value, why, few = source.score(name, place)
        if value is None or why or few:
            left_out[source.name] = str(why or few)
            continue
        values[source.name] = value
        chosen.append(
            overall[name] if place is None else disease if place == _DISEASE_PLACE else per_class[name][:, place]
        )
    more = {"sources": list(values), "left_out": left_out}
    if len(values) < 2:
        return {**unavailable("fewer than two sources have it"), **more}
    return {**entry(float(np.mean(list(values.values()))), np.mean(chosen, axis=0)), **more}
