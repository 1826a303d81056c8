"""Bootstrap of whole groups (patients, copies): the spread that a score would show in other samples of the same kind.

Percentile intervals: Efron, Annals of Statistics 1979; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 13. Groups are drawn whole, since films of one patient are not independent: Field and Welsh, JRSS B 2007.
Equal groups and seed give equal draws, so that two models or conditions are compared on the same resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.weighted import Ranking, WeightedScores

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "SCORES",
    "Interval",
    "Ranking",
    "Resampled",
    "exact_interval",
    "is_flat",
    "joined",
    "percentile_interval",
    "resample_weights",
    "resampled_all",
    "resampled_scores",
]

Floats = npt.NDArray[np.float64]
Interval = dict[str, float]
Resampled = tuple[dict[str, Floats], dict[str, Floats]]  # overall scores, scores of each class

LEVEL = 0.95  # of the intervals
RESAMPLES = 2000  # at least 1,000 for percentile intervals: Efron and Tibshirani 1993, section 14.3
SCORES: tuple[str, ...] = ("accuracy", "macro_f1", "macro_auc", "mean_confidence")
_BLOCK = 1 << 17  # weights held at once: 131,072 float64 are 1 MiB, which a processor's cache holds
_ROUNDING = 1e-12  # sums of thousands of numbers below 1 in float64 are good to 1e-13


def resample_weights(groups: Sequence[str] | npt.NDArray[np.object_], seed: int, resamples: int) -> Iterator[Floats]:
    """How often each film counts in each resample of groups drawn with replacement.

    Args:
        groups: n group names.
        seed: of the draws.
        resamples: number of resamples.

    Yields:
        (b, n) float64 blocks, ``resamples`` rows in all.
    """
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if not len(names):
        yield np.zeros((resamples, 0))
        return
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // max(1, len(codes)))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, len(names), (rows, len(names))) * rows + np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * len(names)).astype(np.float64)
        yield counts.reshape(len(names), rows)[codes].T  # films first in memory, as the scores go through them


def resampled_scores(
    labels: npt.NDArray[np.integer],
    conditions: Sequence[npt.NDArray[np.floating]],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int = RESAMPLES,
) -> list[dict[str, Floats]]:
    """Scores of each condition in each resample; every condition sees the same resamples.

    Args:
        labels: (n,) class indices.
        conditions: probabilities (n, k) of the same films, once a condition.
        groups: n group names.
        seed: of the draws.
        resamples: number of resamples.

    Returns:
        For each condition the names in :data:`SCORES` to (resamples,) values. Macro scores are means over the classes
        that occur in ``labels``; NaN in a resample from which one of them is missing.
    """
    found = _resampled(labels, conditions, groups, seed, resamples, precision_recall=False)
    return [{name: overall[name] for name in SCORES} for overall, _ in found]


def resampled_all(
    labels: npt.NDArray[np.integer],
    conditions: Sequence[npt.NDArray[np.floating]],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int = RESAMPLES,
) -> list[Resampled]:
    """Every score of each condition in each resample; every condition sees the same resamples.

    Args:
        labels, conditions, groups, seed, resamples: as :func:`resampled_scores`.

    Returns:
        For each condition the names in :data:`~cxr_core.evaluation.weighted.OVERALL` to (resamples,) values, and those
        in :data:`~cxr_core.evaluation.weighted.PER_CLASS` to (resamples, k) values; NaN where undefined.
    """
    return _resampled(labels, conditions, groups, seed, resamples, precision_recall=True)


def joined(parts: Sequence[Resampled]) -> Resampled:
    """Scores of several blocks of resamples as those of one."""
    overall, per_class = ({name: np.concatenate([part[side][name] for part in parts]) for name in parts[0][side]}
                          for side in (0, 1))  # fmt: skip
    return overall, per_class


def _resampled(
    labels: npt.NDArray[np.integer],
    conditions: Sequence[npt.NDArray[np.floating]],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int,
    precision_recall: bool,
) -> list[Resampled]:
    prepared = [WeightedScores(labels, probabilities) for probabilities in conditions]
    blocks: list[list[Resampled]] = [[] for _ in prepared]
    for weights in resample_weights(groups, seed, resamples):
        for place, condition in enumerate(prepared):
            blocks[place].append(condition.scores(weights, precision_recall))
    return [joined(parts) for parts in blocks]


def exact_interval(share: float, groups: int) -> Interval | None:
    """Clopper-Pearson interval (Biometrika 1934) of a share that is 1 or 0 in all of so many independent groups."""
    if share not in (0.0, 1.0) or groups < 1:
        return None
    bound = ((1 - LEVEL) / 2) ** (1 / groups)
    return {"low": bound, "high": 1.0} if share == 1.0 else {"low": 0.0, "high": 1 - bound}


def percentile_interval(values: Floats, level: float = LEVEL, keep_flat: bool = False) -> Interval | None:
    """Interval that holds the middle ``level`` of resampled values, NaN left out.

    None where most of them are NaN, and where they are all equal but for rounding: a sample without any error gives
    resamples without any, which says nothing of what another sample would hold. ``keep_flat`` keeps that interval of no
    width: a paired difference that is zero in every resample is one.
    """
    known = values[~np.isnan(values)]
    if 2 * len(known) < max(len(values), 2) or (not keep_flat and is_flat(known)):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return {"low": low, "high": high}


def is_flat(values: Floats) -> bool:
    """Whether resampled values, NaN left out, do not differ but for rounding; true where there is none."""
    known = values[~np.isnan(values)]
    return not len(known) or bool(np.ptp(known) <= _ROUNDING * max(1.0, float(np.abs(known).max())))
