"""Classifier two-sample test: how well a linear head tells corrupted from clean versions, out of fold.

Lopez-Paz and Oquab, ICLR 2017. The head is the first Newton step, from zero, of logistic regression with an L2 penalty:
ridge regression onto -1 and 1. It is linear in the labels, so that a permutation of clean and corrupted refits every
fold at the price of one product of matrices, where iterated heads would cost thousands of fits a condition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FOLDS", "PENALTY", "fold_auc", "head_operator", "out_of_fold_auc", "standardised_gram", "swapped_auc"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOLDS = 5
PENALTY = 0.1  # of the ridge, in mean squared norms of a standardised embedding: flat optimum of .03-1 on public films
_DECIMALS = 9  # scores closer than that are equal: versions without any difference have an area of .5
_BLOCK = 1 << 21  # comparisons held at once: 16 MiB


def standardised_gram(rows: Floats) -> Floats:
    """Products of rows (n, d) with unit variance a column, mean squared norm 1, and a constant feature for the offset.

    Columns are standardised over all rows, clean and corrupted, which no exchange of versions changes.
    """
    spread = rows.std(axis=0)
    kept = spread > 1e-9 * max(float(np.abs(rows).max(initial=0.0)), 1e-300)
    scaled = (rows[:, kept] - rows[:, kept].mean(axis=0)) / spread[kept]
    return np.asarray(scaled @ scaled.T / max(1, int(kept.sum())) + 1.0, np.float64)


def head_operator(gram: Floats, folds: Ints, penalty: float = PENALTY) -> Floats:
    """The matrix (n, n) that turns labels of -1 and 1 into out-of-fold scores, a row from a fit without its own fold.

    With H = G (G + penalty I)^-1, the scores of fold k by a fit on the others are (I - H_kk)^-1 H_k,-k y_-k (Allen,
    Technometrics 1974, for whole folds).

    Args:
        gram: (n, n) from :func:`standardised_gram`.
        folds: (n,) fold of each row.
        penalty: > 0.
    """
    n = len(gram)
    hat = np.linalg.solve(gram + penalty * np.eye(n), gram)
    operator = np.zeros((n, n))
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        own = np.eye(len(inside)) - hat[np.ix_(inside, inside)]
        operator[np.ix_(inside, outside)] = np.linalg.solve(own, hat[np.ix_(inside, outside)])
    return operator


def fold_auc(scores: Floats, corrupted: npt.NDArray[np.bool_], folds: Ints) -> float:
    """Chance that of a corrupted and a clean row of one fold the corrupted one scores higher, ties half; NaN: none."""
    found, pairs = 0.0, 0
    rounded = np.round(scores, _DECIMALS)
    for fold in np.unique(folds):
        inside = folds == fold
        above = rounded[inside & corrupted][:, None] - rounded[inside & ~corrupted][None]
        found += float((1 + np.sign(above)).sum()) / 2
        pairs += above.size
    return found / pairs if pairs else float("nan")


def out_of_fold_auc(gram: Floats, corrupted: npt.NDArray[np.bool_], folds: Ints, penalty: float = PENALTY) -> float:
    """Area of the head's out-of-fold scores, inside folds; see :func:`head_operator`, :func:`fold_auc`."""
    scores = head_operator(gram, folds, penalty) @ np.where(corrupted, 1.0, -1.0)
    return fold_auc(scores, corrupted, folds)


def swapped_auc(operator: Floats, signs: Floats, folds: Ints) -> Floats:
    """Areas after exchanging versions, every fold fitted again.

    Args:
        operator: (2 n, 2 n) of n clean rows and then n corrupted ones, both in the same order and fold.
        signs: (b, n) of 1, and -1 where the versions of a film are exchanged.
        folds: (n,) fold of each film.

    Returns:
        (b,) areas.
    """
    n = signs.shape[1]
    clean = operator[:n, n:] - operator[:n, :n]
    corrupted = operator[n:, n:] - operator[n:, :n]
    result = np.zeros(len(signs))
    sizes = np.bincount(folds)
    step = max(1, _BLOCK // max(1, int((sizes**2).max())))
    for start in range(0, len(signs), step):
        some = signs[start : start + step]
        first, second = np.round(some @ clean.T, _DECIMALS), np.round(some @ corrupted.T, _DECIMALS)
        high, low = np.where(some > 0, second, first), np.where(some > 0, first, second)
        for fold in np.unique(folds):
            inside = folds == fold
            above = np.sign(high[:, inside, None] - low[:, None, inside])
            result[start : start + step] += above.sum(axis=(1, 2))
    pairs = float((sizes**2).sum())
    return (result + pairs) / (2 * pairs)
