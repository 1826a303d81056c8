"""Intervals of every score, overall and of each class; where there is none, the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    exact_interval,
    is_flat,
    percentile_interval,
    resampled_all,
)
from cxr_core.evaluation.metrics import Metrics, classification_metrics
from cxr_core.evaluation.weighted import OVERALL, PER_CLASS

__all__ = ["MIN_GROUPS", "Counts", "entry", "exact_interval", "intervals", "undefined"]

Floats = npt.NDArray[np.float64]

# Four groups have 35 different resamples, five have 126: the outer 2.5 % on each side need at least 1 / .025 = 40.
MIN_GROUPS = 5
_NO_VALUE = "it has no value for these films"
_SHARES = ("precision", "recall", "specificity")  # of films: an exact interval where all or none count
_RANKS = ("auc", "pr_auc")
_NEED_CLASSES = (
    "macro_precision", "macro_specificity", "macro_f1", "macro_auc", "macro_pr_auc", "mcc", "kappa",
)  # fmt: skip
_NEED_INSIDE = ("precision", "recall", "f1", *_RANKS)
_NEED_OUTSIDE = ("precision", "specificity", "f1", *_RANKS)


def intervals(
    labels: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.floating],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int = RESAMPLES,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """95 % percentile bootstrap intervals over whole groups, of every score.

    Args:
        labels, probabilities: as :func:`~cxr_core.evaluation.metrics.classification_metrics`.
        groups: n group names; films of one group are drawn together.
        seed: of the draws.
        resamples: number of resamples.
        names: k class names; their places as text where not given.

    Returns:
        Each name in :data:`~cxr_core.evaluation.weighted.OVERALL` and, under ``per_class``, the class names to each
        name in :data:`~cxr_core.evaluation.weighted.PER_CLASS`: ``value``, ``low``, ``high``; a ``reason`` where the
        interval, or the value too, is not available (None). Shares that are 1 or 0 have their exact interval, which
        says that it is ``exact``. And ``level``, ``resamples``, ``groups``, ``method``.
    """
    classes = list(names) if names is not None else [str(place) for place in range(probabilities.shape[1])]
    metrics = classification_metrics(labels, probabilities, classes)
    counts = Counts.of(labels, probabilities.argmax(axis=1), groups, classes)
    ((overall, per_class),) = resampled_all(labels, [probabilities], groups, seed, resamples)
    return {
        **{name: _entry_of(metrics, counts, name, None, overall[name]) for name in OVERALL},
        "per_class": {
            label: {name: _entry_of(metrics, counts, name, place, per_class[name][:, place]) for name in PER_CLASS}
            for place, label in enumerate(classes)
        },
        "level": LEVEL,
        "resamples": resamples,
        "groups": counts.groups,
        "method": "percentile bootstrap over groups",
    }


@dataclass(frozen=True)
class Counts:
    """Patient groups behind the scores.

    Attributes:
        names: k class names.
        groups: distinct groups.
        inside: of each class, groups with a film of it.
        outside: of each class, groups with a film of another.
        called: of each class, groups with a film that was predicted to be of it.
    """

    names: tuple[str, ...]
    groups: int
    inside: tuple[int, ...]
    outside: tuple[int, ...]
    called: tuple[int, ...]

    @classmethod
    def of(
        cls,
        labels: npt.NDArray[np.integer],
        predicted: npt.NDArray[np.integer],
        groups: Sequence[str] | npt.NDArray[np.object_],
        names: Sequence[str],
    ) -> Counts:
        """Count them."""
        known = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]

        def distinct(rows: npt.NDArray[np.bool_]) -> int:
            return len(np.unique(known[rows]))

        places = range(len(names))
        return cls(
            tuple(names),
            len(np.unique(known)),
            tuple(distinct(labels == place) for place in places),
            tuple(distinct(labels != place) for place in places),
            tuple(distinct(predicted == place) for place in places),
        )

    def behind(self, score: str, place: int) -> int:
        """Groups in the denominator of a share of one class."""
        return {"precision": self.called, "recall": self.inside, "specificity": self.outside}[score][place]

    def too_few(self, score: str, place: int | None) -> str | None:
        """Why resamples of these groups say too little of a score; None where they say enough.

        Args:
            score: its name.
            place: of the class; None for an overall score.
        """
        if self.groups < MIN_GROUPS:
            return _few(self.groups, "")
        if place is None:
            concerned = [c for c in range(len(self.names)) if self.inside[c]] if score.startswith("macro_") else []
        else:
            concerned = [place] if score in ("recall", "f1", *_RANKS) else []
        for c in concerned:
            if self.inside[c] < MIN_GROUPS:
                return _few(self.inside[c], f" with {self.names[c]}")
        if place is not None:
            if score in ("specificity", *_RANKS) and self.outside[place] < MIN_GROUPS:
                return _few(self.outside[place], f" without {self.names[place]}")
            if score == "precision" and self.called[place] < MIN_GROUPS:
                return _few(self.called[place], f" called {self.names[place]}")
        return None


def entry(
    value: float | None,
    spread: Floats,
    few: str | None = None,
    why_not: str | None = None,
) -> dict[str, Any]:
    """A score with the percentile interval of its resampled values, or why there is none.

    Args:
        value: the score; None where it says nothing.
        spread: its resampled values.
        few: why the groups are too few for an interval; None where they are not.
        why_not: why there is no value, where there is none.
    """
    if value is None:
        return unavailable(why_not or _NO_VALUE)
    if few:
        return available(value, reason=f"no interval: {few}")
    interval = percentile_interval(spread)
    if interval is None:
        why = "every resample gives the same value" if is_flat(spread) else "it is undefined in most resamples"
        return available(value, reason=f"no interval: {why}")
    return available(value, **interval)


def undefined(value: float | None, score: str, place: int | None, counts: Counts) -> str | None:
    """Why a score says nothing of these films; None where it says something.

    Precision and F1 of films that are all of one class cannot but be perfect in part, and precision of a class that has
    no film cannot but be 0: they have a value that says nothing.

    Args:
        value: the score; None where it has no value.
        score: its name.
        place: of the class; None for an overall score.
        counts: of the films.
    """
    if not counts.groups:
        return "there is no film"
    present = [name for name, inside in zip(counts.names, counts.inside, strict=True) if inside]
    if place is None:
        if score in _NEED_CLASSES and len(present) == 1:
            return f"every film is {present[0]}"
        constant = "every film was predicted to be of one class" if score == "mcc" else _NO_VALUE
        return constant if value is None else None
    name = counts.names[place]
    if score in _NEED_INSIDE and not counts.inside[place]:
        return f"there is no film of {name}"
    if score in _NEED_OUTSIDE and not counts.outside[place]:
        return f"every film is {name}"
    if value is not None:
        return None
    return f"no film was called {name}" if score == "precision" else _NO_VALUE


def _entry_of(metrics: Metrics, counts: Counts, score: str, place: int | None, spread: Floats) -> dict[str, Any]:
    side: Mapping[str, Any] = metrics if place is None else metrics["per_class"][counts.names[place]]
    value = side[score]
    why = undefined(value, score, place, counts)
    if why is None and counts.groups > 1 and (score == "accuracy" or (place is not None and score in _SHARES)):
        behind = counts.groups if place is None else counts.behind(score, place)
        if (exact := exact_interval(value, behind)) is not None:
            return available(value, **exact, exact=True)
    return entry(None if why else value, spread, counts.too_few(score, place), why)


def _few(groups: int, which: str) -> str:
    return f"{groups} patient group{'' if groups == 1 else 's'}{which}, at least {MIN_GROUPS} are needed"
