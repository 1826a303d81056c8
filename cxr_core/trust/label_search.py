"""The search for wrong labels: mixtures in one source's folders first, then confident learning without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import finite_probabilities
from cxr_core.evaluation.folds import deal_folds
from cxr_core.evaluation.metrics import named_sources, probabilities_of
from cxr_core.settings_trust import LabelAuditSettings
from cxr_core.trust.label_cells import Cell, examine_cells
from cxr_core.trust.label_confident import Confident, confident_learning
from cxr_core.trust.label_head import out_of_fold
from cxr_core.trust.label_space import audit_space

__all__ = ["Found", "NothingToAudit", "search"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_SAME = 1e-6  # difference of probabilities that is rounding of the solver


class NothingToAudit(Exception):
    """Too few films to say anything; the text ends the sentence "not available: ..."."""


@dataclass(frozen=True)
class Found:
    """What the search found among n films, in their order.

    Attributes:
        films: image_id, label_index (among ``names``), source, group_id.
        names: class names that were audited.
        fold: (n,).
        space: (n, r) in which the ordinary head learns.
        probabilities: (n, k) out of fold, the head taught without the suspects of the pass before.
        taught: (n,) films that taught that head.
        cells: every (source, label, other class).
        systematic: those that are mixtures, by the test and by their share.
        by_system: (n,) suspects of those.
        counted: (n,) films that confident learning judges: no such suspects, and not settled by a reader.
        confident: of the last pass, over those films.
        given: whether the probabilities were given from outside.
    """

    films: pd.DataFrame
    names: tuple[str, ...]
    fold: npt.NDArray[np.int64]
    space: Floats
    probabilities: Floats
    taught: Flags
    cells: list[Cell]
    systematic: list[Cell]
    by_system: Flags
    counted: Flags
    confident: Confident
    given: bool

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) class indices among ``names``, as filed."""
        return self.films["label_index"].to_numpy(np.int64)

    @property
    def suspects(self) -> Flags:
        """(n,) suspects of either kind."""
        return self.by_system | self.confident.suspects


def search(
    films: pd.DataFrame,
    values: npt.NDArray[np.floating],
    widths: tuple[int, ...],
    names: tuple[str, ...],
    settings: LabelAuditSettings,
    seed: int,
    settled: Flags | None = None,
    given: pd.DataFrame | None = None,
) -> Found:
    """Search films for wrong labels.

    Args:
        films: n films: image_id, label_index, source, group_id.
        values: (n, d) features that saw no label.
        widths: columns of each of their blocks.
        names: class names in output order; classes with fewer than ``min_films`` films are left out.
        settings: folds, head, limits.
        seed: of folds and projections.
        settled: (n,) films that a reader has labelled: they teach, and are no suspects.
        given: out-of-fold probabilities of another model: image_id, p_0 ... of the classes in ``names``. They take the
            place of the ordinary head's; the mixtures are sought all the same.

    Raises:
        NothingToAudit: fewer than two classes are left, or the judge says the same of every film.
        CxrError: ``given`` lacks a film or holds values that are no numbers.
    """
    labels = films["label_index"].to_numpy(np.int64)
    classes = [place for place in range(len(names)) if (labels == place).sum() >= settings.min_films]
    if len(classes) < 2:
        held = ", ".join(f"{int((labels == place).sum())} of {name}" for place, name in enumerate(names))
        raise NothingToAudit(f"two classes of {settings.min_films} films or more are needed, there are {held}")
    kept = np.isin(labels, classes)
    chosen = films[kept].reset_index(drop=True)
    sources = named_sources(chosen["source"]).to_numpy(object)
    place_of = {place: at for at, place in enumerate(classes)}
    chosen = chosen.assign(label_index=chosen["label_index"].map(place_of).astype(np.int64), source=sources)
    audited, labels = tuple(names[place] for place in classes), chosen["label_index"].to_numpy(np.int64)
    try:
        fold = deal_folds(chosen.assign(label=[audited[place] for place in labels]), settings.folds, seed)
    except CxrError as error:
        raise NothingToAudit(str(error)) from error
    open_ = np.ones(len(chosen), bool) if settled is None else ~settled[kept]
    sizes = pd.Series(sources).map(pd.Series(sources).value_counts()).to_numpy()
    judged = np.where(sizes >= settings.min_films, sources, "\0few")
    inside = audit_space(values[kept], widths, seed, judged.astype(object))
    cells = examine_cells(inside, labels, sources, fold, audited, settings.head_strength, settings.min_films)
    tests = sum(bool(cell.judge) for cell in cells)
    systematic = [
        cell
        for cell in cells
        if cell.judge and cell.p_value * tests <= settings.alpha and cell.share >= settings.min_system_share
    ]
    by_system = np.zeros(len(chosen), bool)
    for cell in systematic:
        by_system[cell.suspects()] = True
    by_system &= open_
    counted = ~by_system & open_
    space = audit_space(values[kept], widths, seed)
    left_out = by_system.copy()
    outside = None if given is None else _given(given, chosen, classes, len(names))
    for _ in range(settings.passes if outside is None else 1):
        taught = ~left_out
        probabilities = (
            out_of_fold(space, labels, fold, len(audited), settings.head_strength, left_out)
            if outside is None
            else outside
        )
        if _says_nothing(probabilities, fold):
            raise NothingToAudit("every film is given the same probabilities")
        confident = confident_learning(labels, probabilities, taught, counted)
        left_out = by_system | confident.suspects
    return Found(
        chosen, audited, fold, space, probabilities, taught, cells, systematic, by_system, counted, confident,
        outside is not None,
    )  # fmt: skip


def _says_nothing(probabilities: Floats, fold: npt.NDArray[np.int64]) -> bool:
    """Whether the films of each fold have equal probabilities; heads of different folds differ by class shares."""
    return all(np.ptp(probabilities[fold == number], axis=0).max() < _SAME for number in np.unique(fold))


def _given(given: pd.DataFrame, films: pd.DataFrame, classes: list[int], total: int) -> Floats:
    """Probabilities of the films, in their order, of the audited classes alone, rows adding up to 1."""
    rows = given.drop_duplicates("image_id").set_index("image_id")
    missing = ~films["image_id"].isin(rows.index)
    if missing.any():
        count = int(missing.sum())
        raise CxrError(
            f"The out-of-fold table lacks {count} of {len(films)} films: cross-validate the same films again."
        )
    found = finite_probabilities(probabilities_of(rows.loc[films["image_id"]], total))[:, classes]
    sums = found.sum(axis=1, keepdims=True)
    return np.where(sums > 0, found / np.where(sums > 0, sums, 1), 1.0 / len(classes))
