"""Prediction sets: the classes that cannot be ruled out; the true one is among them as often as promised.

Split-conformal prediction (Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates, A gentle introduction to conformal
prediction, 2021) with the score of Sadinle, Lei and Wasserman, JASA 2019: 1 minus the probability of the true class.
The promise needs the calibration films and the new film to be exchangeable. Films of one patient group are not, so a
group counts once, whatever its films: each of its N films weighs 1 / N and the new group has the weight of one at
infinity (hierarchical conformal prediction: Lee, Barber and Willett, Distribution-free inference with hierarchical
data, 2023, section 3). With one film a group that is the usual quantile, the ceil((n + 1) x level)-th smallest score.
What is promised holds for a film drawn at random from a new group; films from elsewhere are promised nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import finite_probabilities

__all__ = [
    "RECORD",
    "SCORE",
    "ClassQuantile",
    "PredictionSets",
    "conformal_quantile",
    "exact_level",
    "fewest_groups",
    "fit_prediction_sets",
]

RECORD = "prediction_sets.json"  # file that holds a PredictionSets, in the artefact and in the model package
SCORE = "1 - uncalibrated softmax probability of the class"

Labels = npt.NDArray[np.integer]
Probabilities = npt.NDArray[np.floating]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClassQuantile(_Record):
    """Largest score with which one class is still in a set.

    Attributes:
        label: the class.
        quantile: 0-1; None where its films are too few, and then the class is in every set.
        reason: why there is none; empty otherwise.
        films, groups: of the class, that it comes from.
    """

    label: str
    quantile: float | None = Field(None, ge=0, le=1)
    reason: str = ""
    films: int = Field(ge=0)
    groups: int = Field(ge=0)


class PredictionSets(_Record):
    """Fitted prediction sets, marginal and class-conditional.

    Attributes:
        level: promised share of films whose set holds the true class: over all films by the marginal sets, inside each
            class by the class-conditional ones (Mondrian; Vovk 2012; Sadinle et al. 2019).
        score: what the quantiles are compared with.
        quantile: the marginal one, 0-1; None where the films are too few, and then every class is in every set.
        reason: why there is none; empty otherwise.
        films, groups: that it comes from.
        classes: the quantile of each class, in output order. A class without one is in every set: only that keeps
            its promise; the marginal quantile, learnt from other classes, would promise it nothing.
    """

    level: float = Field(gt=0, lt=1)
    score: str = SCORE
    quantile: float | None = Field(None, ge=0, le=1)
    reason: str = ""
    films: int = Field(ge=0)
    groups: int = Field(ge=0)
    classes: tuple[ClassQuantile, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in output order."""
        return tuple(one.label for one in self.classes)

    def quantiles(self, conditional: bool) -> npt.NDArray[np.float64]:
        """Quantile of each class, (k,); infinite where there is none."""
        found = [one.quantile for one in self.classes] if conditional else [self.quantile] * len(self.classes)
        return np.array([math.inf if quantile is None else quantile for quantile in found])

    def sets(self, uncalibrated_probabilities: Probabilities, conditional: bool) -> npt.NDArray[np.bool_]:
        """Which classes are in the set of each film; a set may be empty: no class is plausible.

        Args:
            uncalibrated_probabilities: (n, k), softmax of the logits as they are.
            conditional: the class-conditional sets instead of the marginal ones.

        Returns:
            (n, k).

        Raises:
            CxrError: another number of classes, or values that are no probabilities.
        """
        return _scores(uncalibrated_probabilities, len(self.classes)) <= self.quantiles(conditional)


def fit_prediction_sets(
    probabilities: Probabilities,
    labels: Labels,
    names: Sequence[str],
    level: float,
    groups: Sequence[str] | npt.NDArray[np.object_] | None = None,
) -> PredictionSets:
    """Fit marginal and class-conditional sets.

    Args:
        probabilities: (n, k), softmax of the uncalibrated logits of films that trained nothing.
        labels: (n,) class indices, 0 to k - 1.
        names: k class names.
        level: promised coverage, 0-1.
        groups: n group names; None: each film is a group.

    Raises:
        CxrError: shapes that do not match, labels out of range, values that are no probabilities.
    """
    scores = _scores(probabilities, len(names))
    if len(labels) != len(scores):
        raise CxrError(f"{len(labels)} labels do not fit {len(scores)} rows of probabilities: predict again.")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(names)):
        raise CxrError(
            f"Labels run from {labels.min()} to {labels.max()} but there are {len(names)} classes: check label_index."
        )
    clusters = np.arange(len(labels)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    chosen = scores[np.arange(len(labels)), labels]
    overall = _quantile(chosen, clusters, level)
    classes = [
        ClassQuantile(label=name, **_quantile(chosen[labels == place], clusters[labels == place], level))
        for place, name in enumerate(names)
    ]
    return PredictionSets(level=level, **overall, classes=tuple(classes))


def conformal_quantile(
    scores: npt.NDArray[np.floating], groups: Sequence[str] | npt.NDArray[Any], level: float
) -> float | None:
    """Smallest score below or at which lie ``level`` of the groups and the new one, which is taken to lie above all.

    Args:
        scores: (n,) of the true classes.
        groups: n group names; each weighs 1, spread over its films.
        level: 0-1.

    Returns:
        The quantile; None where there are fewer groups than :func:`fewest_groups`.
    """
    _, codes, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    needed = (len(sizes) + 1) * exact_level(level)
    if needed > len(sizes):
        return None
    order = np.argsort(scores, kind="stable")
    unit = math.lcm(*sizes.tolist())  # weights as whole numbers: a rounded sum could miss the rank by one
    shares = [unit // size for size in sizes.tolist()]
    target, passed = needed * unit, 0
    for place in order.tolist():
        passed += shares[codes[place]]
        if passed >= target:
            return float(scores[place])
    raise AssertionError("unreachable: all groups together reach the target")


def fewest_groups(level: float) -> int:
    """Groups that a quantile needs: ceil(1 / (1 - level)) - 1; with fewer its rank lies beyond the last of them."""
    return math.ceil(1 / (1 - exact_level(level))) - 1


def _quantile(scores: npt.NDArray[np.float64], groups: npt.NDArray[Any], level: float) -> dict[str, Any]:
    count = len(np.unique(groups))
    found = conformal_quantile(scores, groups, level)
    reason = "" if found is not None else f"{count} patient groups; a level of {level:g} needs {fewest_groups(level)}"
    return {"quantile": found, "reason": reason, "films": len(scores), "groups": count}


def exact_level(level: float) -> Fraction:
    """A level as it is written: 0.9 is nine tenths, so that 100 x 0.9 has rank 90, not 91."""
    return Fraction(repr(float(level)))


def _scores(probabilities: Probabilities, classes: int) -> npt.NDArray[np.float64]:
    values = finite_probabilities(probabilities)
    if values.ndim != 2 or values.shape[1] != classes:
        raise CxrError(f"Probabilities of shape {values.shape} do not fit {classes} classes: predict again.")
    if values.size and (values.min() < 0 or values.max() > 1):
        raise CxrError("Some probabilities lie outside 0 to 1: pass softmax of the logits.")
    return 1 - values
