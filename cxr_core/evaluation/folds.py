"""Folds of whole patient groups for cross-validation, stratified by class and source (TRAPS 1, 3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.splits import group_table
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError

__all__ = ["SPLIT", "deal_folds", "deal_validation", "sparse_strata"]

SPLIT = "out_of_fold"  # of predictions by cross-validation, in the column of that name

_DIGITS = 12  # of a digest that becomes a share: 48 bits, exact in float64


def deal_folds(films: pd.DataFrame, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal films to folds, patient groups whole.

    The groups of a class and source stand on a circle in the order of a seeded hash, each on an arc as long as it has
    films; the circle is cut into equal folds. So every fold gets its share of every class and source, the order of the
    rows is of no account, and films that are added later move few others. Where a source has fewer groups of a class
    than there are folds, its groups share one circle with the others of that class (see :func:`sparse_strata`).

    Args:
        films: columns image_id, group_id, label, label_index, source.
        folds: number of folds, >= 2.
        seed: of the order.

    Returns:
        (n,) fold of each row, 0 to folds - 1.

    Raises:
        CxrError: too few groups: a fold stays empty, or a class lies in one fold alone and could not be learnt when
            that fold is kept apart.
    """
    places = _places(films, folds, seed)
    fold = np.minimum((places * folds).astype(np.int64), folds - 1)
    if len(np.unique(fold)) < folds:
        count = films["group_id"].nunique()
        raise CxrError(f"{count} patient groups cannot fill {folds} folds: lower crossval.folds or add films.")
    for label, films_of in pd.Series(fold).groupby(films["label"].to_numpy()):
        if films_of.nunique() < 2:
            raise CxrError(f"All films of class {label} lie in one fold: add patients of that class.")
    return fold


def deal_validation(films: pd.DataFrame, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Set part of the training films aside for early stopping, patient groups whole, as :func:`deal_folds` does.

    Every class with two groups or more has films on both sides; one with a single group has them in training.

    Args:
        films: columns image_id, group_id, label_index, source.
        fraction: of the films, 0 < fraction < 1.
        seed: of the order.

    Returns:
        (n,) whether each row is set aside.

    Raises:
        CxrError: there is one group only.
    """
    places = pd.Series(_places(films, math.ceil(1 / fraction), seed), films["group_id"].to_numpy())
    place_of = places[~places.index.duplicated()].sort_values()
    chosen = set(place_of.index[place_of < fraction])
    for _, members in films.groupby("label_index")["group_id"]:
        ordered = place_of.index[place_of.index.isin(members)].tolist()
        if len(ordered) > 1 and chosen.isdisjoint(ordered):
            chosen.add(ordered[0])
        if chosen.issuperset(ordered):
            chosen.remove(ordered[-1])
    if not chosen:
        raise CxrError("No patient group can be spared for validation: add films.")
    return films["group_id"].isin(chosen).to_numpy()


def sparse_strata(films: pd.DataFrame, folds: int) -> list[dict[str, Any]]:
    """Classes of a source that have fewer patient groups than folds: not every fold can hold one of them.

    Args:
        films: columns group_id, label, source.
        folds: number of folds.

    Returns:
        ``label``, ``source``, ``groups``, ``films`` of each, sorted.
    """
    known = films.assign(source=films["source"].fillna("").astype(str))
    found = []
    for (label, source), members in known.groupby(["label", "source"]):
        if (groups := members["group_id"].nunique()) < folds:
            found.append({"label": label, "source": source, "groups": groups, "films": len(members)})
    return found


def _places(films: pd.DataFrame, at_least: int, seed: int) -> npt.NDArray[np.float64]:
    """Place of each film's group on the circle of its class and source, 0 <= place < 1."""
    known = films[["image_id", "group_id", "label_index"]].assign(source=films["source"].fillna("").astype(str))
    groups = group_table(known.sort_values("image_id"), seed)
    in_stratum = groups.groupby(["label_index", "source"])["group_id"].transform("size")
    groups["stratum"] = groups["source"].where(in_stratum >= at_least, "\0few")
    place_of: dict[str, float] = {}
    for (label, stratum), members in groups.groupby(["label_index", "stratum"]):
        middle = (members["size"].cumsum() - members["size"] / 2) / members["size"].sum()
        turned = (
            middle + _share(f"{seed}:{label}:{stratum}")
        ) % 1.0  # else small strata would all favour the same fold
        place_of.update(zip(members["group_id"], turned.tolist(), strict=True))
    return np.array([place_of[group] for group in films["group_id"]], np.float64)


def _share(text: str) -> float:
    return int(digest_bytes(text.encode())[:_DIGITS], 16) / 16**_DIGITS
