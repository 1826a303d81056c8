"""Confident learning: which labels a head that never saw the patient contradicts, and how many are wrong.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021: the confident
joint (equation 1), class thresholds (2), calibration to the label counts (3), pruning by the noise rate of each pair of
classes, ranked by the margin between the two. Written anew from the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError

__all__ = ["Confident", "calibrated_joint", "confident_joint", "confident_learning", "thresholds_of"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Confident:
    """What confident learning says of n films.

    Attributes:
        thresholds: (k,) mean probability of a class over the films filed under it; NaN for a class without films.
        joint: (k, k) estimated films by filed label (rows) and true class (columns); rows add up to the films filed.
        suspects: (n,) whether the label is called wrong.
        suggested: (n,) most probable other class.
        self_confidence: (n,) probability of the label as filed.
        margin: (n,) probability of the suggested class minus that of the filed one, -1 to 1.
    """

    thresholds: Floats
    joint: Floats
    suspects: Flags
    suggested: Integers
    self_confidence: Floats
    margin: Floats


def confident_learning(
    labels: Integers, probabilities: Floats, trusted: Flags | None = None, counted: Flags | None = None
) -> Confident:
    """Find wrong labels.

    Args:
        labels: (n,) class indices as filed.
        probabilities: (n, k) out of fold.
        trusted: (n,) films that set the thresholds; default all.
        counted: (n,) films that may be suspects and enter the joint; default all.

    Returns:
        The thresholds, the joint, the suspects: of each pair of classes as many films as the joint says, those of
        largest margin first; ties go to the earlier row.

    Raises:
        CxrError: shapes that do not fit.
    """
    n, k = probabilities.shape
    if labels.shape != (n,) or (n and not 0 <= int(labels.min()) <= int(labels.max()) < k):
        raise CxrError(f"{len(labels)} labels do not fit probabilities of {n} films and {k} classes: predict again.")
    inside = np.ones(n, bool) if counted is None else counted
    thresholds = thresholds_of(labels, probabilities, np.ones(n) if trusted is None else trusted.astype(np.float64))
    films = np.bincount(labels[inside], minlength=k).astype(np.float64)
    joint = calibrated_joint(confident_joint(labels, probabilities, thresholds, inside.astype(np.float64)), films)
    rows = np.arange(n)
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1.0
    suggested = others.argmax(axis=1).astype(np.int64)
    suspects = np.zeros(n, bool)
    for label in range(k):
        filed = np.flatnonzero((labels == label) & inside)
        for other in range(k):
            count = round(float(joint[label, other])) if other != label else 0
            order = np.argsort(probabilities[filed, label] - probabilities[filed, other], kind="stable")
            suspects[filed[order[:count]]] = True
    margin = probabilities[rows, suggested] - own
    return Confident(thresholds, joint, suspects, suggested, own, margin)


def thresholds_of(labels: Integers, probabilities: Floats, weights: Floats) -> Floats:
    """Mean probability of each class over the films filed under it, (k,); NaN where none counts.

    Args:
        labels: (n,).
        probabilities: (n, k).
        weights: (n,) how often each film counts.
    """
    k = probabilities.shape[1]
    counts = np.bincount(labels, weights, minlength=k)
    sums = np.bincount(labels, weights * probabilities[np.arange(len(labels)), labels], minlength=k)
    return np.divide(sums, counts, out=np.full(k, np.nan), where=counts > 0)


def confident_joint(labels: Integers, probabilities: Floats, thresholds: Floats, weights: Floats) -> Floats:
    """Films by filed label and by the class that is confidently present, (k, k).

    A class is confidently present where its probability reaches its threshold; of several the most probable one, of
    equals the one that is filed.
    """
    k = probabilities.shape[1]
    with np.errstate(invalid="ignore"):
        reached = probabilities >= thresholds
    candidates = np.where(reached, probabilities, -1.0)
    present = candidates.argmax(axis=1)
    own = candidates[np.arange(len(labels)), labels]
    present = np.where((own >= 0) & (own == candidates.max(axis=1)), labels, present)
    cells = labels * k + present
    some = reached.any(axis=1)
    counts = np.bincount(cells[some], weights[some], minlength=k * k).astype(np.float64)
    return counts.reshape(k, k)


def calibrated_joint(counts: Floats, films: Floats) -> Floats:
    """The confident joint scaled so that each row adds up to the films filed under its label.

    Args:
        counts: (k, k) of :func:`confident_joint`.
        films: (k,) films of each label.

    Returns:
        (k, k) films; a label of which no film is confident is taken as it is filed.
    """
    sums = counts.sum(axis=1, keepdims=True)
    return np.where(sums > 0, counts / np.where(sums > 0, sums, 1), np.eye(len(counts))) * films[:, None]
