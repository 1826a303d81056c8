"""The robustness report: what every condition costs, compared film by film with the clean films (report 5.1, 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES
from cxr_core.evaluation.calibration import BINS
from cxr_core.evaluation.metrics import logits_of, named_sources
from cxr_core.robustness.corruptions import CLEAN, CORRUPTIONS
from cxr_core.robustness.degradation import corruption_errors, mean_corruption_error, monotonicity, worst_corruption
from cxr_core.robustness.degradation_scores import SCORES, ScoredConditions, score_conditions
from cxr_core.robustness.degradation_verdict import confidence_flags, confidence_report, robustness_verdict
from cxr_core.robustness.sweep import PARTITIONS, PRESETS, Condition, conditions_in
from cxr_core.settings_stress import RobustnessSettings

__all__ = ["CONFIDENCE_BINS", "REPORT_FILE", "SOURCE_SCORES", "assess", "conditions_table"]

Floats = npt.NDArray[np.float64]

REPORT_FILE = "robustness.json"
CONFIDENCE_BINS = 20  # of the confidence histograms, over 0-1: steps of .05
SOURCE_SCORES = ("accuracy", "macro_f1", "macro_auc", "mean_confidence")  # what is said of each source
_FILM = ["image_id", "label_index"]


def assess(
    clean: pd.DataFrame,
    swept: pd.DataFrame,
    probabilities: Callable[[Floats], Floats],
    names: Sequence[str],
    settings: RobustnessSettings,
    resamples: int = RESAMPLES,
    bins: int = BINS,
) -> dict[str, Any]:
    """Score a model under every condition that was swept, and say what that amounts to.

    Args:
        clean: one row a film: image_id, label_index, source, group_id, l_0 ...; logits of the uncorrupted films.
        swept: rows of :func:`cxr_core.robustness.sweep.sweep` of the same films.
        probabilities: logits (n, k) to the probabilities that are answered, (n, k): calibrated ones.
        names: k class names.
        settings: presets, seed of corruptions and bootstrap, limit of the verdict.
        resamples: of the bootstrap; the same ones for every condition.
        bins: of the expected calibration error.

    Returns:
        JSON-ready. ``conditions`` maps ``clean`` and each condition to ``steps``, ``corruption`` and ``severity`` (None
        for the clean films and for presets), the six scores of
        :data:`~cxr_core.robustness.degradation_scores.SCORES` as numbers or None, ``scores`` and, but for clean,
        ``difference`` from clean (each score with value, low, high, a reason where not available; differences paired,
        with a p-value), ``intervals`` (low and high of each score, or None), ``confidence_histogram``, the two flags of
        :mod:`~cxr_core.robustness.degradation_verdict`, and ``per_source``. ``corruptions`` maps each corruption to its
        title, conditions, amounts, errors over the severities and order; ``mean_corruption_error``,
        ``worst_corruption``, ``monotonicity``: see :mod:`~cxr_core.robustness.degradation`; ``severe_minus_clinical``:
        differences of the two presets; ``confidence``, ``verdict``: see
        :mod:`~cxr_core.robustness.degradation_verdict`.

    Raises:
        CxrError: no films, conditions of other films, or a condition that the registry does not know.
    """
    films = clean.sort_values("image_id", ignore_index=True)
    if films.empty:
        raise CxrError("No clean films to compare with: predict the test split first.")
    known = _known(swept, settings)
    said = {CLEAN.name: np.asarray(probabilities(logits_of(films, len(names))))}
    parts = dict(tuple(swept.groupby("condition", sort=False)))
    for name in known:
        said[name] = np.asarray(probabilities(logits_of(_same_films(films, parts[name], name), len(names))))
    labels, groups = films["label_index"].to_numpy(np.int64), films["group_id"].to_numpy(object)
    sources = named_sources(films["source"]).to_numpy(str)

    def score(rows: npt.NDArray[np.bool_]) -> ScoredConditions:
        chosen = {name: p[rows] for name, p in said.items()}
        return score_conditions(labels[rows], chosen, groups[rows], settings.seed, resamples, names, bins)

    scored = score(np.ones(len(films), np.bool_))
    inside = {source: score(sources == source) for source in sorted(set(sources.tolist()))}
    conditions = {
        name: {
            **_described(known.get(name)),
            **_entry(scored, place),
            "confidence_histogram": _histogram(said[name]),
            "per_source": {source: _source_entry(part, place) for source, part in inside.items()},
        }
        for place, name in enumerate(scored.conditions)
    }
    members = {
        corruption: [name for name, (owner, _) in known.items() if owner == corruption]
        for corruption in sorted({owner for owner, _ in known.values()} - set(PRESETS))
    }
    order = monotonicity(scored, members)
    confidence = confidence_report(scored, conditions, PRESETS)
    return {
        "notice": NOTICE,
        "n": len(films),
        "groups": scored.groups,
        "seed": settings.seed,
        "resamples": resamples,
        "level": LEVEL,
        "bins": bins,
        "conditions": conditions,
        "corruptions": {
            name: {
                "title": CORRUPTIONS[name].title,
                "conditions": members[name],
                "amounts": [conditions[one]["steps"][0]["amount"] for one in members[name]],
                **errors,
                "monotonicity": order["per_corruption"][name],
            }
            for name, errors in corruption_errors(scored, members).items()
        },
        "mean_corruption_error": mean_corruption_error(scored, members),
        "worst_corruption": worst_corruption(scored, members),
        "monotonicity": {key: value for key, value in order.items() if key != "per_corruption"},
        "severe_minus_clinical": _between(scored),
        "confidence": confidence,
        "verdict": robustness_verdict(conditions, confidence, settings.max_accuracy_loss, scored.groups),
    }


def conditions_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """The scores of every condition, one row each: value, bounds, and change from clean with its bounds."""
    rows = []
    for name, entry in report["conditions"].items():
        row: dict[str, Any] = {"condition": name, "corruption": entry["corruption"], "severity": entry["severity"]}
        for score in SCORES:
            row |= _flat(score, entry["scores"][score])
            row |= _flat(f"{score}_change", entry.get("difference", {}).get(score, {}))
        rows.append(row)
    return pd.DataFrame(rows).astype({"severity": "Int64"})


def _flat(name: str, entry: Mapping[str, Any]) -> dict[str, float]:
    found = {name: entry.get("value"), f"{name}_low": entry.get("low"), f"{name}_high": entry.get("high")}
    return {key: np.nan if value is None else float(value) for key, value in found.items()}


def _known(swept: pd.DataFrame, settings: RobustnessSettings) -> dict[str, tuple[str, Condition]]:
    """Conditions that were swept, presets first, then the corruptions by name; each with its partition."""
    ordered = [*PRESETS, *(name for name in PARTITIONS if name not in PRESETS)]
    every = {one.preset.name: (name, one) for name in ordered for one in conditions_in(name, settings)}
    present = set(swept["condition"].unique().tolist())
    if unknown := sorted(present - every.keys()):
        raise CxrError(f"No condition is called {unknown[0]!r} any more: materialise robustness_conditions again.")
    return {name: found for name, found in every.items() if name in present}


def _same_films(films: pd.DataFrame, part: pd.DataFrame, name: str) -> pd.DataFrame:
    ordered = part.sort_values("image_id", ignore_index=True)
    if not ordered[_FILM].equals(films[_FILM].astype(ordered[_FILM].dtypes.to_dict())):
        raise CxrError(
            f"Condition {name} was swept over other films or labels than the clean ones: materialise "
            "robustness_conditions again."
        )
    return ordered


def _described(known: tuple[str, Condition] | None) -> dict[str, Any]:
    if known is None:
        return {"steps": CLEAN.describe(), "corruption": None, "severity": None}
    partition, condition = known
    single = partition not in PRESETS
    return {
        "steps": condition.preset.describe(),
        "corruption": partition if single else None,
        "severity": condition.severity if single else None,
    }


def _entry(scored: ScoredConditions, place: int) -> dict[str, Any]:
    scores = {score: scored.score(score, place) for score in SCORES}
    found: dict[str, Any] = {
        **{score: entry["value"] for score, entry in scores.items()},
        "scores": scores,
        "intervals": {
            score: None if entry["low"] is None else {"low": entry["low"], "high": entry["high"]}
            for score, entry in scores.items()
        },
    }
    if place:
        difference = {score: scored.difference(score, place) for score in SCORES}
        found |= {"difference": difference, **confidence_flags(difference)}
    return found


def _source_entry(scored: ScoredConditions, place: int) -> dict[str, Any]:
    found: dict[str, Any] = {"films": scored.films, "groups": scored.groups}
    found |= {score: scored.score(score, place) for score in SOURCE_SCORES}
    if place:
        found["difference"] = {score: scored.difference(score, place) for score in SOURCE_SCORES}
    return found


def _between(scored: ScoredConditions) -> dict[str, Any]:
    """The severe preset less the clinical one, which report 5.1 finds the milder one (TRAPS 10)."""
    if not set(PRESETS) <= set(scored.conditions):
        return {score: unavailable("the presets were not swept", p_value=None) for score in SCORES}
    clinical, severe = (scored.place(name) for name in PRESETS)
    return {score: scored.difference(score, severe, clinical) for score in SCORES}


def _histogram(probabilities: Floats) -> list[int]:
    counts, _ = np.histogram(np.minimum(probabilities.max(axis=1), 1.0), CONFIDENCE_BINS, (0.0, 1.0))
    return [int(count) for count in counts]
