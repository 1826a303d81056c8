"""Train / validation / test: stratified by class and source, whole groups, the report's counts (2.1, 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError
from cxr_core.settings_sections import SplitSettings

__all__ = ["SPLITS", "class_targets", "make_splits"]

SPLITS = ("train", "val", "test")

_COLUMNS = ["image_id", "split", "label", "label_index", "source", "group_id", "sha256"]


def make_splits(index: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """Split the accepted films.

    Groups are ordered by class, source and a seeded hash, and dealt out evenly along that order: every class and source
    is spread in proportion, and a film that is added later moves few others. Groups of several films go first, single
    films then fill each class's target exactly wherever there are enough of them.

    Args:
        index: columns image_id, label, label_index, source, group_id, sha256, status; only ``accepted`` rows count.
        settings: fractions and seed.

    Returns:
        One row a film, sorted by image_id: image_id, split, label, label_index, source, group_id, sha256.

    Raises:
        CxrError: a class has too few groups for three splits.
    """
    films = index[index["status"] == "accepted"].sort_values("image_id", ignore_index=True)
    films_of = pd.crosstab(films["group_id"], films["label_index"])
    targets = np.array(class_targets(films_of.sum().to_numpy(), settings))
    for label_index, groups in (films_of > 0).sum().items():
        if groups < len(SPLITS):
            name = films["label"][films["label_index"] == label_index].iloc[0]
            raise CxrError(f"Class {name} has {groups} patient groups, too few for train, validation and test: add films.")
    order = _order(films, settings.seed)
    several = [group for group in order if films_of.loc[group].sum() > 1]
    split_of, given = _deal_groups(films_of.loc[several], targets)
    left = np.clip(targets - given, 0, None)
    for place, label_index in enumerate(films_of.columns):
        singles = [group for group in order if group not in split_of and films_of.at[group, label_index]]
        split_of.update(zip(singles, _interleave(left[place], len(singles)), strict=True))
    films["split"] = films["group_id"].map(split_of)
    return films[_COLUMNS]


def class_targets(counts: Sequence[int] | np.ndarray, settings: SplitSettings) -> list[tuple[int, int, int]]:
    """Films of each class in train, validation and test.

    The size of validation and of test is rounded up from its fraction, then shared among the classes by largest
    remainder (Hamilton's method), as scikit-learn's stratified splitter does; on the report's 9,088 / 5,824 / 10,641
    that gives its 909 / 583 / 1,064.

    Args:
        counts: films of each class.
        settings: fractions.
    """
    total = int(np.sum(counts))
    val = _largest_remainder(counts, math.ceil(total * settings.val_fraction), total)
    test = _largest_remainder(counts, math.ceil(total * settings.test_fraction), total)
    return [(int(n) - v - t, v, t) for n, v, t in zip(counts, val, test, strict=True)]


def _largest_remainder(counts: Sequence[int] | np.ndarray, seats: int, total: int) -> list[int]:
    quotas = [int(count) * seats / total for count in counts]
    shares = [math.floor(quota) for quota in quotas]
    order = sorted(range(len(quotas)), key=lambda i: (shares[i] - quotas[i], i))
    for i in order[: seats - sum(shares)]:
        shares[i] += 1
    return shares


def _order(films: pd.DataFrame, seed: int) -> list[str]:
    """Groups by class, then source, then a seeded hash: dealing evenly along it spreads sources in proportion."""
    first = films.drop_duplicates("group_id")
    place = [digest_bytes(f"{seed}:{group}".encode()) for group in first["group_id"]]
    return first.assign(place=place).sort_values(["label_index", "source", "place"])["group_id"].tolist()


def _deal_groups(films_of: pd.DataFrame, targets: np.ndarray) -> tuple[dict[str, str], np.ndarray]:
    """Deal groups of several films, each to the split that lacks its classes most.

    Args:
        films_of: films of each class (columns) in each group (rows), in dealing order.
        targets: (classes, splits) films wanted in all.

    Returns:
        Split of each group, and the (classes, splits) films dealt.
    """
    share = targets / targets.sum(axis=1, keepdims=True)
    seen = np.zeros(len(targets))
    given = np.zeros(targets.shape, np.int64)
    dealt: dict[str, str] = {}
    for group, counts in zip(films_of.index, films_of.to_numpy(), strict=True):
        seen += counts
        lack = share * seen[:, None] - given
        split = int(np.argmax(counts @ lack))
        dealt[str(group)] = SPLITS[split]
        given[:, split] += counts
    return dealt, given


def _interleave(left: np.ndarray, count: int) -> list[str]:
    """Split of each of ``count`` films so that the splits get ``left`` films each, evenly along the order."""
    seats = left.copy()
    for split in (0, 2, 1):  # groups of several films may have overfilled a split: the largest one gives way first
        surplus = int(seats.sum()) - count
        seats[split] -= min(seats[split], max(surplus, 0))
    seats[0] += count - int(seats.sum())
    places = [((k + 0.5) / seats[split], split) for split in range(len(SPLITS)) for k in range(seats[split])]
    return [SPLITS[split] for _, split in sorted(places)]
