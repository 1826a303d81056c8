"""Wrong labels by system: one source's films of one class filed under another, which no ordinary classifier can see.

In a public copy of the three-class set 158 of 570 "pneumonias" of one hospital are its normals (TRAPS 2). Where the
source gives the label away, a classifier learns to call those normals pneumonia. So each cell (source, label) is judged
by a head of the other sources, on features centred and scaled inside each source, and what counts is whether the cell's
own scores fall into two groups. Where the other sources cannot judge it, its own source does, if it holds both classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_core.trust.label_judges import Judged, Pair, judged_by_others, judged_by_own
from cxr_core.trust.label_mixture import mixture_p_value

__all__ = ["OTHERS", "OWN", "Cell", "examine_cells"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Names = npt.NDArray[np.object_]
Rows = npt.NDArray[np.intp]

OTHERS, OWN = "other sources", "own source"


@dataclass(frozen=True)
class Cell:
    """One source's films of one label, and whether some of them are of another class.

    Attributes:
        source: of the films.
        label: class index that they are filed under.
        other: class index that some may truly be of.
        rows: (m,) rows of the films.
        anchor_rows: (q,) rows of the source's films that are filed under the other class.
        judge: :data:`OTHERS`, :data:`OWN`, or empty where there is none.
        judged: the mixture, or why there is none.
    """

    source: str
    label: int
    other: int
    rows: Rows
    anchor_rows: Rows
    judge: str
    judged: Judged

    @property
    def key(self) -> tuple[str, int, int]:
        """Source, label, other class."""
        return self.source, self.label, self.other

    @property
    def p_value(self) -> float:
        """Of the test for a mixture; 1 where there was none."""
        return 1.0 if self.judged.mixture is None else mixture_p_value(self.judged.mixture.gain)

    @property
    def share(self) -> float:
        """Of the films that are of the other class; 0 where nothing can be said."""
        return 0.0 if self.judged.mixture is None else self.judged.mixture.share

    def suspects(self) -> Rows:
        """Rows of the films to look at: as many as the share says, the most probable ones; ties to the earlier row."""
        if self.judged.mixture is None:
            return np.zeros(0, np.intp)
        count = round(self.share * len(self.rows))
        return self.rows[np.argsort(-self.judged.mixture.wrong, kind="stable")[:count]]


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

    Args:
        space: (n, r) of :func:`~cxr_core.trust.label_space.audit_space` with ``sources``.
        labels: (n,) class indices as filed.
        sources: (n,) names.
        fold: (n,) folds, patient groups whole.
        names: class names.
        strength: of the heads.
        min_films: of the cell, and of each class in a source that judges.

    Returns:
        One entry for each source, label and other class where the source has films of the label, in the order of names.
    """
    found: list[Cell] = []
    counts = {
        source: np.bincount(labels[sources == source], minlength=len(names)) for source in np.unique(sources).tolist()
    }
    for source, here in counts.items():
        for label, other in np.ndindex(len(names), len(names)):
            if label == other or here[label] == 0:
                continue
            pair = Pair(space, labels, sources, fold, strength, label, other, names[label], names[other])
            rows = np.flatnonzero((sources == source) & (labels == label))
            anchor_rows = np.flatnonzero((sources == source) & (labels == other))
            judge, judged = _judge(pair, source, rows, anchor_rows, counts, min_films)
            found.append(Cell(source, label, other, rows, anchor_rows, judge, judged))
    return found


def _judge(
    pair: Pair, source: str, rows: Rows, anchor_rows: Rows, counts: dict[str, Integers], min_films: int
) -> tuple[str, Judged]:
    if len(rows) < min_films:
        return "", Judged(f"{len(rows)} films of {pair.label_name} in this source, {min_films} are needed")
    teachers = [
        name
        for name, there in counts.items()
        if name != source and min(there[pair.label], there[pair.other]) >= min_films
    ]
    if len(counts) < 2:
        by_others = Judged("all films are of one source")
    elif not teachers:
        both = f"{pair.label_name} and {pair.other_name}"
        by_others = Judged(f"no other source holds {min_films} films of both {both}")
    else:
        by_others = judged_by_others(pair, rows, anchor_rows, teachers)
    if by_others.mixture is not None:
        return OTHERS, by_others
    if len(anchor_rows) < min_films:
        reason = (
            f"{by_others.reason}; and {len(anchor_rows)} films of {pair.other_name} in this source, {min_films} are"
        )
        return "", Judged(f"{reason} needed for it to judge itself")
    by_own = judged_by_own(pair, rows, anchor_rows)
    if by_own.mixture is not None:
        return OWN, by_own
    return "", Judged(f"{by_others.reason}; {by_own.reason}")
