"""Wrong labels by system: one source's films of one class filed under another, which no ordinary classifier can see.

In a public copy of the three-class set 158 of 570 "pneumonias" of one hospital are its normals (TRAPS 2). Where the
source gives the label away, a classifier learns to call those normals pneumonia. So each cell (source, label) is judged
by a head of the other sources, on features centred and scaled inside each source, and what counts is whether the cell's
own scores fall into two groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.trust.label_head import fit_head, scores_of
from cxr_core.trust.label_mixture import Mixture, Reference, fit_mixture, mixture_p_value

__all__ = ["Cell", "examine_cells"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Names = npt.NDArray[np.object_]

_LEAST_DISTANCE = 1.0  # standard deviations between the classes elsewhere; an AUC of .76 for normal scores
_WORTH_REFINING = 2.0  # gain below which a second look is not worth it: p > .07


@dataclass(frozen=True)
class Cell:
    """One source's films of one label, and whether some of them are of another class.

    Attributes:
        source: of the films.
        label: class index that they are filed under.
        other: class index that some may truly be of.
        rows: (m,) rows of the films.
        reason: why nothing can be said; empty where something can.
        mixture: the fit; None with a reason.
        p_value: of the test for a mixture.
        scores, anchors: (m,), (q,) what the share was fitted to, for resampling.
        anchor_rows: (q,) rows of the anchors.
        reference: of the other sources.
    """

    source: str
    label: int
    other: int
    rows: npt.NDArray[np.intp]
    reason: str = ""
    mixture: Mixture | None = None
    p_value: float = 1.0
    scores: Floats | None = None
    anchors: Floats | None = None
    anchor_rows: npt.NDArray[np.intp] | None = None
    reference: Reference | None = None

    def suspects(self) -> npt.NDArray[np.intp]:
        """Rows of the films to look at: as many as the share says, the most probable ones; ties to the earlier row."""
        if self.mixture is None:
            return np.zeros(0, np.intp)
        count = round(self.mixture.share * len(self.rows))
        return self.rows[np.argsort(-self.mixture.wrong, kind="stable")[:count]]


def examine_cells(
    space: Floats,
    labels: Integers,
    sources: Names,
    fold: Integers,
    names: tuple[str, ...],
    strength: float,
    min_films: int,
) -> list[Cell]:
    """Test every (source, label) against every other class.

    A head learns the two classes on the sources that hold both; its scores in this source are fitted as a mixture.
    Where that gains, the head learns again with this source's films too, each counting as much for either class as the
    fit says, and scores them out of fold: the second fit knows how the classes look here. Test and ranking are the
    second fit's; the share stays the first one's, whose head never saw this source and could not talk itself into more.

    Args:
        space: (n, r) of :func:`~cxr_core.trust.label_space.audit_space` with ``sources``.
        labels: (n,) class indices as filed.
        sources: (n,) names.
        fold: (n,) folds, patient groups whole.
        names: class names.
        strength: of the heads.
        min_films: of the cell, and of each class in a source that teaches.

    Returns:
        One entry for each source, label and other class that has films of the label, in the order of names.
    """
    found: list[Cell] = []
    counts = {
        source: np.bincount(labels[sources == source], minlength=len(names)) for source in np.unique(sources).tolist()
    }
    for source, here in counts.items():
        for label, other in np.ndindex(len(names), len(names)):
            if label == other or here[label] == 0:
                continue
            rows = np.flatnonzero((sources == source) & (labels == label))
            teachers = [
                name
                for name, there in counts.items()
                if name != source and min(there[label], there[other]) >= min_films
            ]
            reason = _reason(len(rows), len(counts), teachers, names[label], names[other], min_films)
            if reason:
                found.append(Cell(source, label, other, rows, reason))
                continue
            taught = np.isin(sources, teachers) & ((labels == label) | (labels == other))
            found.append(_examine(space, labels, sources, fold, source, label, other, taught, names, strength))
    return found


def _reason(films: int, sources: int, teachers: list[str], label: str, other: str, min_films: int) -> str:
    if sources < 2:
        return "all films are of one source, and nothing else can judge it"
    if films < min_films:
        return f"{films} films of {label} in this source, {min_films} are needed"
    if not teachers:
        return f"no other source holds {min_films} films of both {label} and {other}"
    return ""


def _examine(
    space: Floats, labels: Integers, sources: Names, fold: Integers, source: str, label: int, other: int,
    taught: npt.NDArray[np.bool_], names: tuple[str, ...], strength: float,
) -> Cell:  # fmt: skip
    here = sources == source
    rows = np.flatnonzero(here & (labels == label))
    anchor_rows = np.flatnonzero(here & (labels == other))
    own = labels == label
    elsewhere = np.flatnonzero(taught)
    scores = np.zeros(len(labels))
    scores[elsewhere] = scores_of(space[elsewhere], own[elsewhere], np.ones(len(elsewhere)), fold[elsewhere], strength)
    head = fit_head(space[elsewhere], own[elsewhere].astype(np.int64), strength)
    scores[here] = head.log_odds(space[here])
    reference = _reference(scores[elsewhere], own[elsewhere])
    if reference is None or reference.distance < _LEAST_DISTANCE:
        told = "0" if reference is None else f"{reference.distance:.2f}"
        reason = (
            f"{names[label]} and {names[other]} lie {told} standard deviations apart in the other sources, "
            f"{_LEAST_DISTANCE:g} is needed"
        )
        return Cell(source, label, other, rows, reason)
    mixture = fit_mixture(scores[rows], scores[anchor_rows], reference)
    first = scores[rows], scores[anchor_rows], reference
    if mixture.gain >= _WORTH_REFINING:
        used = np.concatenate([elsewhere, rows, anchor_rows])
        trust = np.ones(len(used))
        trust[len(elsewhere) : len(elsewhere) + len(rows)] = 1 - mixture.wrong
        again = scores_of(space[used], own[used], trust, fold[used], strength)
        second = _reference(again[: len(elsewhere)], own[elsewhere])
        if second is not None and second.distance >= _LEAST_DISTANCE:
            scores[used] = again
            refined = fit_mixture(scores[rows], scores[anchor_rows], second)
            mixture = Mixture(mixture.share, refined.gain, refined.wrong)
    return Cell(
        source, label, other, rows, "", mixture, mixture_p_value(mixture.gain), *first[:2], anchor_rows, first[2]
    )


def _reference(scores: Floats, own: npt.NDArray[np.bool_]) -> Reference | None:
    """Means and spreads of the two classes; None where they do not differ in the right direction."""
    a, c = scores[~own], scores[own]
    if len(a) < 2 or len(c) < 2 or not c.mean() > a.mean() or min(a.std(), c.std()) <= 0:
        return None
    return Reference(float(a.mean()), float(c.mean()), float(a.std()), float(c.std()))
