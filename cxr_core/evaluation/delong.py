"""DeLong's variance of an area under the ROC curve, and his test of two areas on the same films.

DeLong, DeLong and Clarke-Pearson, Biometrics 1988, by the fast algorithm of Sun and Xu, IEEE Signal Processing Letters
2014: midranks in place of all pairs, O(n log n).

It takes films as independent. Where patients or copies give several films, its intervals are too narrow and its
p-values too small: then :func:`~cxr_core.evaluation.paired.paired_difference`, which draws whole groups, is the test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import LEVEL

__all__ = ["delong_by_class", "delong_covariance", "delong_interval", "delong_test"]

Floats = npt.NDArray[np.float64]

_LEAST = 2  # films on each side: a variance of one number is undefined


def delong_covariance(
    positive: npt.NDArray[Any], scores: Sequence[npt.NDArray[np.floating]]
) -> tuple[Floats, Floats] | None:
    """Areas under the ROC curves of several scores of the same films, and their covariance.

    Args:
        positive: (n,) whether a film is of the class.
        scores: m arrays (n,), larger for more likely.

    Returns:
        Areas (m,), ties counted half, and covariance (m, m); None with fewer than two films on either side.

    Raises:
        CxrError: lengths that do not match, or scores that are no numbers.
    """
    truth = np.asarray(positive).astype(bool)
    values = np.array([np.asarray(one, np.float64) for one in scores])
    if values.shape[1:] != truth.shape:
        raise CxrError(f"{values.shape[1]} scores and {len(truth)} films do not match: score the same films.")
    if not np.isfinite(values).all():
        raise CxrError("Some scores are no numbers: pass probabilities of every film.")
    ones, zeros = int(truth.sum()), int((~truth).sum())
    if min(ones, zeros) < _LEAST:
        return None
    all_ranks = np.array([_midranks(one) for one in values])
    own_ones = np.array([_midranks(one[truth]) for one in values])
    own_zeros = np.array([_midranks(one[~truth]) for one in values])
    of_ones = (all_ranks[:, truth] - own_ones) / zeros  # share of the negatives below each positive
    of_zeros = 1 - (all_ranks[:, ~truth] - own_zeros) / ones  # share of the positives above each negative
    covariance = np.atleast_2d(np.cov(of_ones)) / ones + np.atleast_2d(np.cov(of_zeros)) / zeros
    return of_ones.mean(axis=1), covariance


def delong_interval(labels: npt.NDArray[Any], scores: npt.NDArray[np.floating], level: float = LEVEL) -> dict[str, Any]:
    """An area under the ROC curve with its normal interval, cut at 0 and 1; takes films as independent.

    Args:
        labels: (n,) whether a film is of the class.
        scores: (n,) larger for more likely.
        level: of the interval.

    Returns:
        ``value``, ``low``, ``high``, ``standard_error``, ``films``, ``positives``; a ``reason`` where not available.
    """
    about = _about(labels)
    found = delong_covariance(labels, [scores])
    if found is None:
        return unavailable(_too_few(about), **about)
    area, error = float(found[0][0]), math.sqrt(max(0.0, float(found[1][0, 0])))
    if error == 0:
        return available(area, reason="no interval: the estimated variance is zero", standard_error=0.0, **about)
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return available(area, max(0.0, area - reach), min(1.0, area + reach), standard_error=error, **about)


def delong_test(
    labels: npt.NDArray[Any],
    scores_a: npt.NDArray[np.floating],
    scores_b: npt.NDArray[np.floating],
    level: float = LEVEL,
) -> dict[str, Any]:
    """DeLong's test of two correlated areas under the ROC curve; takes films as independent.

    Args:
        labels: (n,) whether a film is of the class.
        scores_a, scores_b: (n,) of the same films, larger for more likely.
        level: of the interval.

    Returns:
        ``value`` (area of a, less that of b), ``low``, ``high``, ``auc_a``, ``auc_b``, ``standard_error``, ``z``,
        ``p_value`` (two-sided, normal), ``films``, ``positives``; a ``reason`` where not available.
    """
    about = _about(labels)
    found = delong_covariance(labels, [scores_a, scores_b])
    if found is None:
        return unavailable(_too_few(about), p_value=None, **about)
    (a, b), covariance = found[0].tolist(), found[1]
    error = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    more = {"auc_a": a, "auc_b": b, **about}
    if error <= _smallest(covariance):
        why = "no interval: the estimated variance of the difference is zero"
        return available(a - b, reason=why, standard_error=0.0, z=None, p_value=None, **more)
    z = (a - b) / error
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    p_value = math.erfc(abs(z) / math.sqrt(2))
    return available(a - b, a - b - reach, a - b + reach, standard_error=error, z=z, p_value=p_value, **more)


def delong_by_class(
    labels: npt.NDArray[np.integer],
    probabilities_a: npt.NDArray[np.floating],
    probabilities_b: npt.NDArray[np.floating],
    names: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """:func:`delong_test` of each class against the rest.

    Args:
        labels: (n,) class indices.
        probabilities_a, probabilities_b: (n, k) of the same films.
        names: k class names.
    """
    return {
        name: delong_test(labels == place, probabilities_a[:, place], probabilities_b[:, place])
        for place, name in enumerate(names)
    }


def _midranks(values: Floats) -> Floats:
    """Rank of each value from 1, equal values sharing the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[places], np.float64)


def _smallest(covariance: Floats) -> float:
    """Below this a standard error of the difference is rounding: what cancels is as large as the variances."""
    return math.sqrt(8 * float(np.finfo(np.float64).eps) * float(np.trace(covariance)))


def _about(labels: npt.NDArray[Any]) -> dict[str, int]:
    truth = np.asarray(labels).astype(bool)
    return {"films": len(truth), "positives": int(truth.sum())}


def _too_few(about: dict[str, int]) -> str:
    negatives = about["films"] - about["positives"]
    return f"{about['positives']} films of the class and {negatives} others, at least {_LEAST} of each are needed"
