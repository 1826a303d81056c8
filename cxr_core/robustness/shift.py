"""Embedding shift: every distance between clean and corrupted films under every condition, each beside its null.

Report 5.3 prints a cosine of centroids and a Fréchet distance without its null (TRAPS 13, 14). Here a distance has two:
the versions of films exchanged, which is the sharper test but needs both versions of each film, and other films of the
same kind, which is all that a monitor of arriving films has to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.robustness.shift_distances import DISTANCES, median_width
from cxr_core.robustness.shift_measure import Measured
from cxr_core.robustness.shift_null import MIN_GROUPS, Plan
from cxr_core.robustness.shift_pair import Cloud
from cxr_core.settings_stress import ShiftSettings
from cxr_core.trust.subgroup_multiplicity import holm

__all__ = ["Version", "draw_films", "embedding_shift"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Version:
    """The test films in one condition.

    Attributes:
        embeddings: (r, d) what the linear head sees of the films that are compared.
        correct: (n,) whether the model's class is the film's, of all films.
        corruption: what was done; the preset's name for a preset of the report.
        severity: 1-5; 0 for a preset and for the clean films.
    """

    embeddings: npt.NDArray[np.floating]
    correct: npt.NDArray[np.bool_]
    corruption: str = ""
    severity: int = 0


def draw_films(groups: Sequence[str], most: int, seed: int) -> npt.NDArray[np.intp]:
    """Rows of at most so many films, whole groups in random order, ascending; all rows where they are not more."""
    codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    if len(codes) <= most:
        return np.arange(len(codes))
    order = np.random.default_rng(seed).permutation(int(codes.max()) + 1)
    reached = np.cumsum(np.bincount(codes)[order])
    return np.flatnonzero(np.isin(codes, order[reached <= most]))


def embedding_shift(
    clean: Version,
    versions: Mapping[str, Version],
    groups: Sequence[str],
    settings: ShiftSettings,
    drawn: npt.NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    """Measure and test the shift of every condition.

    Args:
        clean: the n test films as they are.
        versions: condition to the same films in it, in the same order.
        groups: n patient groups.
        settings: of the nulls.
        drawn: (r,) rows of the films that the embeddings are of, see :func:`draw_films`; all of them where not given.

    Returns:
        JSON-ready. ``distances``: each name in :data:`~cxr_core.robustness.shift_distances.DISTANCES` with ``title``,
        ``meaning`` and ``halves``, its null between halves of the clean films. ``conditions``: each condition with
        ``corruption``, ``severity`` and ``distances``, each a value with ``p``, ``holm``, ``beyond`` (whether ``holm``
        is at most the level), ``exchange`` (mean and interval of that null), ``other_films`` (the same distance with
        the corrupted half in the place of the other clean one, as many films as in the null; whether its mean is
        ``beyond`` that null, and in which share of the halves it is). ``controls``: the same for clean films against
        themselves. ``resolution``: whether so many tests can be significant with so many exchanges. What is not
        available says why.

    Raises:
        CxrError: versions that do not match the clean films.
    """
    for name, version in versions.items():
        if version.embeddings.shape != clean.embeddings.shape:
            raise CxrError(
                f"Condition {name} has embeddings of shape {version.embeddings.shape}, the clean films "
                f"{clean.embeddings.shape}: materialise robustness_conditions again."
            )
    own = [str(group) for group in groups] if drawn is None else [str(groups[row]) for row in drawn]
    base = np.asarray(clean.embeddings, np.float64)
    if len(own) != len(base):
        raise CxrError(f"{len(base)} embeddings of {len(own)} films do not match: pass the rows that were drawn.")
    report: dict[str, Any] = {
        "notice": NOTICE,
        "seed": settings.seed,
        "level": settings.level,
        "interval_level": LEVEL,
        "films": len(groups),
        "groups": len(set(groups)),
        "drawn": {"films": len(own), "groups": len(set(own))},
        "dimensions": int(base.shape[1]),
        "exchanges": settings.permutations,
    }
    reason = _reason(base, own)
    if reason:
        return {**report, **_without(reason, versions)}
    plan = Plan.of(
        own, settings.seed, settings.permutations, settings.frechet_permutations, settings.halves, settings.folds
    )
    measured = Measured(Cloud.of(base, base.mean(axis=0)), plan, median_width(base), settings)
    conditions: dict[str, dict[str, Any]] = {
        name: {
            "corruption": version.corruption,
            "severity": version.severity,
            "distances": measured.condition(np.asarray(version.embeddings, np.float64)),
        }
        for name, version in versions.items()
    }
    tests = _correct([entry["distances"] for entry in conditions.values()], settings.level)
    smallest = max(1 / (1 + settings.permutations), 2.0 ** (1 - len(set(own))))
    return {
        **report,
        "width": measured.width,
        "distances": {name: {**_about(name), "halves": measured.halves[name]} for name in DISTANCES},
        "conditions": conditions,
        "resolution": {
            "tests": tests,
            "smallest_p": smallest,
            "smallest_holm": min(1.0, smallest * tests),
            "enough": smallest * tests <= settings.level,
        },
        "controls": measured.controls(),
    }


def _reason(base: Floats, groups: Sequence[str]) -> str:
    """Why nothing can be said of these clean films; empty where something can."""
    if len(set(groups)) < MIN_GROUPS:
        return f"{len(groups)} films of {len(set(groups))} patient groups: a null needs {MIN_GROUPS} groups"
    wrong = int((~np.isfinite(base)).any(axis=1).sum())
    if wrong:
        return f"{wrong} clean films have embeddings that are no numbers"
    return "" if median_width(base) > 0 else "most clean films have the same embedding"


def _about(name: str) -> dict[str, Any]:
    distance = DISTANCES[name]
    return {"title": distance.title, "meaning": distance.meaning, "two_sided": distance.two_sided}


def _without(reason: str, versions: Mapping[str, Version]) -> dict[str, Any]:
    none = {name: unavailable(reason) for name in DISTANCES}
    return {
        "distances": {name: {**_about(name), "halves": unavailable(reason)} for name in DISTANCES},
        "conditions": {
            name: {"corruption": version.corruption, "severity": version.severity, "distances": dict(none)}
            for name, version in versions.items()
        },
        "resolution": {"tests": 0, "smallest_p": None, "smallest_holm": None, "enough": False},
        "controls": {name: unavailable(reason) for name in DISTANCES},
    }


def _correct(conditions: Sequence[dict[str, Any]], level: float) -> int:
    """Write ``holm`` and ``beyond`` into every tested distance; returns how many tests there are."""
    tested = [entry for distances in conditions for entry in distances.values() if "p" in entry]
    adjusted = holm(np.array([entry["p"] for entry in tested], np.float64))
    for entry, corrected in zip(tested, adjusted.tolist(), strict=True):
        entry["holm"] = corrected
        entry["beyond"] = corrected <= level
    return len(tested)
