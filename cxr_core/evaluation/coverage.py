"""Whether prediction sets keep their promise on films that fitted nothing: how often they hold the true class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.bootstrap import LEVEL, resample_weights
from cxr_core.evaluation.intervals import MIN_GROUPS, entry, exact_interval
from cxr_core.evaluation.prediction_sets import PredictionSets, exact_level

__all__ = ["calibration_draw", "clustered_ratios", "coverage_report", "coverage_verdict"]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Groups = Sequence[str] | npt.NDArray[np.object_]

_ROUNDING = 1e-12  # thirds of groups add up to 1 only so far


def coverage_report(
    sets: Booleans,
    labels: npt.NDArray[np.integer],
    groups: Groups,
    sources: Sequence[str] | npt.NDArray[np.object_],
    names: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Coverage and size of prediction sets, with bootstrap intervals over groups.

    Args:
        sets: (n, k).
        labels: (n,) class indices.
        groups: n group names; films of one group are drawn together.
        sources: n source names.
        names: k class names.
        seed, resamples: of the bootstrap.

    Returns:
        JSON-ready: ``all``, and each class under ``per_class`` and each source under ``per_source``: ``films``,
        ``groups``, ``coverage`` (share of the films whose set holds the true class) and ``each_group_once`` (the same
        with each group counted once, which is what the sets promise). ``sizes``: for 0 (no class is plausible) to k
        classes ``size``, ``films``, ``share``. ``mean_size``. ``singletons``: ``films`` whose set is one class, and
        their ``accuracy``. Values have ``value``, ``low``, ``high``, and a ``reason`` where one of them is missing.
    """
    n, k = sets.shape
    _, codes, counts = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    covered, sizes = sets[np.arange(n), labels], sets.sum(axis=1)
    origin = np.asarray(sources, dtype=str)
    strata: dict[tuple[str, str], Booleans] = {("all", ""): np.ones(n, bool)}
    strata |= {("per_class", name): labels == place for place, name in enumerate(names)}
    strata |= {("per_source", source): origin == source for source in sorted(set(origin.tolist()))}
    once = {key: _each_group_once(rows, codes) for key, rows in strata.items()}
    asked: dict[Any, tuple[Floats, Floats]] = {}
    for key, rows in strata.items():
        asked[*key, "coverage"] = (rows & covered).astype(float), rows.astype(float)
        asked[*key, "each_group_once"] = once[key] * covered, once[key]
    for size in range(k + 1):
        asked["sizes", size] = (sizes == size).astype(float), np.ones(n)
    asked["mean_size"] = sizes.astype(float), np.ones(n)
    asked["singletons"] = ((sizes == 1) & covered).astype(float), (sizes == 1).astype(float)
    found = clustered_ratios(asked, groups, seed, resamples, unbounded=("mean_size",))

    def stratum(key: tuple[str, str]) -> dict[str, Any]:
        rows = strata[key]
        said = {name: found[*key, name] for name in ("coverage", "each_group_once")}
        return {"films": int(rows.sum()), "groups": len(np.unique(codes[rows])), **said}

    report: dict[str, Any] = {"all": stratum(("all", "")), "per_class": {}, "per_source": {}}
    for kind, name in strata:
        if kind != "all":
            report[kind][name] = stratum((kind, name))
    return {
        **report,
        "films": n,
        "groups": len(counts),
        "sizes": [
            {"size": size, "films": int((sizes == size).sum()), "share": found["sizes", size]} for size in range(k + 1)
        ],
        "mean_size": found["mean_size"],
        "singletons": {"films": int((sizes == 1).sum()), "accuracy": found["singletons"]},
    }


def coverage_verdict(fitted: PredictionSets, report: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the marginal sets keep their promise: the interval of their coverage reaches the promised level.

    Args:
        fitted: the sets.
        report: what :func:`coverage_report` says of the marginal ones.

    Returns:
        ``passed``, ``sentence``, ``value``, ``low``, ``high`` (each patient group counted once), ``limit``.
    """
    found = report["all"]["each_group_once"]
    said = {"value": found["value"], "low": found["low"], "high": found["high"], "limit": fitted.level}
    if fitted.quantile is None:
        sentence = f"Prediction sets rule nothing out, not available: {fitted.reason} among the calibration films."
        return {"passed": False, "sentence": sentence, **said}
    if found["high"] is None:
        sentence = f"Coverage of the prediction sets on test is not available: {found.get('reason', 'no interval')}."
        return {"passed": False, "sentence": sentence, **said}
    passed = found["high"] >= fitted.level
    draw = calibration_draw(fitted.groups, fitted.level)
    assert draw is not None  # there is a quantile
    sentence = (
        f"The prediction sets hold the true class for {found['value']:.1%} of the test films, each patient group "
        f"counted once (95 % interval {found['low']:.1%} to {found['high']:.1%}); promised are {fitted.level:.0%}"
        f"{'' if passed else ', which the interval does not reach'}. By the draw of {fitted.groups} calibration groups "
        f"alone, coverage varies from {draw['low']:.1%} to {draw['high']:.1%}."
    )
    return {"passed": bool(passed), "sentence": sentence, **said}


def calibration_draw(groups: int, level: float) -> dict[str, float] | None:
    """Middle 95 % of the coverage that sound sets have, over draws of so many calibration groups; None with too few.

    Coverage given the calibration films follows Beta(r, n + 1 - r), r the rank of the quantile (Vovk, Conditional
    validity of inductive conformal predictors, 2012; Angelopoulos and Bates 2021, section 3.2), one film a group and
    no ties taken.
    """
    from scipy.stats import beta

    rank = math.ceil((groups + 1) * exact_level(level))
    if rank > groups:
        return None
    low, high = beta.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], rank, groups + 1 - rank).tolist()
    return {"low": low, "high": high}


def clustered_ratios(
    asked: Mapping[Any, tuple[Floats, Floats]],
    groups: Groups,
    seed: int,
    resamples: int,
    unbounded: Sequence[Any] = (),
) -> dict[Any, dict[str, Any]]:
    """Ratios of sums over films with bootstrap intervals over groups; all of them see the same resamples.

    Args:
        asked: name to what is summed above and below the line, (n,) each.
        groups: n group names.
        seed, resamples: of the bootstrap.
        unbounded: names of those that are no shares, which have no exact interval at 0 and 1.

    Returns:
        Name to ``value``, ``low``, ``high``, and a ``reason`` where one is missing.
    """
    known = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    above = np.stack([pair[0] for pair in asked.values()], axis=1)
    below = np.stack([pair[1] for pair in asked.values()], axis=1)
    count = len(np.unique(known))
    blocks = [_ratio(w @ above, w @ below) for w in resample_weights(groups, seed, resamples)] if count > 1 else []
    spread = np.concatenate(blocks) if blocks else np.full((1, len(asked)), np.nan)
    values = _ratio(above.sum(axis=0), below.sum(axis=0))
    found: dict[Any, dict[str, Any]] = {}
    for place, name in enumerate(asked):
        concerned = len(np.unique(known[below[:, place] > 0]))
        value = None if np.isnan(values[place]) else float(values[place])
        exact = None
        if value is not None and name not in unbounded:
            whole = float(round(value))
            value = whole if abs(value - whole) < _ROUNDING else value
            exact = exact_interval(value, concerned) if concerned >= MIN_GROUPS else None
        few = f"{concerned} patient groups, at least {MIN_GROUPS} are needed" if concerned < MIN_GROUPS else None
        found[name] = entry(value, spread[:, place], why_not="there is no such film", few=few)
        if exact is not None:
            found[name] = {"value": value, **exact, "exact": True}
    return found


def _each_group_once(rows: Booleans, codes: npt.NDArray[np.intp]) -> Floats:
    """Weight of each film of a stratum: 1 over the films that its group has there; 0 outside."""
    inside = np.bincount(codes[rows], minlength=int(codes.max(initial=-1)) + 1)
    return np.where(rows, 1 / np.maximum(inside[codes], 1), 0.0)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
