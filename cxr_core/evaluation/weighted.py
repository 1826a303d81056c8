"""Scores of films that count several times or not at all, for many such weightings at once.

A resample of a bootstrap is a weighting: how often each film was drawn. Every score here equals the usual one on the
films repeated by their weight.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["OVERALL", "PER_CLASS", "SMALLEST", "Ranking", "WeightedScores"]

Floats = npt.NDArray[np.float64]

OVERALL: tuple[str, ...] = (
    "accuracy", "macro_precision", "macro_recall", "macro_specificity", "macro_f1", "macro_auc", "macro_pr_auc",
    "mcc", "kappa", "brier", "log_loss", "mean_confidence",
)  # fmt: skip
PER_CLASS: tuple[str, ...] = ("precision", "recall", "specificity", "f1", "auc", "pr_auc", "brier")
SMALLEST = float(np.finfo(np.float64).eps)  # probability at which log loss is cut, as in scikit-learn


class Ranking:
    """Films sorted by a score once, so that the areas under the curves of many weightings are cheap.

    Args:
        positive: (n,) whether a film is of the class.
        scores: (n,) larger for more likely.
    """

    def __init__(self, positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered, chosen = np.asarray(scores)[self._order], np.asarray(positive, np.bool_)[self._order]
        first = np.ones(len(ordered), np.bool_)  # of the films of one score, which make one step
        first[1:] = ordered[1:] != ordered[:-1]
        step = np.cumsum(first) - 1
        self._starts = None if first.all() else np.flatnonzero(first)  # None: no two films tie
        self._positives = self._order[chosen]
        self._steps, starts = np.unique(step[chosen], return_index=True)  # steps that hold positive films
        self._positive_starts = None if len(starts) == len(self._positives) else starts

    def auc(self, weights: Floats) -> Floats:
        """Area under the ROC curve of each weighting, ties counted half (Hanley and McNeil, Radiology 1982).

        Args:
            weights: (b, n) how often each film counts, >= 0.

        Returns:
            (b,) areas; NaN where no film or only films of one kind count.
        """
        inside, found, counted, films, total = self._sums(weights)
        return self._auc(inside, found, counted, films, total)

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Areas under the ROC curve and under the precision-recall curve of each weighting.

        The second is average precision: precision at each threshold, weighted by the recall gained there, films of
        equal score sharing one threshold (as scikit-learn's ``average_precision_score``; no interpolation: Davis and
        Goadrich, ICML 2006). It is NaN where the first is.

        Args:
            weights: (b, n) how often each film counts, >= 0.

        Returns:
            Two arrays (b,).
        """
        inside, found, counted, films, total = self._sums(weights)
        area = self._auc(inside, found, counted, films, total)
        positives = found[-1].copy() if len(found) else np.zeros_like(total)
        np.subtract(positives, found, out=found)  # from here on: of the films at this threshold or above
        found += inside
        np.subtract(total, films, out=films)
        films += counted
        np.maximum(films, SMALLEST, out=films)  # no film: inside is 0, so that the quotient counts nothing
        np.divide(found, films, out=found)
        precision = _ratio(np.einsum("nb,nb->b", inside, found), positives)
        return area, np.where(np.isnan(area), np.nan, precision)

    def _sums(self, weights: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """At each step that holds positive films, upwards: weight of its positives, of all positives so far, of its
        films, of all films so far, (steps, b) each; and of all films, (b,).

        Films come first: the weightings of one film are one stretch of memory.
        """
        flat = weights.T
        counted, inside = np.take(flat, self._order, axis=0), np.take(flat, self._positives, axis=0)
        if self._starts is not None and len(counted):
            counted = np.add.reduceat(counted, self._starts, axis=0)
        if self._positive_starts is not None:
            inside = np.add.reduceat(inside, self._positive_starts, axis=0)
        films = np.cumsum(counted, axis=0)
        total = films[-1].copy() if len(films) else np.zeros(flat.shape[1])
        return inside, np.cumsum(inside, axis=0), counted[self._steps], films[self._steps], total

    @staticmethod
    def _auc(inside: Floats, found: Floats, counted: Floats, films: Floats, total: Floats) -> Floats:
        # Pairs won: each positive against the films below it and half of those beside it, less what positives win
        # against each other. Integers and halves, so exact in float64, without an array of the negatives.
        positives = found[-1] if len(found) else np.zeros_like(total)
        won = np.einsum("nb,nb->b", inside, films) - np.einsum("nb,nb->b", inside, counted) / 2
        return _ratio(won - positives**2 / 2, positives * (total - positives))


class WeightedScores:
    """Predictions prepared once; then the scores of any weighting of their films.

    Args:
        labels: (n,) class indices.
        probabilities: (n, k), rows summing to 1.
    """

    def __init__(self, labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating]) -> None:
        values = np.asarray(probabilities, np.float64)
        n, self._classes = values.shape
        self._present = np.unique(labels)
        truth = np.eye(self._classes)[labels]
        surprise = -np.log(np.maximum(values[np.arange(n), labels], SMALLEST))
        self._columns = np.vstack([((values - truth) ** 2).T, surprise, values.max(axis=1)])
        cells = labels * self._classes + values.argmax(axis=1)
        self._by_cell = np.argsort(cells, kind="stable")
        self._cells, self._starts = np.unique(cells[self._by_cell], return_index=True)
        self._rankings = {int(c): Ranking(labels == c, values[:, c]) for c in self._present}

    def scores(self, weights: Floats, precision_recall: bool = True) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Scores of each weighting.

        Macro scores are means over the classes that occur in ``labels``; NaN in a weighting that lacks one of them. A
        class that is never predicted enters macro precision with 0. Definitions as in
        :func:`~cxr_core.evaluation.metrics.classification_metrics`.

        Args:
            weights: (b, n) how often each film counts, >= 0.
            precision_recall: whether to compute the areas under precision-recall curves too.

        Returns:
            Names in :data:`OVERALL` to (b,) values, and names in :data:`PER_CLASS` to (b, k) values; NaN where
            undefined.
        """
        k = self._classes
        flat = weights.T  # films first, as in Ranking; sums without BLAS, whose threads cost more than they spare here
        counts = np.zeros((k * k, flat.shape[1]))
        if len(self._cells):
            counts[self._cells] = np.add.reduceat(flat[self._by_cell], self._starts, axis=0)
        confusion = counts.T.reshape(-1, k, k)
        sums = np.einsum("sn,nb->bs", self._columns, flat)
        right = np.einsum("bcc->bc", confusion)
        true, said, total = confusion.sum(axis=2), confusion.sum(axis=1), confusion.sum(axis=(1, 2))
        films = total[:, None]
        per_class = {
            "precision": _ratio(right, said),
            "recall": _ratio(right, true),
            "specificity": _ratio(films - true - said + right, films - true),
            "f1": np.where(true > 0, _ratio(2 * right, true + said), np.nan),
            "auc": np.full(true.shape, np.nan),
            "pr_auc": np.full(true.shape, np.nan),
            "brier": _ratio(sums[:, :k], np.broadcast_to(films, true.shape)),
        }
        for place, ranking in self._rankings.items():
            if precision_recall:
                per_class["auc"][:, place], per_class["pr_auc"][:, place] = ranking.areas(weights)
            else:
                per_class["auc"][:, place] = ranking.auc(weights)
        hits = right.sum(axis=1)
        chance, several = (true * said).sum(axis=1), (true > 0).sum(axis=1) > 1
        spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (said**2).sum(axis=1))
        overall = {
            "accuracy": _ratio(hits, total),
            **{f"macro_{name}": self._macro(values, true) for name, values in per_class.items() if name != "brier"},
            "mcc": _ratio(hits * total - chance, np.sqrt(np.maximum(spread, 0))),
            "kappa": np.where(several, _ratio(hits * total - chance, total**2 - chance), np.nan),
            "brier": per_class["brier"].sum(axis=1),
            "log_loss": _ratio(sums[:, -2], total),
            "mean_confidence": _ratio(sums[:, -1], total),
        }
        return {name: overall[name] for name in OVERALL}, per_class

    def _macro(self, values: Floats, true: Floats) -> Floats:
        complete = (true[:, self._present] > 0).all(axis=1)
        chosen = values[:, self._present]
        # With every class there, what is still undefined is the precision of a class never predicted, or, in films of
        # one class alone, what needs two.
        mean = (
            np.where(np.isnan(chosen), 0.0, chosen).mean(axis=1) if len(self._present) else np.full(len(true), np.nan)
        )
        undefined = ~complete | np.isnan(chosen).all(axis=1)
        return np.where(undefined, np.nan, mean)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
