"""Train / validation / calibration / test: stratified by class and source, whole groups.

Validation and test have the report's counts (2.1, 2.2). The report calibrates nothing; films for that are taken from
its training part, since validation has already chosen the epoch, and test must stay unseen (TRAPS 11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError
from cxr_core.settings_sections import SplitSettings

__all__ = ["SPLITS", "class_targets", "group_table", "make_splits"]

SPLITS = ("train", "val", "test", "calibration")  # in the order of dealing after train

_COLUMNS = ["image_id", "split", "label", "label_index", "source", "group_id", "sha256"]


def make_splits(index: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """Split the accepted films.

    Inside each class and source, groups are ordered by a seeded hash; the first ones become validation, the next test,
    the next calibration, the rest train, so that every source is spread in proportion and films that are added later
    move few others. Groups of several films go first, single films then fill each class's target exactly wherever there
    are enough of them.

    Args:
        index: columns image_id, label, label_index, source, group_id, sha256, status; only ``accepted`` rows count.
        settings: fractions and seed.

    Returns:
        One row a film, sorted by image_id: image_id, split, label, label_index, source, group_id, sha256.

    Raises:
        CxrError: a class has too few groups for the splits.
    """
    films = index[index["status"] == "accepted"].sort_values("image_id", ignore_index=True)
    films_of = pd.crosstab(films["group_id"], films["label_index"])
    targets = np.array(class_targets(films_of.sum().to_numpy(), settings))
    for label_index, groups in (films_of > 0).sum().items():
        if groups < (needed := len(SPLITS) - (settings.calibration_fraction == 0)):
            name = films["label"][films["label_index"] == label_index].iloc[0]
            raise CxrError(
                f"Class {name} has {groups} patient groups, too few for {needed} parts (train, validation, test and "
                "calibration): add films."
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


def class_targets(counts: Sequence[int] | np.ndarray, settings: SplitSettings) -> list[tuple[int, int, int, int]]:
    """Films of each class in train, validation, test and calibration.

    The size of each part but train is rounded up from its fraction, then shared among the classes by largest
    remainder (Hamilton's method), as scikit-learn's stratified splitter does; on the report's 9,088 / 5,824 / 10,641
    that gives its 909 / 583 / 1,064.

    Args:
        counts: films of each class.
        settings: fractions.
    """
    total = int(np.sum(counts))
    val = _largest_remainder(counts, math.ceil(total * settings.val_fraction), total)
    test = _largest_remainder(counts, math.ceil(total * settings.test_fraction), total)
    calibration = _largest_remainder(counts, math.ceil(total * settings.calibration_fraction), total)
    return [(int(n) - v - t - c, v, t, c) for n, v, t, c in zip(counts, val, test, calibration, strict=True)]


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
        calibration = round(members["size"].sum() * settings.calibration_fraction)
        middle = members["size"].cumsum() - members["size"] / 2
        bounds = [middle < val, middle < val + test, middle < val + test + calibration]
        split = np.select(bounds, list(SPLITS[1:]), "train")
        dealt.update(zip(members["group_id"], split.tolist(), strict=True))
    return dealt


def _deal_singles(groups: pd.DataFrame, left: Sequence[int]) -> dict[str, str]:
    """Deal one class's single films so that each part of ``SPLITS`` gets ``left`` more films, shared by source."""
    sizes = groups["source"].value_counts().sort_index()
    if sizes.empty:
        return {}
    members = {source: groups["group_id"][groups["source"] == source].tolist() for source in sizes.index}
    taken = np.zeros(len(sizes), np.int64)
    dealt: dict[str, str] = {}
    for split, wanted in zip(SPLITS[1:], left[1:], strict=True):
        rest = sizes.to_numpy() - taken
        wanted = min(wanted, int(rest.sum()))  # groups of several films may have left too few
        shares = np.array(_largest_remainder(rest, wanted, max(int(rest.sum()), 1)))
        for source, start, count in zip(sizes.index, taken, shares, strict=True):
            dealt.update(dict.fromkeys(members[source][start : start + count], split))
        taken += shares
    for source, start in zip(sizes.index, taken, strict=True):
        dealt.update(dict.fromkeys(members[source][start:], "train"))
    return dealt
