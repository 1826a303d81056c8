"""The logistic head that judges labels, always on films of patients that it never saw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Head", "fit_head", "out_of_fold", "scores_of"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_STEPS = 2000  # of the solver, far beyond what films of length 1 need


class Head:
    """A fitted head: ``decide`` gives log odds or scores of each class it has seen."""

    def __init__(self, space: Floats, labels: npt.NDArray[np.int64], strength: float, weights: Floats | None) -> None:
        from sklearn.linear_model import LogisticRegression

        self.seen = np.unique(labels)
        self._fitted = None
        if len(self.seen) > 1:
            self._fitted = LogisticRegression(C=strength, max_iter=_STEPS).fit(space, labels, sample_weight=weights)

    def probabilities(self, space: Floats, classes: int) -> Floats:
        """(n, classes); a class that was not among the training films has probability 0."""
        found = np.zeros((len(space), classes))
        found[:, self.seen] = 1.0 if self._fitted is None else self._fitted.predict_proba(space)
        return found

    def log_odds(self, space: Floats) -> Floats:
        """(n,) of the larger of two classes; 0 where there was only one."""
        if self._fitted is None:
            return np.zeros(len(space))
        found: Floats = np.asarray(self._fitted.decision_function(space), np.float64)
        return found


def fit_head(space: Floats, labels: npt.NDArray[np.int64], strength: float, weights: Floats | None = None) -> Head:
    """Fit a logistic regression with an L2 penalty.

    Args:
        space: (n, r) coordinates of :func:`~cxr_core.trust.label_space.audit_space`.
        labels: (n,) class indices.
        strength: inverse weight of the penalty, > 0.
        weights: (n,) how much each film counts; default 1.
    """
    return Head(space, labels, strength, weights)


def out_of_fold(
    space: Floats,
    labels: npt.NDArray[np.int64],
    fold: npt.NDArray[np.int64],
    classes: int,
    strength: float,
    left_out: Flags | None = None,
) -> Floats:
    """Probabilities of each film by a head that was trained on the other folds.

    Args:
        space: (n, r).
        labels: (n,) class indices as filed.
        fold: (n,) of :func:`cxr_core.evaluation.folds.deal_folds`: patient groups whole.
        classes: number of classes.
        strength: of the head.
        left_out: (n,) films that teach nothing but are judged all the same.

    Returns:
        (n, classes) float64, rows adding up to 1.
    """
    taught = np.ones(len(labels), bool) if left_out is None else ~left_out
    found = np.full((len(labels), classes), 1.0 / classes)
    for number in np.unique(fold):
        inside, train = fold == number, (fold != number) & taught
        if train.any():
            found[inside] = fit_head(space[train], labels[train], strength).probabilities(space[inside], classes)
    return found


def scores_of(
    space: Floats,
    positive: Flags,
    weights: Floats,
    fold: npt.NDArray[np.int64],
    strength: float,
) -> Floats:
    """Log odds of each film by a two-class head of the other folds, films counting in part for either class.

    Args:
        space: (n, r).
        positive: (n,) the class that a film is filed under.
        weights: (n,) 0-1, trust in that; the rest counts for the other class.
        fold: (n,) patient groups whole.
        strength: of the head.

    Returns:
        (n,) log odds of the positive class.
    """
    found = np.zeros(len(space))
    for number in np.unique(fold):
        rows = np.flatnonzero(fold != number)
        twice = np.concatenate([rows, rows])
        said = np.concatenate([positive[rows], ~positive[rows]]).astype(np.int64)
        counts = np.concatenate([weights[rows], 1 - weights[rows]])
        kept = counts > 0
        head = fit_head(space[twice[kept]], said[kept], strength, counts[kept])
        found[fold == number] = head.log_odds(space[fold == number])
    return found
