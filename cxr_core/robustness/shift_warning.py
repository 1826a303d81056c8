"""Whether a distance warns: does it go with the accuracy that is lost, and is it seen at a milder severity?

Report 5.3 says that drift detection can serve as early warning. A distance warns early where it is beyond its null at a
severity at which accuracy has not yet fallen beyond chance; it warns of nothing where accuracy never falls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, is_available, unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.intervals import MIN_GROUPS
from cxr_core.robustness.shift import Version
from cxr_core.robustness.shift_distances import DISTANCES
from cxr_core.settings_stress import ShiftSettings
from cxr_core.trust.subgroup_multiplicity import holm

__all__ = [
    "NULLS",
    "OUTCOMES",
    "accuracy_loss",
    "association",
    "early_warning",
    "severity_association",
    "weighted_spearman",
]

Floats = npt.NDArray[np.float64]

NULLS: Mapping[str, str] = {
    "exchange": "against its null by exchange, with the clean version of every film at hand",
    "other_films": "against other clean films, as a monitor of arriving films has to",
}
OUTCOMES = ("earlier", "same", "later", "missed", "no_loss", "neither")
_ROUNDING = 1e-9
_BLOCK = 1 << 22  # signs held at once


def accuracy_loss(
    clean: Version, versions: Mapping[str, Version], groups: Sequence[str], settings: ShiftSettings, resamples: int
) -> dict[str, dict[str, Any]]:
    """Accuracy that each condition loses, tested as the distances are.

    Args:
        clean, versions, groups, settings: as :func:`~cxr_core.robustness.shift.embedding_shift`; all films count.
        resamples: of the bootstrap.

    Returns:
        Condition to ``accuracy`` and its loss: ``value`` (clean less corrupted accuracy), ``low``, ``high`` (paired
        bootstrap over groups), ``p`` (one-sided, versions exchanged over groups), ``holm`` over the conditions (a
        smaller family than that of the distances, which favours accuracy) and ``beyond``.
    """
    codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    names = list(versions)
    if not names or not len(codes):
        return {}
    lost = np.stack([clean.correct.astype(np.float64) - versions[name].correct for name in names], axis=1)
    value = lost.mean(axis=0)
    drawn = [w @ lost / w.sum(axis=1, keepdims=True) for w in resample_weights(groups, settings.seed, resamples)]
    spread = np.concatenate(drawn)
    moved = np.zeros((int(codes.max()) + 1, len(names)))
    np.add.at(moved, codes, lost / len(codes))
    rng, extreme = np.random.default_rng([settings.seed, 2]), np.zeros(len(names))
    step = max(1, _BLOCK // len(moved))
    for start in range(0, settings.permutations, step):
        rows = min(step, settings.permutations - start)
        signs = rng.integers(0, 2, (rows, len(moved)), dtype=np.int8).astype(np.float64) * 2 - 1
        extreme += (signs @ moved >= value - _ROUNDING).sum(axis=0)
    p = (1 + extreme) / (1 + settings.permutations)
    corrected = holm(p)
    found = {}
    for place, name in enumerate(names):
        interval = percentile_interval(spread[:, place], keep_flat=True) if len(moved) >= MIN_GROUPS else None
        found[name] = available(
            float(value[place]),
            **(interval or {}),
            accuracy=float(versions[name].correct.mean()),
            p=float(p[place]),
            holm=float(corrected[place]),
            beyond=bool(corrected[place] <= settings.level),
        )
    return found


def weighted_spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Rank correlation of values that each count so often, midranks for ties.

    Args:
        x, y: (m,) values.
        weights: (b, m) how often each counts.

    Returns:
        (b,) -1 to 1; NaN where one of them does not vary.
    """
    ranks = []
    for values in (x, y):
        below = (values[:, None] < values[None]) + 0.5 * (values[:, None] == values[None])
        ranks.append(weights @ below)
    total = weights.sum(axis=1, keepdims=True)
    a, b = (rank - (weights * rank).sum(axis=1, keepdims=True) / total for rank in ranks)
    products = [(weights * left * right).sum(axis=1) for left, right in ((a, b), (a, a), (b, b))]
    scale = np.sqrt(np.maximum(0.0, products[1] * products[2]))
    flat = scale <= _ROUNDING * np.maximum(1.0, total[:, 0] ** 3)
    return np.where(flat, np.nan, products[0] / np.where(flat, 1.0, scale))


def association(
    conditions: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Mapping[str, Any]], seed: int, resamples: int
) -> dict[str, dict[str, Any]]:
    """Rank correlation over conditions of each distance with the accuracy lost.

    Args:
        conditions: of :func:`~cxr_core.robustness.shift.embedding_shift`.
        losses: of :func:`accuracy_loss`.
        seed, resamples: of the bootstrap over corruptions, whose severities are no independent conditions.

    Returns:
        Distance to ``value``, ``low``, ``high``, ``conditions``, ``corruptions``. The size of the norm shift counts,
        whatever its sign.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in DISTANCES:
        rows = [
            (abs(entry["distances"][name]["value"]), losses[condition]["value"], entry["corruption"])
            for condition, entry in conditions.items()
            if condition in losses and is_available(entry["distances"][name]) and is_available(losses[condition])
        ]
        found[name] = _correlated(rows, seed, resamples)
    return found


def severity_association(
    conditions: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Mapping[str, Any]], seed: int, resamples: int
) -> dict[str, Any]:
    """Rank correlation of the severity alone, 1-5, with the accuracy lost: what a distance has to be better than.

    Args:
        conditions, losses, seed, resamples: as :func:`association`; presets, which have no severity, are left out.
    """
    rows = [
        (float(entry["severity"]), losses[condition]["value"], entry["corruption"])
        for condition, entry in conditions.items()
        if entry["severity"] > 0 and condition in losses and is_available(losses[condition])
    ]
    return _correlated(rows, seed, resamples)


def _correlated(rows: Sequence[tuple[float, float, str]], seed: int, resamples: int) -> dict[str, Any]:
    """Rank correlation of the first two values of rows, with an interval over the clusters in the third."""
    clusters = [row[2] for row in rows]
    about = {"conditions": len(rows), "corruptions": len(set(clusters))}
    if len(set(clusters)) < MIN_GROUPS:
        return unavailable(f"{len(set(clusters))} corruptions: an interval needs {MIN_GROUPS}", **about)
    x, y = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    value = float(weighted_spearman(x, y, np.ones((1, len(rows))))[0])
    if not np.isfinite(value):
        return unavailable("one of the two is the same under every condition", **about)
    blocks = [weighted_spearman(x, y, weights) for weights in resample_weights(clusters, seed, resamples)]
    interval = percentile_interval(np.concatenate(blocks), keep_flat=True)
    return available(value, **(interval or {}), **about)


def early_warning(
    conditions: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """At which severity each distance, and accuracy, first are beyond their nulls.

    Args:
        conditions: of :func:`~cxr_core.robustness.shift.embedding_shift`; presets, which have one severity, are left
            out.
        losses: of :func:`accuracy_loss`.

    Returns:
        A name in :data:`NULLS` to each distance: ``corruptions`` (``distance`` and ``accuracy``, the smallest severity
        or None, and ``outcome``), ``counts`` of the outcomes, ``severities_earlier`` (mean over the corruptions in
        which both are seen, positive where the distance is first). The outcomes: ``earlier``, ``same``, ``later``,
        ``missed`` (accuracy falls, the distance is never beyond), ``no_loss`` (the distance is beyond, accuracy never
        falls), ``neither``.
    """
    ladders: dict[str, dict[int, str]] = {}
    for condition, entry in conditions.items():
        if entry["severity"] > 0:
            ladders.setdefault(entry["corruption"], {})[entry["severity"]] = condition
    result: dict[str, dict[str, Any]] = {null: {} for null in NULLS}
    for null in NULLS:
        for name in DISTANCES:
            entries = {c: _tested(conditions[c]["distances"][name], null) for c in conditions}
            if not any(is_available(entry) for entry in entries.values()):
                result[null][name] = {"reason": next(iter(entries.values()), {}).get("reason", "no condition")}
                continue
            rows: dict[str, dict[str, Any]] = {}
            for corruption in sorted(ladders):
                steps = sorted(ladders[corruption].items())
                first = _first([(severity, entries[c].get("beyond", False)) for severity, c in steps])
                fall = _first([(severity, losses.get(c, {}).get("beyond", False)) for severity, c in steps])
                rows[corruption] = {"distance": first, "accuracy": fall, "outcome": _outcome(first, fall)}
            both = [r["accuracy"] - r["distance"] for r in rows.values() if r["accuracy"] and r["distance"]]
            result[null][name] = {
                "corruptions": rows,
                "counts": {outcome: sum(r["outcome"] == outcome for r in rows.values()) for outcome in OUTCOMES},
                "severities_earlier": available(float(np.mean(both)), corruptions=len(both))
                if both
                else unavailable("no corruption in which the distance and accuracy are both beyond chance"),
            }
    return result


def _tested(entry: Mapping[str, Any], null: str) -> Mapping[str, Any]:
    """The entry that says whether a distance is beyond one of its nulls."""
    if not is_available(entry):
        return entry
    if null == "other_films":
        other: Mapping[str, Any] = entry["other_films"]
        return other
    return entry if "beyond" in entry else entry["exchange"]


def _first(steps: Sequence[tuple[int, bool]]) -> int | None:
    return next((severity for severity, beyond in steps if beyond), None)


def _outcome(distance: int | None, accuracy: int | None) -> str:
    if accuracy is None:
        return "neither" if distance is None else "no_loss"
    if distance is None:
        return "missed"
    return "same" if distance == accuracy else "earlier" if distance < accuracy else "later"
