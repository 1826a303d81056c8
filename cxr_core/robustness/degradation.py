"""Degradation by corruption: error over the severities, whether more corruption costs more, the worst of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.intervals import entry
from cxr_core.robustness.degradation_scores import ScoredConditions, simultaneous_tolerance

__all__ = ["DEFINITION", "corruption_errors", "mean_corruption_error", "monotonicity", "worst_corruption"]

Floats = npt.NDArray[np.float64]

DEFINITION = (
    "The error of a corruption is the mean of its error (1 - accuracy) over its severities, and the mean corruption "
    "error the mean over the corruptions (Hendrycks and Dietterich, ICLR 2019). They divide by the errors of AlexNet "
    "under the same corruptions, which there are not for these films: here the reference is the same model's error on "
    "the clean films. error: as it is; error_over_clean: divided by the clean error; excess_error (relative): less "
    "the clean error; excess_error_over_clean: that, divided by the clean error."
)
_NO_CLEAN_ERROR = "there is no error on the clean films to divide by"


def corruption_errors(scored: ScoredConditions, members: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Error of each corruption over its severities, see :data:`DEFINITION`.

    Args:
        scored: the conditions, the clean one first.
        members: corruption to its conditions, each of which was scored.

    Returns:
        For each corruption ``error``, ``error_over_clean``, ``excess_error``, ``excess_error_over_clean``, each with
        ``value``, ``low``, ``high``, a ``reason`` where not available.
    """
    return {name: _errors(scored, [names]) for name, names in members.items()}


def mean_corruption_error(scored: ScoredConditions, members: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Mean over the corruptions of their errors, each corruption counting once; fields as :func:`corruption_errors`.

    Args:
        scored, members: as :func:`corruption_errors`.

    Returns:
        Those fields, ``corruptions`` (their number) and ``definition``.
    """
    return {
        **_errors(scored, list(members.values())),
        "corruptions": len(members),
        "definition": DEFINITION,
    }


def worst_corruption(scored: ScoredConditions, members: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The corruption of largest error, and in what share of the resamples it is the worst.

    A worst of several is partly so by chance: the share says how far these films decide it.

    Args:
        scored, members: as :func:`corruption_errors`.

    Returns:
        ``name``, None without corruptions; ``error`` and ``excess_error``; ``share_of_resamples``, an entry. The first
        by name where several are equal.
    """
    if not members:
        empty = unavailable("no corruption was swept")
        return {"name": None, "error": empty, "excess_error": empty, "share_of_resamples": empty}
    names = sorted(members)
    wrong = [_mean_error(scored, [members[name]]) for name in names]
    place = int(np.argmax([value for value, _ in wrong]))
    found = _errors(scored, [members[names[place]]])
    few = scored.counts[0].too_few("accuracy", None)
    if few or not wrong[0][1].size:
        share = unavailable(few or "nothing was resampled")
    else:
        spreads = np.stack([spread for _, spread in wrong])
        share = available(float((spreads[place] >= spreads.max(axis=0)).mean()))
    return {"name": names[place], **{key: found[key] for key in ("error", "excess_error")}, "share_of_resamples": share}


def monotonicity(scored: ScoredConditions, members: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Whether more of a corruption costs more accuracy; a severity that beats a milder one beyond chance is named.

    Every severity is compared with every milder one and with the clean films, on the same resamples. As there are many
    pairs, what chance allows is set for all of them together (:func:`simultaneous_tolerance`).

    Args:
        scored: the conditions, the clean one first.
        members: corruption to its conditions, mildest first.

    Returns:
        ``per_corruption``: for each ``in_order`` (no violation), ``rises`` (pairs in which the stronger is better by
        value) and ``violations`` (those beyond chance), each pair with ``stronger``, ``milder``, ``difference`` (of
        accuracy) and ``tolerance``; ``violations`` of all; ``pairs``: their number; ``reason`` where chance could not
        be judged, ``in_order`` being None then; ``sentence``.
    """
    clean = scored.conditions[0]
    pairs = [
        (name, milder, stronger)
        for name, names in members.items()
        for milder, stronger in combinations([clean, *names], 2)
    ]
    places = np.array([(scored.place(stronger), scored.place(milder)) for _, milder, stronger in pairs], np.intp)
    places = places.reshape(-1, 2)
    accuracy, spread = scored.values["accuracy"], scored.spreads["accuracy"]
    values = accuracy[places[:, 0]] - accuracy[places[:, 1]]
    few = scored.counts[0].too_few("accuracy", None)
    tolerance = simultaneous_tolerance(values, spread[places[:, 0]] - spread[places[:, 1]])
    if few is None and bool(np.isnan(tolerance).any()):
        few = "nothing was resampled"
    per: dict[str, dict[str, Any]] = {name: {"in_order": None, "rises": [], "violations": []} for name in members}
    for (name, milder, stronger), value, allowed in zip(pairs, values.tolist(), tolerance.tolist(), strict=True):
        if value <= 0:
            continue
        said = {"stronger": stronger, "milder": milder, "difference": value, "tolerance": None if few else allowed}
        per[name]["rises"].append(said)
        if few is None and value > allowed:
            per[name]["violations"].append(said)
    if few is None:
        for said in per.values():
            said["in_order"] = not said["violations"]
    found = [violation for said in per.values() for violation in said["violations"]]
    return {
        "per_corruption": per,
        "violations": found,
        "pairs": len(pairs),
        "reason": few,
        "sentence": _monotonicity_sentence(found, len(pairs), few),
    }


def _monotonicity_sentence(found: Sequence[Mapping[str, Any]], pairs: int, few: str | None) -> str:
    if few or not pairs:
        return f"Whether more corruption costs more accuracy is not available: {few or 'no corruption was swept'}."
    if not found:
        return f"In none of {pairs} pairs is a stronger corruption better than a milder one beyond chance."
    worst = max(found, key=lambda pair: pair["difference"] - pair["tolerance"])
    return (
        f"In {len(found)} of {pairs} pairs a stronger corruption is better than a milder one beyond chance, most "
        f"clearly {worst['stronger']} than {worst['milder']}: accuracy higher by {100 * worst['difference']:.1f} "
        f"points where chance allows {100 * worst['tolerance']:.1f}."
    )


def _mean_error(scored: ScoredConditions, families: Sequence[Sequence[str]]) -> tuple[float, Floats]:
    """Mean over families of the mean error of their conditions, and in each resample."""
    values, spreads = [], []
    for names in families:
        rows = [scored.place(name) for name in names]
        values.append(1 - scored.values["accuracy"][rows].mean())
        spreads.append(1 - scored.spreads["accuracy"][rows].mean(axis=0))
    return float(np.mean(values)), np.mean(spreads, axis=0)


def _errors(scored: ScoredConditions, families: Sequence[Sequence[str]]) -> dict[str, Any]:
    fields = ("error", "error_over_clean", "excess_error", "excess_error_over_clean")
    if not families:
        return dict.fromkeys(fields, unavailable("no corruption was swept"))
    value, spread = _mean_error(scored, families)
    clean, clean_spread = 1 - float(scored.values["accuracy"][0]), 1 - scored.spreads["accuracy"][0]
    few = scored.counts[0].too_few("accuracy", None)
    divisor = np.where(clean_spread > 0, clean_spread, np.nan)

    def over(above: float, above_spread: Floats) -> dict[str, Any]:
        if clean <= 0:
            return unavailable(_NO_CLEAN_ERROR)
        return entry(above / clean, above_spread / divisor, few)

    return {
        "error": entry(value, spread, few),
        "error_over_clean": over(value, spread),
        "excess_error": entry(value - clean, spread - clean_spread, few),
        "excess_error_over_clean": over(value - clean, spread - clean_spread),
    }
