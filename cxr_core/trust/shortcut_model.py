"""What is left of a model's score where lungs or sources are taken away (TRAPS 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import Interval, Ranking, percentile_interval, resample_weights, resampled_scores
from cxr_core.evaluation.weighted import WeightedScores
from cxr_core.trust.shortcut_probes import macro_auc

__all__ = ["CHANCE", "SCORES", "Films", "explained_share", "inside_against_pooled", "inside_sources", "scored"]

Floats = npt.NDArray[np.float64]

CHANCE = 0.5  # area of scores that tell nothing
SCORES = ("accuracy", "macro_f1", "macro_auc")


@dataclass(frozen=True)
class Films:
    """The films that something is scored on.

    Attributes:
        labels: (n,) class indices.
        groups: (n,) group names, drawn whole.
        sources: (n,) source names.
        normal: index of the class without disease; None where there is none.
        seed, resamples: of the bootstrap.
    """

    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.object_]
    sources: npt.NDArray[np.object_]
    normal: int | None
    seed: int
    resamples: int

    def take(self, rows: npt.NDArray[np.bool_]) -> Films:
        """Some of the films."""
        labels, groups, sources = self.labels[rows], self.groups[rows], self.sources[rows]
        return Films(labels, groups, sources, self.normal, self.seed, self.resamples)


def scored(films: Films, scores: Floats) -> dict[str, Any]:
    """Accuracy, macro F1 and macro AUC of scores (n, k), each with its interval over groups.

    Not available with fewer than two classes or two groups.
    """
    reason = _too_few(films)
    if reason:
        return {name: unavailable(reason) for name in SCORES}
    (spread,) = resampled_scores(films.labels, [scores], films.groups, films.seed, films.resamples)
    point = _point(films.labels, scores)
    return {name: available(point[name], **_bounds(percentile_interval(spread[name]))) for name in SCORES}


def inside_sources(films: Films, scores: Floats) -> dict[str, dict[str, Any]]:
    """Area under the ROC curve of disease against normal inside each source.

    Args:
        films: the films.
        scores: (n,) larger for more likely diseased.

    Returns:
        Source name to ``value``, ``low``, ``high``, ``films``, ``normal_films``; or why there is none.
    """
    if films.normal is None:
        return {}
    found = {}
    for source in sorted(set(films.sources)):
        rows = films.sources == source
        diseased = films.labels[rows] != films.normal
        about = {"films": int(rows.sum()), "normal_films": int((~diseased).sum())}
        if diseased.all() or not diseased.any():
            side = "normal" if diseased.all() else "diseased"
            found[source] = unavailable(f"{source} has no {side} films", **about)
            continue
        ranking = Ranking(diseased, scores[rows])
        spread = _spread(films.take(rows), ranking.auc)
        value = float(ranking.auc(np.ones((1, int(rows.sum()))))[0])
        found[source] = available(value, **_bounds(percentile_interval(spread)), **about)
    return found


def inside_against_pooled(films: Films, scores: Floats) -> dict[str, Any]:
    """Disease against normal over all films and inside sources, on the same resamples of groups.

    ``inside`` is the chance that, of a diseased and a normal film of one source, the diseased one has the larger score:
    areas of the sources weighted by their pairs. Knowing the source alone gives .5 there, whatever it gives pooled.

    Args:
        films: the films.
        scores: (n,) larger for more likely diseased.

    Returns:
        ``pooled``, ``inside``, ``difference`` (pooled minus inside), each ``value``, ``low``, ``high`` or why there is
        none; ``sources`` that count.
    """
    reason = _too_few(films)
    if films.normal is None:
        reason = "there is no normal class"
    diseased = films.labels != films.normal
    both = [s for s in sorted(set(films.sources)) if len(set(diseased[films.sources == s].tolist())) == 2]
    if not reason and not both:
        reason = "no source has films with and without disease"
    elif not reason and len(set(films.sources)) < 2:
        reason = "all films come from one source"
    if reason:
        return {**{name: unavailable(reason) for name in ("pooled", "inside", "difference")}, "sources": both}
    whole = Ranking(diseased, scores)
    members = [np.flatnonzero(films.sources == source) for source in both]
    rankings = [Ranking(diseased[rows], scores[rows]) for rows in members]

    def both_areas(weights: Floats) -> Floats:
        areas, pairs = [], []
        for rows, ranking in zip(members, rankings, strict=True):
            counted = weights[:, rows]
            positive = counted[:, diseased[rows]].sum(axis=1)
            pairs.append(positive * (counted.sum(axis=1) - positive))
            areas.append(np.nan_to_num(ranking.auc(counted)))
        total = np.sum(pairs, axis=0)
        inside = np.divide(
            np.sum(np.multiply(areas, pairs), axis=0), total, out=np.full(len(total), np.nan), where=total > 0
        )
        return np.column_stack([whole.auc(weights), inside])

    pooled, inside = both_areas(np.ones((1, len(diseased))))[0].tolist()
    spread = _spread(films, both_areas)
    return {
        "pooled": available(pooled, **_bounds(percentile_interval(spread[:, 0]))),
        "inside": available(inside, **_bounds(percentile_interval(spread[:, 1]))),
        "difference": available(
            pooled - inside, **_bounds(percentile_interval(spread[:, 0] - spread[:, 1], keep_flat=True))
        ),
        "sources": both,
    }


def explained_share(films: Films, model: Floats, view: Floats) -> dict[str, Any]:
    """How much of the model's macro AUC above chance a view without lungs reaches on the same films.

    (AUC of the view - .5) / (AUC of the model - .5); the interval is a percentile bootstrap of both at once.

    Args:
        films: the films.
        model, view: scores (n, k) of each.

    Returns:
        ``value``, ``low``, ``high``, and the two areas; not available where the model itself is not above chance.
    """
    reason = _too_few(films)
    if reason:
        return unavailable(reason, films=len(films.labels))
    areas = [macro_auc(films.labels, scores) for scores in (model, view)]
    about = {"model_auc": areas[0], "view_auc": areas[1], "films": len(films.labels)}
    spread = [
        found["macro_auc"]
        for found in resampled_scores(films.labels, [model, view], films.groups, films.seed, films.resamples)
    ]
    interval = percentile_interval(spread[0])
    if interval is None and areas[0] > CHANCE and np.nanmin(spread[0]) > CHANCE:
        interval = {"low": areas[0], "high": areas[0]}  # a model without any error stays so in every resample
    if interval is None or interval["low"] <= CHANCE:
        return unavailable("the model's own AUC is not above chance on these films", **about)
    above = spread[0] - CHANCE
    ratio = np.divide(spread[1] - CHANCE, above, out=np.full(len(above), np.nan), where=above > 0)
    value = (areas[1] - CHANCE) / (areas[0] - CHANCE)
    return available(value, **_bounds(percentile_interval(ratio)), **about)


def _too_few(films: Films) -> str:
    if len(np.unique(films.labels)) < 2:
        return "fewer than two classes have films"
    return "fewer than two patient groups" if len(set(films.groups)) < 2 else ""


def _point(labels: npt.NDArray[np.int64], scores: Floats) -> dict[str, float]:
    overall, _ = WeightedScores(labels, scores).scores(np.ones((1, len(labels))), precision_recall=False)
    return {name: float(overall[name][0]) for name in SCORES}


def _spread(films: Films, compute: Callable[[Floats], Floats]) -> Floats:
    blocks = [compute(weights) for weights in resample_weights(films.groups, films.seed, films.resamples)]
    return np.concatenate(blocks)


def _bounds(interval: Interval | None) -> dict[str, float | None]:
    return {"low": None, "high": None} if interval is None else {**interval}
