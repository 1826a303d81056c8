"""Bootstrap of whole groups (patients, copies): the spread that a score would show in other samples of the same kind.

Percentile intervals: Efron, Annals of Statistics 1979; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 13. Groups are drawn whole, since films of one patient are not independent: Field and Welsh, JRSS B 2007.
Equal groups and seed give equal draws, so that two models or conditions are compared on the same resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "SCORES",
    "Interval",
    "Ranking",
    "percentile_interval",
    "resample_weights",
    "resampled_scores",
]

Floats = npt.NDArray[np.float64]
Interval = dict[str, float]

LEVEL = 0.95  # of the intervals
RESAMPLES = 1000  # enough for percentile intervals: Efron and Tibshirani 1993, section 14.3
SCORES: tuple[str, ...] = ("accuracy", "macro_f1", "macro_auc", "mean_confidence")
_BLOCK = 1 << 22  # weights held at once: 4 million float64 are 32 MiB


class Ranking:
    """Films sorted by a score once, so that the area under the ROC curve of many weightings is cheap.

    Args:
        positive: (n,) whether a film is of the class.
        scores: (n,) larger for more likely.
    """

    def __init__(self, positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = np.asarray(scores)[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self._positive = np.asarray(positive)[self._order].astype(np.float64)

    def auc(self, weights: Floats) -> Floats:
        """Area of each weighting, ties counted half (Hanley and McNeil, Radiology 1982).

        Args:
            weights: (b, n) how often each film counts, >= 0.

        Returns:
            (b,) areas; NaN where no film or only films of one kind count.
        """
        ordered = weights[:, self._order]
        inside = ordered * self._positive
        outside = ordered - inside
        if len(self._starts) < ordered.shape[1]:
            inside = np.add.reduceat(inside, self._starts, axis=1)
            outside = np.add.reduceat(outside, self._starts, axis=1)
        below = np.cumsum(outside, axis=1) - outside / 2
        return _ratio(np.einsum("bn,bn->b", inside, below), inside.sum(axis=1) * outside.sum(axis=1))


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
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // max(1, len(codes)))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, len(names), (rows, len(names))) + np.arange(rows)[:, None] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=rows * len(names)).reshape(rows, len(names))
        yield counts[:, codes].astype(np.float64)


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
    prepared = [_Condition(labels, probabilities) for probabilities in conditions]
    blocks: list[list[dict[str, Floats]]] = [[] for _ in prepared]
    for weights in resample_weights(groups, seed, resamples):
        for place, condition in enumerate(prepared):
            blocks[place].append(condition.scores(weights))
    return [{name: np.concatenate([block[name] for block in parts]) for name in SCORES} for parts in blocks]


class _Condition:
    def __init__(self, labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating]) -> None:
        self._classes = probabilities.shape[1]
        self._present = np.unique(labels)
        self._cells = np.eye(self._classes**2)[labels * self._classes + probabilities.argmax(axis=1)]
        self._confidence = probabilities.max(axis=1).astype(np.float64)
        self._rankings = [Ranking(labels == c, probabilities[:, c]) for c in self._present]

    def scores(self, weights: Floats) -> dict[str, Floats]:
        confusion = (weights @ self._cells).reshape(-1, self._classes, self._classes)
        right = np.einsum("bcc->bc", confusion)
        true, said, total = confusion.sum(axis=2), confusion.sum(axis=1), confusion.sum(axis=(1, 2))
        f1 = _ratio(2 * right, true + said)[:, self._present]
        f1[true[:, self._present] == 0] = np.nan
        return {
            "accuracy": right.sum(axis=1) / total,
            "macro_f1": f1.mean(axis=1),
            "macro_auc": np.mean([ranking.auc(weights) for ranking in self._rankings], axis=0),
            "mean_confidence": weights @ self._confidence / total,
        }


def percentile_interval(values: Floats, level: float = LEVEL, keep_flat: bool = False) -> Interval | None:
    """Interval that holds the middle ``level`` of resampled values, NaN left out.

    None where most of them are NaN, and where they are all equal: a sample without any error gives resamples without
    any, which says nothing of what another sample would hold. ``keep_flat`` keeps that interval of no width: a paired
    difference that is zero in every resample is one.
    """
    known = values[~np.isnan(values)]
    if 2 * len(known) < max(len(values), 2) or (known.min() == known.max() and not keep_flat):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return {"low": low, "high": high}


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
