"""Scores of the same films under many conditions, all on the same resamples of patient groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import LEVEL, exact_interval, resample_weights
from cxr_core.evaluation.calibration import BINS, ERROR, calibration_scores
from cxr_core.evaluation.intervals import Counts, entry, undefined
from cxr_core.evaluation.paired import difference_entry
from cxr_core.evaluation.weighted import WeightedScores

__all__ = ["SCORES", "ScoredConditions", "score_conditions", "simultaneous_tolerance"]

Floats = npt.NDArray[np.float64]

SCORES: tuple[str, ...] = ("accuracy", "macro_f1", "macro_auc", ERROR, "mean_confidence", "log_loss")
_OVERALL = tuple(score for score in SCORES if score != ERROR)


@dataclass(frozen=True)
class ScoredConditions:
    """Scores of c conditions; the first is what the others are compared with.

    Attributes:
        conditions: c names.
        counts: groups behind the scores of each.
        values: name of a score to (c,) values, NaN where undefined.
        spreads: name of a score to (c, resamples) values of the same resamples, NaN where undefined.
        films: number of films.
    """

    conditions: tuple[str, ...]
    counts: tuple[Counts, ...]
    values: Mapping[str, Floats]
    spreads: Mapping[str, Floats]
    films: int

    @property
    def groups(self) -> int:
        """Distinct patient groups."""
        return self.counts[0].groups

    def place(self, condition: str) -> int:
        """Row of a condition."""
        return self.conditions.index(condition)

    def score(self, score: str, place: int) -> dict[str, Any]:
        """A score of one condition with its interval, or why it has none.

        A share of right answers that is 0 or 1 has its exact interval, as resamples of it do not differ.
        """
        value, counts = self._value(score, place), self.counts[place]
        why = undefined(value, score, None, counts)
        share = why is None and score == "accuracy" and counts.groups > 1
        if share and value is not None and (exact := exact_interval(value, counts.groups)) is not None:
            return available(value, **exact, exact=True)
        return entry(None if why else value, self.spreads[score][place], counts.too_few(score, None), why)

    def difference(self, score: str, place: int, reference: int = 0) -> dict[str, Any]:
        """A score of one condition less that of another, with interval and p-value, or why it has none."""
        values = [self._value(score, row) for row in (place, reference)]
        for value, row in zip(values, (place, reference), strict=True):
            if why := undefined(value, score, None, self.counts[row]):
                return unavailable(why, p_value=None)
        after, before = (float(value) for value in values if value is not None)
        spread = self.spreads[score][place] - self.spreads[score][reference]
        return difference_entry(after - before, spread, self.counts[place].too_few(score, None))

    def _value(self, score: str, place: int) -> float | None:
        value = float(self.values[score][place])
        return None if np.isnan(value) else value


def score_conditions(
    labels: npt.NDArray[np.integer],
    probabilities: Mapping[str, npt.NDArray[np.floating]],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int,
    names: Sequence[str],
    bins: int = BINS,
) -> ScoredConditions:
    """Score every condition in every resample of whole groups; a resample is the same for all conditions.

    Args:
        labels: (n,) class indices, n >= 1.
        probabilities: condition to probabilities (n, k) of the same films in the same order; the reference first.
        groups: n group names; films of one group are drawn together.
        seed: of the draws.
        resamples: their number.
        names: k class names.
        bins: of the expected calibration error, of equal mass in each condition.

    Raises:
        CxrError: no condition, no film, or shapes that do not match.
    """
    n = len(labels)
    if not probabilities or not n:
        raise CxrError("No films or no conditions to score: sweep the test split first.")
    if len(groups) != n:
        raise CxrError(f"{n} films and {len(groups)} groups do not match: pass one group a film.")
    for condition, p in probabilities.items():
        if p.shape != (n, len(names)):
            raise CxrError(
                f"Probabilities of {condition} have the shape {p.shape}, not {(n, len(names))}: sweep again."
            )
    whole = [WeightedScores(labels, p) for p in probabilities.values()]
    errors = [calibration_scores(labels, p, bins) for p in probabilities.values()]

    def scored(weights: Floats) -> dict[str, Floats]:
        overall = [one.scores(weights, precision_recall=False)[0] for one in whole]
        found = {score: np.stack([one[score] for one in overall]) for score in _OVERALL}
        return {**found, ERROR: np.stack([one(weights)[ERROR] for one in errors])}

    blocks = [scored(weights) for weights in resample_weights(groups, seed, resamples)]
    return ScoredConditions(
        tuple(probabilities),
        tuple(Counts.of(labels, p.argmax(axis=1), groups, names) for p in probabilities.values()),
        {score: values[:, 0] for score, values in scored(np.ones((1, n))).items()},
        {score: np.concatenate([block[score] for block in blocks], axis=1) for score in SCORES},
        n,
    )


def simultaneous_tolerance(values: Floats, spreads: Floats, level: float = LEVEL) -> Floats:
    """How far each of many differences may lie above 0 by chance, such that all keep to it with probability ``level``.

    The largest of the studentised differences in each resample gives one quantile for all (single-step max-t: Westfall
    and Young, Resampling-Based Multiple Testing, 1993, section 2.6; the bootstrap that keeps the differences'
    dependence: Romano and Wolf, Econometrica 2005). For differences below 0 pass them with the opposite sign.

    Args:
        values: (p,) differences.
        spreads: (p, resamples) their resampled values, NaN where undefined.
        level: of all together.

    Returns:
        (p,) tolerances, >= 0; 0 where the resamples do not differ, NaN where there is none.
    """
    if not spreads.size:
        return np.full(len(values), np.nan)
    known = ~np.isnan(spreads)
    count = known.sum(axis=1)
    centred = np.where(known, spreads - values[:, None], 0.0)
    mean = centred.sum(axis=1) / np.maximum(count, 1)
    squares = np.where(known, (centred - mean[:, None]) ** 2, 0.0).sum(axis=1)
    errors = np.sqrt(squares / np.maximum(count - 1, 1))
    errors[errors < 1e-12] = 0.0  # sums of thousands of numbers below 1 in float64 are good to 1e-13
    moving = errors > 0
    if not moving.any():
        return np.where(count > 1, 0.0, np.nan)
    largest = (centred[moving] / errors[moving, None]).max(axis=0)
    quantile = max(0.0, float(np.quantile(largest, level)))
    return np.where(count > 1, quantile * errors, np.nan)
