"""Train / validation / test: stratified by class and source, whole groups, the report's counts (2.1, 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError
from cxr_core.settings_sections import SplitSettings

__all__ = ["SPLITS", "class_targets", "group_table", "make_splits"]

SPLITS = ("train", "val", "test")

_COLUMNS = ["image_id", "split", "label", "label_index", "source", "group_id", "sha256"]


def make_splits(index: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """Split the accepted films.

    Inside each class and source, groups are ordered by a seeded hash; the first ones become validation, the next test,
    the rest train, so that every source is spread in proportion and films that are added later move few others. Groups
    of several films go first, single films then fill each class's target exactly wherever there are enough of them.

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
            raise CxrError(
                f"Class {name} has {groups} patient groups, too few for train, validation and test: add films."
            )
    groups = group_table(films, settings.seed)
    split_of = _deal_several(groups[groups["size"] > 1], settings)
    dealt = films[films["group_id"].isin(split_of)]
    for label_index, target in zip(films_of.columns, targets, strict=True):
        mine = dealt["group_id"][dealt["label_index"] == label_index].map(split_of).value_counts()
        left = [max(0, wanted - int(mine.get(split, 0))) for split, wanted in zip(SPLITS, target, strict=True)]
        split_of.update(_deal_singles(groups[(groups["size"] == 1) & (groups["label_index"] == label_index)], left))
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


def group_table(films: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One row a group, ordered by a seeded hash.

    Args:
        films: columns group_id, label_index, source, in a settled order.
        seed: of the hash.

    Returns:
        Columns group_id, label_index (the commonest; the lower on a tie), size (films), source (of the first film),
        place (the hash).
    """
    counted = films.groupby(["group_id", "label_index"]).size().rename("films").reset_index()
    main = counted.sort_values(["films", "label_index"], ascending=[False, True]).drop_duplicates("group_id")
    table = main.set_index("group_id")[["label_index"]]
    table["size"] = films["group_id"].value_counts()
    table["source"] = films.drop_duplicates("group_id").set_index("group_id")["source"]
    table["place"] = [digest_bytes(f"{seed}:{group}".encode()) for group in table.index]
    return table.sort_values("place").reset_index()


def _deal_several(groups: pd.DataFrame, settings: SplitSettings) -> dict[str, str]:
    """Deal groups of several films, each class and source by itself, so that films come closest to the fractions."""
    dealt: dict[str, str] = {}
    for _, members in groups.groupby(["label_index", "source"]):
        val = round(members["size"].sum() * settings.val_fraction)
        test = round(members["size"].sum() * settings.test_fraction)
        middle = members["size"].cumsum() - members["size"] / 2
        split = np.select([middle < val, middle < val + test], ["val", "test"], "train")
        dealt.update(zip(members["group_id"], split.tolist(), strict=True))
    return dealt


def _deal_singles(groups: pd.DataFrame, left: Sequence[int]) -> dict[str, str]:
    """Deal one class's single films so that train, val and test get ``left`` more films each, shared by source."""
    _, val, test = left
    val = min(val, len(groups))  # groups of several films may have left too few
    test = min(test, len(groups) - val)
    sizes = groups["source"].value_counts().sort_index()
    if sizes.empty:
        return {}
    val_of = np.array(_largest_remainder(sizes.to_numpy(), val, int(sizes.sum())))
    rest = sizes.to_numpy() - val_of
    test_of = np.array(_largest_remainder(rest, test, max(int(rest.sum()), 1)))
    dealt: dict[str, str] = {}
    for source, v, t in zip(sizes.index, val_of, test_of, strict=True):
        members = groups["group_id"][groups["source"] == source].tolist()
        dealt.update(dict.fromkeys(members[:v], "val"))
        dealt.update(dict.fromkeys(members[v : v + t], "test"))
        dealt.update(dict.fromkeys(members[v + t :], "train"))
    return dealt
