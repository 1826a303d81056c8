"""Two judges of one source's films of a class: a head of the other sources, and one of the source itself.

The first is the stronger one. But a head of grown-ups' films may tell nothing of children's (an AUC of .32 between two
public sources): it is believed only where it is seen to work. The second learns from the very labels that are in doubt,
out of fold: films of one class get the same scores under either label, so that a quarter of them under the wrong one
still stand apart, where the classes differ enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.bootstrap import Ranking
from cxr_core.trust.label_head import fit_head, scores_of
from cxr_core.trust.label_mixture import Mixture, Reference, fit_mixture

__all__ = ["Judged", "Pair", "judged_by_others", "judged_by_own"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Names = npt.NDArray[np.object_]
Rows = npt.NDArray[np.intp]

_LEAST_DISTANCE = 1.0  # standard deviations between the classes' scores; an AUC of .76 for normal scores
_LEAST_AREA = 0.70  # of the labels as filed: with half of a cell wrong, a head of AUC .9 still reaches it
_LEAST_ANCHORS = 10  # films of the other class in the source, for that test
_MOST = 0.5  # share beyond which a shift of the whole source explains as much
_WORTH_REFINING = 2.0  # gain below which a second look is not worth it: p > .07
_UPPER_HALF = 0.798  # mean of the upper half of a normal distribution, standard deviations above its mean


@dataclass(frozen=True)
class Judged:
    """What a judge says of a cell: a mixture with what it was fitted to, or the reason why nothing can be said.

    Attributes:
        reason: empty where there is a mixture.
        mixture: the fit.
        scores, anchors: (m,), (q,) that the share was fitted to.
        reference: that it was fitted with.
    """

    reason: str = ""
    mixture: Mixture | None = None
    scores: Floats | None = None
    anchors: Floats | None = None
    reference: Reference | None = None


@dataclass(frozen=True)
class Pair:
    """Two classes and all films, for heads that tell the two apart."""

    space: Floats
    labels: Integers
    sources: Names
    fold: Integers
    strength: float
    label: int
    other: int
    label_name: str
    other_name: str

    def films_of(self, sources: list[str]) -> Rows:
        of_two = (self.labels == self.label) | (self.labels == self.other)
        return np.flatnonzero(of_two & np.isin(self.sources, sources))

    def transferred(self, teachers: list[str], rows: Rows) -> Floats:
        """Scores of films by a head of other sources."""
        taught = self.films_of(teachers)
        own = (self.labels[taught] == self.label).astype(np.int64)
        return fit_head(self.space[taught], own, self.strength).log_odds(self.space[rows])

    def folded(self, rows: Rows, trust: Floats) -> Floats:
        """Scores of films by heads of the other folds among them."""
        own = self.labels[rows] == self.label
        return scores_of(self.space[rows], own, trust, self.fold[rows], self.strength)


def judged_by_others(pair: Pair, rows: Rows, anchor_rows: Rows, teachers: list[str]) -> Judged:
    """Judge a cell by a head of other sources.

    Where the first fit gains, the head learns again with this source's films too, each counting as much for either
    class as the fit says, and scores them out of fold: the second fit knows how the classes look here. The test is the
    second fit's, the ranking the mean of both; the share stays the first one's, whose head never saw this source and
    could not talk itself into more.

    Args:
        pair: the two classes.
        rows: (m,) films of the cell.
        anchor_rows: (q,) films of the source that are filed under the other class; may be empty.
        teachers: sources that hold both classes.
    """
    taught = pair.films_of(teachers)
    own, m = pair.labels[taught] == pair.label, len(rows)
    reference = _reference(pair.folded(taught, np.ones(len(taught))), own)
    if reason := _too_close(pair, reference, "in the other sources"):
        return Judged(reason)
    assert reference is not None
    scores = pair.transferred(teachers, np.concatenate([rows, anchor_rows]))
    if reason := _does_not_transfer(pair, scores[:m], scores[m:], rows, teachers):
        return Judged(reason)
    mixture = fit_mixture(scores[:m], scores[m:], reference)
    if mixture.share > _MOST:
        lie = f"{mixture.share:.0%} of its films lie like {pair.other_name}"
        return Judged(f"{lie}, which cannot be told from films that look different in this source")
    if mixture.gain >= _WORTH_REFINING:
        used = np.concatenate([taught, rows, anchor_rows])
        trust = np.concatenate([np.ones(len(taught)), 1 - mixture.wrong, np.ones(len(anchor_rows))])
        again = pair.folded(used, trust)
        second = _reference(again[: len(taught)], own)
        if second is not None and second.distance >= _LEAST_DISTANCE:
            refined = fit_mixture(again[len(taught) :][:m], again[len(taught) + m :], second)
            mixture = Mixture(mixture.share, refined.gain, (mixture.wrong + refined.wrong) / 2)
    return Judged("", mixture, scores[:m], scores[m:], reference)


def judged_by_own(pair: Pair, rows: Rows, anchor_rows: Rows) -> Judged:
    """Judge a cell by heads of its own source's other folds: as positive and unlabelled films (Elkan and Noto 2008).

    The anchors show how the other class scores. How the label's own class scores is not known, as some of the cell's
    films are in doubt; it is taken to be spread as the anchors, about the middle of the cell's upper half.

    Args:
        pair: the two classes.
        rows: (m,) films of the cell.
        anchor_rows: (q,) films of the source that are filed under the other class.
    """
    m = len(rows)
    found = pair.folded(np.concatenate([rows, anchor_rows]), np.ones(m + len(anchor_rows)))
    scores, anchors = found[:m], found[m:]
    spread = float(anchors.std())
    upper = float(scores[scores >= np.median(scores)].mean()) - _UPPER_HALF * spread
    middle = float(anchors.mean())
    reference = Reference(middle, upper, spread, spread) if spread > 0 and upper > middle else None
    if reason := _too_close(pair, reference, "in this source"):
        return Judged(reason)
    assert reference is not None
    mixture = fit_mixture(scores, anchors, reference)
    if mixture.share > _MOST:
        return Judged(f"{mixture.share:.0%} of its films lie like {pair.other_name}: the labels tell the two not apart")
    return Judged("", mixture, scores, anchors, reference)


def _too_close(pair: Pair, reference: Reference | None, where: str) -> str:
    told = 0.0 if reference is None else reference.distance
    if told >= _LEAST_DISTANCE:
        return ""
    both = f"{pair.label_name} and {pair.other_name}"
    return f"{both} lie {told:.2f} standard deviations apart {where}, {_LEAST_DISTANCE:g} is needed"


def _does_not_transfer(pair: Pair, scores: Floats, anchors: Floats, rows: Rows, teachers: list[str]) -> str:
    """Why a head of the other sources cannot be believed here; empty where it is seen to work.

    Seen on this source's own films of the other class; where there are few, on those of a third class that the teachers
    hold too; else between the teachers.
    """
    both, where = f"{pair.label_name} from {pair.other_name}", "here"
    if len(anchors) >= _LEAST_ANCHORS:
        reached = _area(scores, anchors)
    elif (third := _by_third_class(pair, rows, teachers)) is not None:
        reached, both = third, f"{pair.label_name} from a third class"
    elif len(teachers) > 1:
        areas = []
        for name in teachers:
            judged = pair.films_of([name])
            found = pair.transferred([other for other in teachers if other != name], judged)
            own = pair.labels[judged] == pair.label
            areas.append(_area(found[own], found[~own]))
        reached, where = float(np.mean(areas)), "in one another"
    else:
        return f"nothing shows that a head of {teachers[0]} works here: no film of another class that both hold"
    if reached >= _LEAST_AREA:
        return ""
    return f"heads of the other sources tell {both} {where} with an AUC of {reached:.2f}, {_LEAST_AREA:.2f} is needed"


def _by_third_class(pair: Pair, rows: Rows, teachers: list[str]) -> float | None:
    """Mean AUC here, over the other classes, of teachers' heads for the cell's label against one of them."""
    source, areas = pair.sources[rows[0]], []
    for third in np.unique(pair.labels).tolist():
        if third in (pair.label, pair.other):
            continue
        seen = np.flatnonzero((pair.sources == source) & (pair.labels == third))
        able = [name for name in teachers if ((pair.sources == name) & (pair.labels == third)).sum() >= _LEAST_ANCHORS]
        if len(seen) >= _LEAST_ANCHORS and able:
            found = replace(pair, other=third).transferred(able, np.concatenate([rows, seen]))
            areas.append(_area(found[: len(rows)], found[len(rows) :]))
    return float(np.mean(areas)) if areas else None


def _area(positive: Floats, negative: Floats) -> float:
    kinds = np.concatenate([np.ones(len(positive), bool), np.zeros(len(negative), bool)])
    scores = np.concatenate([positive, negative])
    return float(Ranking(kinds, scores).auc(np.ones((1, len(scores))))[0])


def _reference(scores: Floats, own: npt.NDArray[np.bool_]) -> Reference | None:
    """Means and spreads of the two classes; None where they do not differ in the right direction."""
    a, c = scores[~own], scores[own]
    if len(a) < 2 or len(c) < 2 or not c.mean() > a.mean() or min(a.std(), c.std()) <= 0:
        return None
    return Reference(float(a.mean()), float(c.mean()), float(a.std()), float(c.std()))
