"""Operating points: thresholds fixed on one set of films, before any other is looked at, and judged on another.

Thresholds chosen on the films that they are then measured on flatter themselves (TRAPS 11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import finite_probabilities
from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES
from cxr_core.evaluation.operating_point_report import judge_operating_points
from cxr_core.evaluation.operating_points_record import (
    RULES,
    Measured,
    OperatingPoint,
    OperatingPoints,
    read_operating_points,
)
from cxr_core.evaluation.operating_points_scores import Groups, flag_scores

__all__ = [
    "MIN_FILMS",
    "RULES",
    "TARGETS",
    "TUBERCULOSIS",
    "Measured",
    "OperatingPoint",
    "OperatingPoints",
    "fit_operating_points",
    "judge_operating_points",
    "read_operating_points",
    "sensitivity_threshold",
    "youden_threshold",
]

Floats = npt.NDArray[np.float64]

TUBERCULOSIS = "Tuberculosis"  # the class that the sensitivity targets are about
TARGETS = (0.90, 0.95)  # sensitivities; WHO, High-priority target product profiles for new TB diagnostics, 2014: .90
MIN_FILMS = 10  # of the class, and of the others: of fewer, 90 % is the same as all


def fit_operating_points(
    probabilities: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    groups: Groups,
    names: Sequence[str],
    seed: int,
    *,
    temperature: float = 1.0,
    trained_model: str = "",
    sensitivities: Sequence[float] = TARGETS,
    min_films: int = MIN_FILMS,
    resamples: int = RESAMPLES,
) -> OperatingPoints:
    """Choose the thresholds; see :data:`RULES`.

    Args:
        probabilities: (n, k) calibrated, rows summing to 1.
        labels: (n,) class indices.
        groups: n group names.
        names: k class names.
        seed, resamples: of the bootstrap intervals of sensitivity and specificity on these films.
        temperature: that the probabilities were calibrated by, for the record.
        trained_model: digest of the model, for the record.
        sensitivities: targets for tuberculosis, 0-1.
        min_films: of the class and of the others, fewer give no threshold.

    Returns:
        A point for each target and each class; one that cannot be had says why.

    Raises:
        CxrError: probabilities that are not finite, or shapes that do not match.
    """
    values = finite_probabilities(probabilities)
    if values.shape != (len(labels), len(names)) or len(groups) != len(labels):
        raise CxrError(
            f"Probabilities of shape {values.shape} do not fit {len(labels)} labels, {len(groups)} groups and "
            f"{len(names)} classes: predict again."
        )
    films = _Films(values, labels, groups, seed, resamples, min_films)
    place = next((k for k, name in enumerate(names) if name.casefold() == TUBERCULOSIS.casefold()), None)
    points = [films.target(names, place, target) for target in sensitivities]
    points += [films.youden(name, k) for k, name in enumerate(names)]
    return OperatingPoints.sealed(
        labels=tuple(names),
        temperature=temperature,
        trained_model=trained_model,
        films=len(labels),
        groups=len(np.unique(np.asarray(groups, dtype=str))),
        per_class={name: int((labels == k).sum()) for k, name in enumerate(names)},
        level=LEVEL,
        resamples=resamples,
        seed=seed,
        points=tuple(points),
    )


def sensitivity_threshold(scores: Floats, positive: npt.NDArray[np.bool_], target: float) -> float:
    """Largest threshold at which at least ``target`` of the positive films reach it.

    That is the score of the positive film of rank ceil(target x positives), from the top; films that tie with it are
    flagged with it, so that the sensitivity may lie above the target, never below.

    Args:
        scores: (n,); positive: (n,) with at least one True; target: 0-1.
    """
    ordered = np.sort(scores[positive])[::-1]
    needed = int(np.ceil(target * len(ordered) - 1e-9))  # .55 x 100 is 55.00000000000001 in binary
    return float(ordered[max(needed, 1) - 1])


def youden_threshold(scores: Floats, positive: npt.NDArray[np.bool_]) -> float | None:
    """Threshold of largest sensitivity + specificity - 1; None where none does better than chance.

    Args:
        scores: (n,); positive: (n,) with films on both sides.
    """
    values, codes = np.unique(scores, return_inverse=True)
    inside = np.bincount(codes, weights=positive, minlength=len(values))
    outside = np.bincount(codes, weights=~positive, minlength=len(values))
    right = np.cumsum(inside[::-1])[::-1] * outside.sum()  # integers, so that equal ones are equal
    gain = right - np.cumsum(outside[::-1])[::-1] * inside.sum()
    best = int(gain.argmax())  # the first of equal ones is the lowest threshold
    if gain[best] <= 0:
        return None
    below, lowest = float(values[best - 1]), float(values[best])  # gain[0] is 0, so there is one below
    middle = (below + lowest) / 2
    return middle if middle > below else lowest


class _Films:
    def __init__(
        self,
        probabilities: Floats,
        labels: npt.NDArray[np.integer],
        groups: Groups,
        seed: int,
        resamples: int,
        min_films: int,
    ) -> None:
        self._probabilities, self._labels, self._groups = probabilities, labels, groups
        self._seed, self._resamples, self._min = seed, resamples, min_films

    def target(self, names: Sequence[str], place: int | None, target: float) -> OperatingPoint:
        about: dict[str, Any] = {
            "name": f"tb_sensitivity_{100 * target:g}",
            "rule": "sensitivity",
            "target": target,
            "films": len(self._labels),
        }
        if place is None:
            reason = f"no class is named {TUBERCULOSIS}"
            return OperatingPoint(label="", label_index=None, positives=0, reason=reason, **about)
        scores, positive = self._probabilities[:, place], self._labels == place
        reason = self._too_little(names[place], scores, positive)
        threshold = None if reason else sensitivity_threshold(scores, positive, target)
        return self._point(names[place], place, threshold, reason, about)

    def youden(self, label: str, place: int) -> OperatingPoint:
        about = {"name": f"youden_{label}", "rule": "youden", "films": len(self._labels)}
        scores, positive = self._probabilities[:, place], self._labels == place
        reason = self._too_little(label, scores, positive)
        threshold = None if reason else youden_threshold(scores, positive)
        if threshold is None and not reason:
            reason = "no threshold does better than chance on these films"
        return self._point(label, place, threshold, reason, about)

    def _too_little(self, label: str, scores: Floats, positive: npt.NDArray[np.bool_]) -> str:
        counts = {label: int(positive.sum()), "the other classes": int((~positive).sum())}
        for side, count in counts.items():
            if count < self._min:
                return f"{count} films of {side}; {self._min} or more are needed"
        if scores.min() == scores.max():
            return f"all films have the same probability of {label}"
        return ""

    def _point(
        self, label: str, place: int, threshold: float | None, reason: str, about: dict[str, Any]
    ) -> OperatingPoint:
        positive = self._labels == place
        about = {"label": label, "label_index": place, "positives": int(positive.sum()), "reason": reason, **about}
        if threshold is None:
            return OperatingPoint(**about)
        flagged = self._probabilities[:, place] >= threshold
        found = flag_scores(flagged, positive, self._groups, self._seed, self._resamples)
        measured = {
            name: Measured(**{key: found[name][key] for key in ("value", "low", "high")})
            for name in ("sensitivity", "specificity")
        }
        return OperatingPoint(threshold=threshold, **measured, **about)
