"""A classifier for small sets of features whose null costs one product of matrices.

Kernel ridge classification (least squares onto one column a class; Saunders et al., ICML 1998) with the Laplacian
kernel exp(-|x - x'| / s) of ranked features. On 1,483 public films it scores as a gradient boosting of trees does or
better (metadata .924 against .920 macro AUC, grey levels .827 against .812, border .865 against .853, 5 folds), with
the same two constants for four numbers and for 1,280. Its fit is linear in the labels: hundreds of permutations of
them share one factorisation, where trees would have to be grown anew for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import Ranking
from cxr_core.trust.subgroup_permutation import GroupPermutations

__all__ = ["Probe", "macro_auc", "permutation_p_value", "permuted_rows"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_WIDTH = 0.5  # of the kernel, in medians of the distance between films: flat optimum of .25-1 on public films
_PENALTY = 0.5  # of the ridge: flat optimum of .1-.5 on public films
_LANDMARKS = (
    1500  # films that span the kernel (Williams and Seeger, NIPS 2000); with no more films than that it is exact
)
_JITTER = 1e-6  # keeps the kernel of equal films invertible; a millionth of its diagonal
_ROWS = 2048  # films whose distances are held at once


class Probe:
    """Out-of-fold scores of one set of features, for any labelling of the films.

    Args:
        features: (n, d) finite numbers; only their order within a column counts.
        folds: (n,) fold of each film; films of a fold are scored by a fit on the others.
        seed: of the landmarks, where there are more films than those.
        landmarks: films that span the kernel, at most.

    Raises:
        CxrError: a feature is not finite.
    """

    def __init__(self, features: Floats, folds: Ints, seed: int, landmarks: int = _LANDMARKS) -> None:
        from scipy.linalg import cho_factor, cholesky, solve_triangular

        if not np.isfinite(features).all():
            column = int(np.flatnonzero(~np.isfinite(features).all(axis=0))[0])
            raise CxrError(f"Feature {column} of the shortcut audit holds values that are no numbers: index again.")
        n = len(features)
        ranked = _ranks(features)
        spanning = np.sort(np.random.default_rng(seed).permutation(n)[: min(n, landmarks)])
        distances = _distances(ranked, ranked[spanning])
        between = distances[spanning]
        scale = _WIDTH * float(np.median(between[between > 0])) if (between > 0).any() else 1.0
        kernel = np.exp(-distances / scale)
        lower = cholesky(kernel[spanning] + _JITTER * np.eye(len(spanning)), lower=True)
        basis: Floats = solve_triangular(lower, kernel.T, lower=True).T
        whole = basis.T @ basis
        self._folds: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats, tuple[Floats, bool]]] = []
        for fold in np.unique(folds):
            inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            held = basis[inside]
            gram = whole - held.T @ held + _PENALTY * np.eye(len(whole))
            self._folds.append((inside, outside, held, cho_factor(gram, lower=True)))
        self._basis = basis

    def scores(self, labels: Ints, classes: int) -> Floats:
        """Out-of-fold scores (n, classes), rows adding up to 1; larger for more likely, not confined to 0-1."""
        return self.many(np.asarray(labels)[None], classes)[0]

    def many(self, labellings: Ints, classes: int) -> Floats:
        """Scores of several labellings (b, n) at once, (b, n, classes)."""
        from scipy.linalg import cho_solve

        b, n = labellings.shape
        targets = np.eye(classes)[labellings].transpose(1, 0, 2).reshape(n, b * classes)
        result = np.empty((n, b * classes))
        for inside, outside, held, factor in self._folds:
            share = targets[outside].mean(axis=0)
            weights = cho_solve(factor, self._basis[outside].T @ (targets[outside] - share))
            result[inside] = held @ weights + share
        return result.reshape(n, b, classes).transpose(1, 0, 2)

    def null(self, labels: Ints, classes: int, places: Iterator[npt.NDArray[np.intp]]) -> Floats:
        """Macro AUC after each exchange of labels, see :func:`permuted_rows`."""
        found = [
            macro_auc(moved, scores)
            for block in places
            for moved, scores in zip(labels[block], self.many(labels[block], classes), strict=True)
        ]
        return np.array(found)


def permuted_rows(
    groups: Sequence[str] | npt.NDArray[np.object_], folds: Ints, seed: int, permutations: int, block: int = 25
) -> Iterator[npt.NDArray[np.intp]]:
    """Which film's label each film gets: whole groups exchange labels with groups of the same size in the same fold.

    Films of one patient stay together, and every fold keeps its share of every class: out-of-fold scores of labels that
    mean nothing would else lie below chance.

    Yields:
        (b, n) row numbers, ``permutations`` rows in all.
    """
    plan = GroupPermutations(groups, folds)
    for place, start in enumerate(range(0, permutations, block)):
        rows = min(block, permutations - start)
        for moved in plan.shuffled(np.arange(len(folds), dtype=np.float64), seed + place, rows):
            yield moved.astype(np.intp)


def permutation_p_value(value: float, null: Floats) -> float:
    """Share of the null that reaches the value, the value itself counted (Phipson and Smyth, SAGMB 2010)."""
    return float((1 + (null >= value).sum()) / (1 + len(null)))


def macro_auc(labels: npt.NDArray[np.integer], scores: Floats) -> float:
    """Area under the ROC curve of each class that occurs against the rest, averaged; NaN where one class is all."""
    present = np.unique(labels)
    if len(present) < 2:
        return float("nan")
    whole = np.ones((1, len(labels)))
    return float(np.mean([Ranking(labels == place, scores[:, place]).auc(whole)[0] for place in present]))


def _ranks(features: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(features, axis=0), np.float64) / max(1, len(features))


def _distances(ranked: Floats, landmarks: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    blocks = [cdist(ranked[start : start + _ROWS], landmarks, "cityblock") for start in range(0, len(ranked), _ROWS)]
    return np.concatenate(blocks)
