"""Two models on the same films: the difference of every score, with its interval and a p-value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES, percentile_interval, resampled_all
from cxr_core.evaluation.intervals import Counts, undefined
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.weighted import OVERALL, PER_CLASS

__all__ = ["bootstrap_p_value", "difference_entry", "paired_difference"]

Floats = npt.NDArray[np.float64]


def paired_difference(
    labels: npt.NDArray[np.integer],
    probabilities_a: npt.NDArray[np.floating],
    probabilities_b: npt.NDArray[np.floating],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int = RESAMPLES,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Every score of a, less that of b; both see the same resamples of patient groups.

    Args:
        labels: (n,) class indices.
        probabilities_a, probabilities_b: (n, k) of the same films in the same order.
        groups: n group names; films of one group are drawn together.
        seed: of the draws.
        resamples: number of resamples.
        names: k class names; their places as text where not given.

    Returns:
        Each name in :data:`~cxr_core.evaluation.weighted.OVERALL` and, under ``per_class``, the class names to each
        name in :data:`~cxr_core.evaluation.weighted.PER_CLASS`: ``value`` (a - b), ``low``, ``high`` of the 95 %
        percentile interval, ``p_value`` (two-sided, see :func:`bootstrap_p_value`); a ``reason`` where not available.
        And ``level``, ``resamples``, ``groups``, ``films``.

    Raises:
        CxrError: the two are not of the same films and classes.
    """
    if probabilities_a.shape != probabilities_b.shape:
        raise CxrError(
            f"Probabilities of shapes {probabilities_a.shape} and {probabilities_b.shape} are not of the same films "
            "and classes: predict the same films with both models."
        )
    classes = list(names) if names is not None else [str(place) for place in range(probabilities_a.shape[1])]
    both = [probabilities_a, probabilities_b]
    a, b = (classification_metrics(labels, p, classes) for p in both)
    counts = [Counts.of(labels, p.argmax(axis=1), groups, classes) for p in both]
    spreads_a, spreads_b = resampled_all(labels, both, groups, seed, resamples)

    def entry(score: str, place: int | None) -> dict[str, Any]:
        sides: list[Mapping[str, Any]] = [m if place is None else m["per_class"][classes[place]] for m in (a, b)]
        values = [side[score] for side in sides]
        for value, count in zip(values, counts, strict=True):
            if why := undefined(value, score, place, count):
                return unavailable(why, p_value=None)
        spread = (
            spreads_a[0][score] - spreads_b[0][score]
            if place is None
            else spreads_a[1][score][:, place] - spreads_b[1][score][:, place]
        )
        few = next((why for count in counts if (why := count.too_few(score, place))), None)
        return difference_entry(values[0] - values[1], spread, few)

    return {
        **{score: entry(score, None) for score in OVERALL},
        "per_class": {
            label: {score: entry(score, place) for score in PER_CLASS} for place, label in enumerate(classes)
        },
        "level": LEVEL,
        "resamples": resamples,
        "groups": counts[0].groups,
        "films": len(labels),
    }


def difference_entry(value: float, spread: Floats, few: str | None = None) -> dict[str, Any]:
    """A paired difference with its percentile interval and p-value, or why it has none.

    Args:
        value: the difference.
        spread: resampled differences, NaN where undefined.
        few: why the groups are too few for an interval; None where they are not.
    """
    interval = None if few else percentile_interval(spread, keep_flat=True)
    if interval is None:
        why = few or "it is undefined in most resamples"
        return available(value, p_value=None, reason=f"no interval: {why}")
    return available(value, **interval, p_value=bootstrap_p_value(spread))


def bootstrap_p_value(spread: Floats) -> float:
    """Two-sided p-value of "no difference" from resampled differences, NaN left out.

    Twice the smaller share of resamples on either side of 0, the sample itself counted (Davison and Hinkley, Bootstrap
    Methods, 1997, section 4.2): the level at which the percentile interval would just reach 0 (Efron and Tibshirani
    1993, section 15.4). So it is never 0: its least value is 2 / (resamples + 1).
    """
    known = spread[~np.isnan(spread)]
    below, above = 1 + int((known <= 0).sum()), 1 + int((known >= 0).sum())
    return min(1.0, 2 * min(below, above) / (1 + len(known)))
