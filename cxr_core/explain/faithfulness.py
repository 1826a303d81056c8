"""Whether the maps show what the network uses (report 6.1): the whole trial, and what it comes to.

The report calls its heat maps validated since they look plausible. Looking validates nothing (TRAPS 15): here every
number stands beside what maps without any knowledge of the network reach on the same films.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.explain.deletion import Scorer
from cxr_core.explain.faithfulness_films import ExplainedFilms
from cxr_core.explain.faithfulness_method import (
    Explain,
    Rivals,
    curve_table,
    film_table,
    perturbation,
    regions,
    rivals_of,
)
from cxr_core.explain.faithfulness_scores import Grouping
from cxr_core.explain.faithfulness_verdict import lung_attention, sentences
from cxr_core.explain.map_similarity import MEASURES
from cxr_core.explain.randomisation import cascade, similarity_null
from cxr_core.explain.reference_maps import BLANK, blank_maps
from cxr_core.explain.repeatability import agreement, repeatability
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier
from cxr_core.progress import Log
from cxr_core.settings_stress import FaithfulnessSettings

__all__ = ["REPORT_FILE", "Faithfulness", "Judged", "judge_maps"]

Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

REPORT_FILE = "faithfulness.json"
_ONE_PASS_EACH = "a map of this method takes a pass of the network for each covered part, too many for every level"


@dataclass(frozen=True)
class Judged:
    """What is judged.

    Attributes:
        model: the network in evaluation mode.
        second: trained alike with another seed; None where there is none.
        preprocessing: turns frames into network input of both.
        probabilities: logits (n, k) to the probabilities that are answered.
        explain: method, network, frames, classes to maps.
        titles: of the methods, by their machine names; Grad-CAM comes first.
        cascaded: methods cheap enough for the cascade.
    """

    model: Classifier
    second: Classifier | None
    preprocessing: Preprocessing
    probabilities: Callable[[Floats], Floats]
    explain: Explain
    titles: Mapping[str, str]
    cascaded: Sequence[str] = ("gradcam",)


@dataclass(frozen=True)
class Faithfulness:
    """The report and what its figures are drawn from.

    Attributes:
        report: JSON values.
        curves: see :func:`~cxr_core.explain.faithfulness_method.curve_table`.
        films: see :func:`~cxr_core.explain.faithfulness_method.film_table`.
    """

    report: dict[str, Any]
    curves: pd.DataFrame
    films: pd.DataFrame


def judge_maps(
    judged: Judged,
    score: Scorer,
    films: ExplainedFilms,
    names: Sequence[str],
    settings: FaithfulnessSettings,
    resamples: int,
    answers: tuple[Floats, Floats, Grouping] | None = None,
    log: Log | None = None,
) -> Faithfulness:
    """Put every method on trial.

    Args:
        judged: networks and methods.
        score: the model's probability of a class; see :func:`~cxr_core.explain.faithfulness_films.model_scorer`.
        films: what is explained.
        names: k class names.
        settings: how.
        resamples: of the intervals.
        answers: probabilities (n, k) of both networks for all test films, and how those are averaged.
        log: where progress lines go.

    Returns:
        A report with ``methods`` (name to ``deletion``, ``insertion``, ``randomisation``, ``repeatability``,
        ``regions``, ``films``, ``blank``), ``agreement`` of the two networks, ``verdict``, ``sentences``.
    """
    by = Grouping(films.labels, films.groups, tuple(names), settings.seed, resamples)
    if log:
        log(f"random maps and the centre map through deletion and insertion: {len(films)} films")
    rivals = rivals_of(films, score, settings)
    methods: dict[str, Any] = {}
    curves, tables = [], []
    for method in judged.titles:
        every = method in judged.cascaded
        rows = np.arange(len(films)) if every else films.first_of_each_class(settings.occlusion_films)
        if log:
            log(f"{judged.titles[method]}: {len(rows)} films")
        part = _on_trial(judged, method, score, films.take(rows), rivals.take(rows), by.take(rows), settings, log)
        methods[method], curve, table = part
        curves.append(curve)
        tables.append(table)
    report: dict[str, Any] = {
        "notice": NOTICE,
        "films": {
            "n": len(films),
            "groups": len(np.unique(films.groups.astype(str))),
            "per_class": {name: int((films.labels == place).sum()) for place, name in enumerate(names)},
            "lungs_found": int(films.lungs.any(axis=(1, 2)).sum()),
        },
        "classes": list(names),
        "level": LEVEL,
        "resamples": resamples,
        "settings": settings.model_dump(mode="json"),
        "methods": methods,
        "agreement": unavailable("there is no second model") if answers is None else agreement(*answers),
    }
    report["verdict"] = lung_attention(report)
    report["sentences"] = sentences(report)
    return Faithfulness(report, pd.concat(curves, ignore_index=True), pd.concat(tables, ignore_index=True))


def _on_trial(
    judged: Judged,
    method: str,
    score: Scorer,
    films: ExplainedFilms,
    rivals: Rivals,
    by: Grouping,
    settings: FaithfulnessSettings,
    log: Log | None,
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    def maps_of(network: Classifier, rows: npt.NDArray[np.intp] | None = None, true: bool = False) -> Maps:
        chosen = np.arange(len(films)) if rows is None else rows
        classes = (films.labels if true else films.predicted)[chosen]
        return judged.explain(method, network, films.frames[chosen], classes)

    maps = maps_of(judged.model)
    true_maps = maps.copy()
    wrong = np.flatnonzero(films.labels != films.predicted)
    if len(wrong):
        true_maps[wrong] = maps_of(judged.model, wrong, true=True)
    perturbed, curves = perturbation(films, maps, rivals, score, by, settings)
    found = {
        "title": judged.titles[method],
        "films": len(films),
        "blank": int(blank_maps(maps).sum()),
        **perturbed,
        "regions": regions(films, maps, true_maps, rivals, by, settings),
        "randomisation": unavailable(_ONE_PASS_EACH),
        "repeatability": unavailable("there is no second model"),
    }
    if method in judged.cascaded:
        if log:
            log(f"{judged.titles[method]}: weights drawn anew from the head down")
        found["randomisation"] = _randomisation(judged, maps_of, maps, films, by, settings)
    if judged.second is not None:
        found["repeatability"] = repeatability(maps, maps_of(judged.second), by)
    return found, curve_table(method, curves, by), film_table(method, films, maps, curves)


def _randomisation(
    judged: Judged,
    maps_of: Callable[[Classifier], Maps],
    maps: Maps,
    films: ExplainedFilms,
    by: Grouping,
    settings: FaithfulnessSettings,
) -> dict[str, Any]:
    """Similarity at each level with its intervals, beside that of random maps; and the level that is lost in it."""
    found = cascade(judged.model, films.frames, judged.preprocessing, maps_of, maps, settings.seed, settings.draws)
    null = similarity_null(films.side, settings.seed)
    report: dict[str, Any] = {"draws": settings.draws, "levels": list(found.levels), "measures": {}}
    for measure in MEASURES:
        low, mean, high = np.quantile(null[measure], 0.025), null[measure].mean(), np.quantile(null[measure], 0.975)
        entries = [by.scores(values, BLANK) for values in found.similarity[measure]]
        report["measures"][measure] = {
            "null": {"value": float(mean), "low": float(low), "high": float(high)},
            "levels": entries,
            "blank": [int(np.isnan(values).sum()) for values in found.similarity[measure]],
            "lost_at": _lost_at(found.levels, entries, float(high)),
        }
    return report


def _lost_at(levels: Sequence[str], entries: Sequence[Mapping[str, Any]], high: float) -> str | None:
    """The first level from which on the mean similarity stays within what pairs of random maps reach."""
    inside = [entry["overall"]["value"] is not None and entry["overall"]["value"] <= high for entry in entries]
    for place, level in enumerate(levels):
        if all(inside[place:]):
            return level
    return None
