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

    Groups are ordered inside their class by source and by a seeded hash, and dealt out evenly along that order: every
    class and source is spread in proportion, and a film that is added later moves few others.

    Args:
        index: columns image_id, label, label_index, source, group_id, sha256, status; only ``accepted`` rows count.
        settings: fractions and seed.

    Returns:
        One row a film, sorted by image_id: image_id, split, label, label_index, source, group_id, sha256.

    Raises:
        CxrError: a class has too few groups for three splits.
    """
    films = index[index["status"] == "accepted"].sort_values("image_id", ignore_index=True)
    groups = _group_table(films, settings.seed)
    counts = films["label_index"].value_counts().sort_index()
    targets = class_targets(counts.to_numpy(), settings)
    split_of: dict[str, str] = {}
    for label_index, target in zip(counts.index, targets, strict=True):
        members = groups[groups["label_index"] == label_index]
        if len(members) < len(SPLITS):
            name = films["label"][films["label_index"] == label_index].iloc[0]
            raise CxrError(f"Class {name} has {len(members)} patient groups, too few for train, validation and test: add films.")
        split_of.update(_deal(members, dict(zip(SPLITS, target, strict=True))))
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


def _group_table(films: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One row a group: its size, its commonest class (the lower index on a tie), its source and its seeded place."""
    grouped = films.groupby("group_id", sort=True)
    table = grouped.agg(
        size=("image_id", "size"),
        label_index=("label_index", lambda values: int(values.mode().iloc[0])),
        source=("source", "first"),
    ).reset_index()
    table["place"] = [digest_bytes(f"{seed}:{group}".encode()) for group in table["group_id"]]
    return table.sort_values(["label_index", "source", "place"], ignore_index=True)


def _deal(groups: pd.DataFrame, target: dict[str, int]) -> dict[str, str]:
    """Deal one class's groups to the splits: those of several films first, single films fill up exactly."""
    wanted = {split: target[split] / sum(target.values()) for split in SPLITS}
    given = dict.fromkeys(SPLITS, 0)
    dealt: dict[str, str] = {}
    several = groups[groups["size"] > 1]
    seen = 0
    for group, size in zip(several["group_id"], several["size"], strict=True):
        seen += size
        split = max(SPLITS, key=lambda name: wanted[name] * seen - given[name])
        dealt[group] = split
        given[split] += size
    singles = groups["group_id"][groups["size"] == 1].tolist()
    left = {split: max(0, target[split] - given[split]) for split in SPLITS}
    surplus = sum(left.values()) - len(singles)  # groups of several films may have overfilled a split
    for split in ("train", "test", "val"):
        cut = min(left[split], surplus)
        left[split] -= cut
        surplus -= cut
    places = sorted(((k + 0.5) / left[split], order, split) for order, split in enumerate(SPLITS) for k in range(left[split]))
    dealt.update({group: split for group, (_, _, split) in zip(singles, places, strict=True)})
    return dealt
