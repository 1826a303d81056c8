"""Splits keep groups whole, class shares equal and the report's counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cxr_core.dataset.splits import class_targets, make_splits
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError
from cxr_core.settings_sections import SplitSettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
REPORT = (9088, 5824, 10641)


def index(counts: tuple[int, ...], group_of=None, source_of=None) -> pd.DataFrame:
    labels = np.repeat(np.arange(len(counts)), counts)
    digests = [digest_bytes(str(k).encode()) for k in range(len(labels))]
    return pd.DataFrame(
        {
            "image_id": [digest[:16] for digest in digests],
            "sha256": digests,
            "label": [LABELS[label] for label in labels],
            "label_index": labels,
            "source": [source_of(k) if source_of else "" for k in range(len(labels))],
            "group_id": [group_of(k) if group_of else f"g{k}" for k in range(len(labels))],
            "status": "accepted",
        }
    )


def counts(splits: pd.DataFrame) -> dict[str, list[int]]:
    table = pd.crosstab(splits["split"], splits["label_index"])
    return {split: table.loc[split].tolist() for split in table.index}


def test_the_report_s_manifest_gives_the_report_s_counts_when_nothing_is_kept_for_calibration():
    assert counts(make_splits(index(REPORT), SplitSettings(calibration_fraction=0))) == {
        "train": [7270, 4658, 8513],
        "val": [909, 583, 1064],
        "test": [909, 583, 1064],
    }


def test_calibration_is_taken_from_train_and_leaves_validation_and_test_as_they_are():
    without = make_splits(index(REPORT), SplitSettings(calibration_fraction=0)).set_index("image_id")["split"]
    dealt = make_splits(index(REPORT), SplitSettings())
    assert counts(dealt)["calibration"] == [909, 583, 1064]
    split = dealt.set_index("image_id")["split"]
    kept = split[split != "calibration"]
    assert kept.equals(without[kept.index])
    assert set(without[split[split == "calibration"].index]) == {"train"}


def test_targets_add_up_for_any_sizes():
    rng = np.random.default_rng(0)
    for sizes in rng.integers(10, 5000, (200, 3)):
        targets = np.array(class_targets(sizes, SplitSettings()))
        np.testing.assert_array_equal(targets.sum(axis=1), sizes)
        assert (targets > 0).all()
        assert np.abs(targets[:, 1:] - sizes[:, None] * 0.1).max() <= 1.5


def test_a_group_never_crosses_splits_and_shares_stay_close():
    films = index((700, 300, 500), group_of=lambda k: f"g{(k * 7919) % 400}")  # groups mix classes, too
    splits = make_splits(films, SplitSettings())
    assert (splits.groupby("group_id")["split"].nunique() == 1).all()
    assert len(splits) == len(films)
    shares = pd.crosstab(splits["split"], splits["label"], normalize="index")
    assert (shares.max() - shares.min()).max() < 0.06  # a group of mixed classes counts as its commonest
    assert splits["split"].value_counts(normalize=True)["train"] == pytest.approx(0.7, abs=0.02)


def test_every_source_is_spread_in_proportion():
    films = index((400, 400, 400), source_of=lambda k: ["a", "b", "b", "b"][k % 4])
    splits = make_splits(films, SplitSettings())
    shares = pd.crosstab(splits["split"], splits["source"], normalize="index")
    assert (shares["a"] - 0.25).abs().max() < 0.03


def test_the_seed_decides_and_the_order_of_rows_does_not():
    films = index((100, 100, 100))
    first = make_splits(films, SplitSettings())
    shuffled = films.sample(frac=1, random_state=3)
    assert make_splits(shuffled, SplitSettings()).equals(first)
    assert not make_splits(films, SplitSettings(seed=43)).equals(first)


def test_films_that_come_later_move_few_others():
    films = index((1000, 1000, 1000))
    later = index((1003, 1003, 1004)).iloc[::301]
    later = later.assign(image_id="z" + later["image_id"], group_id="z" + later["group_id"])
    grown = pd.concat([films, later])
    before = make_splits(films, SplitSettings()).set_index("image_id")["split"]
    after = make_splits(grown, SplitSettings()).set_index("image_id")["split"].loc[before.index]
    assert (before != after).mean() < 0.05


def test_only_accepted_films_are_dealt():
    films = index((100, 100, 100))
    films.loc[::10, "status"] = "quarantined"
    films.loc[1::10, "status"] = "duplicate"
    assert len(make_splits(films, SplitSettings())) == 240


def test_a_class_with_too_few_patients_is_named():
    films = index((100, 100, 50), group_of=lambda k: f"g{k}" if k < 200 else f"tb{k % 2}")
    with pytest.raises(CxrError, match="Class Tuberculosis has 2 patient groups"):
        make_splits(films, SplitSettings())
