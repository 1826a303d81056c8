"""What a measure gains under each condition and on average: paired over the same resamples of patient groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import resample_weights
from cxr_core.evaluation.calibration import ERROR, calibration_scores
from cxr_core.evaluation.intervals import Counts, entry, undefined
from cxr_core.evaluation.paired import difference_entry
from cxr_core.evaluation.weighted import WeightedScores

__all__ = ["DIRECTIONS", "Gains"]

Floats = npt.NDArray[np.float64]
Probabilities = Mapping[str, Mapping[str, Floats]]  # condition to arm to (n, k)

# Scores, and which way is better: a gain is positive where the measure does better.
DIRECTIONS: Mapping[str, int] = {"accuracy": 1, "macro_auc": 1, "log_loss": -1, ERROR: -1}


@dataclass(frozen=True)
class _Answer:
    """Scores of one arm under one condition: of the films, of each resample, and why one has none."""

    values: dict[str, float]
    spreads: dict[str, Floats]
    missing: dict[str, str]
    few: dict[str, str | None]


class Gains:
    """Every arm's scores under every condition, ready to be compared.

    Args:
        labels: (n,) class indices, n >= 1.
        groups: n group names; films of one group are drawn together.
        names: k class names.
        probabilities: condition to arm to calibrated probabilities (n, k).
        seed, resamples: of the bootstrap; all arms and conditions see the same resamples.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.integer],
        groups: Sequence[str],
        names: Sequence[str],
        probabilities: Probabilities,
        seed: int,
        resamples: int,
    ) -> None:
        self._answers: dict[tuple[str, str], _Answer] = {}
        weights = list(resample_weights(groups, seed, resamples))
        for condition, arms in probabilities.items():
            for arm, said in arms.items():
                scored, calibration = WeightedScores(labels, said), calibration_scores(labels, said)

                def scores(
                    weighting: Floats, scored: WeightedScores = scored, calibration: Any = calibration
                ) -> dict[str, Floats]:
                    overall, _ = scored.scores(weighting, precision_recall=False)
                    both = {**overall, ERROR: calibration(weighting)[ERROR]}
                    return {score: both[score] for score in DIRECTIONS}

                values = {score: float(found[0]) for score, found in scores(np.ones((1, len(labels)))).items()}
                blocks = [scores(block) for block in weights]
                counts = Counts.of(labels, said.argmax(axis=1), groups, names)
                missing = {
                    score: why
                    for score, value in values.items()
                    if (why := undefined(None if np.isnan(value) else value, score, None, counts))
                }
                spreads = {score: np.concatenate([block[score] for block in blocks]) for score in DIRECTIONS}
                few = {score: counts.too_few(score, None) for score in DIRECTIONS}
                self._answers[condition, arm] = _Answer(values, spreads, missing, few)

    def scores(self, condition: str, arm: str) -> dict[str, Any]:
        """Each score of an arm under a condition, with its interval."""
        answer = self._answers[condition, arm]
        return {
            score: entry(
                None if score in answer.missing else answer.values[score],
                answer.spreads[score],
                answer.few[score],
                answer.missing.get(score),
            )
            for score in DIRECTIONS
        }

    def gain(self, conditions: Sequence[str], arm: str, against: str) -> dict[str, Any]:
        """Mean over conditions of what an arm gains over another, each score positive where it does better.

        Args:
            conditions: their names; one, or several that count alike.
            arm, against: names of arms.

        Returns:
            Each name in :data:`DIRECTIONS` to ``value``, ``low``, ``high``, ``p_value`` of no difference, and a
            ``reason`` where one of them is not available.
        """
        return {score: self._gain(conditions, arm, against, score) for score in DIRECTIONS}

    def _gain(self, conditions: Sequence[str], arm: str, against: str, score: str) -> dict[str, Any]:
        if not conditions:
            return unavailable("no condition is of this kind", p_value=None)
        pairs = [(self._answers[name, arm], self._answers[name, against]) for name in conditions]
        for answer in (side for pair in pairs for side in pair):
            if why := answer.missing.get(score):
                return unavailable(why, p_value=None)
        direction = DIRECTIONS[score]
        value = direction * float(np.mean([a.values[score] - b.values[score] for a, b in pairs])) + 0.0  # never -0
        spread = direction * np.mean([a.spreads[score] - b.spreads[score] for a, b in pairs], axis=0) + 0.0
        few = next((side.few[score] for pair in pairs for side in pair if side.few[score]), None)
        return difference_entry(value, spread, few)
