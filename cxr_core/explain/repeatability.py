"""Two trainings that differ in their seed alone: do they answer alike, and do they look at the same places?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.explain.faithfulness_scores import Grouping
from cxr_core.explain.map_similarity import MEASURES, reduced
from cxr_core.explain.reference_maps import BLANK

__all__ = ["agreement", "repeatability"]

Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def repeatability(first: Maps, second: Maps, by: Grouping) -> dict[str, Any]:
    """Similarity of two networks' maps of each film, against maps of different films.

    Maps of all films lie about the middle of the frame and so are alike; what repeats beyond that is the film's own.
    The null of a film is the mean similarity of the first network's map of it with the second's maps of all films of
    other patients.

    Args:
        first, second: (n, side, side) maps of the same films and classes.
        by: how films are averaged.

    Returns:
        For each measure of :data:`~cxr_core.explain.map_similarity.MEASURES`: ``same_film``, ``other_films`` and
        ``difference`` (paired), each as :meth:`~cxr_core.explain.faithfulness_scores.Grouping.scores` gives them.
    """
    found: dict[str, Any] = {}
    a, b = reduced(first), reduced(second)
    for name, compare in MEASURES.items():
        same = compare(a, b)
        other = np.full(len(a), np.nan)
        for row in range(len(a)):
            apart = np.flatnonzero(by.groups != by.groups[row])
            values = compare(np.broadcast_to(a[row], (len(apart), *a.shape[1:])), b[apart])
            known = values[~np.isnan(values)]
            other[row] = known.mean() if len(known) else np.nan
        alone = "every film is of one patient" if len(np.unique(by.groups.astype(str))) < 2 else BLANK
        found[name] = {
            "same_film": by.scores(same, BLANK),
            "other_films": by.scores(other, alone),
            "difference": by.scores(same - other, alone),
        }
    return found


def agreement(first: Floats, second: Floats, by: Grouping) -> dict[str, Any]:
    """How far the answers of two networks agree.

    Args:
        first, second: (n, k) probabilities of the same films.
        by: how films are averaged.

    Returns:
        ``same_class`` (share of films that both call the same), ``accuracy_first``, ``accuracy_second``,
        ``probability_difference`` (mean absolute difference over the classes), as
        :meth:`~cxr_core.explain.faithfulness_scores.Grouping.scores` gives them, and ``kappa`` (Cohen, Educational and
        Psychological Measurement 1960).
    """
    none = "there is no film"
    a, b = first.argmax(axis=1), second.argmax(axis=1)
    return {
        "same_class": by.scores((a == b).astype(float), none, share=True),
        "accuracy_first": by.scores((a == by.labels).astype(float), none, share=True),
        "accuracy_second": by.scores((b == by.labels).astype(float), none, share=True),
        "probability_difference": by.scores(np.abs(first - second).mean(axis=1), none),
        "kappa": _kappa(a, b, first.shape[1]),
    }


def _kappa(a: npt.NDArray[np.intp], b: npt.NDArray[np.intp], classes: int) -> dict[str, Any]:
    if not len(a):
        return unavailable("there is no film")
    shares = [np.bincount(one, minlength=classes) / len(one) for one in (a, b)]
    chance = float(shares[0] @ shares[1])
    if chance >= 1:
        return unavailable("both call every film the same class")
    return available((float((a == b).mean()) - chance) / (1 - chance))
