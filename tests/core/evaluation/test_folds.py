import numpy as np
import pandas as pd
import pytest

from cxr_core.errors import CxrError
from cxr_core.evaluation.folds import deal_folds, deal_validation, sparse_strata

LABELS = ("Normal", "Pneumonia", "Tuberculosis")


def films(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Three sources of unequal mix; one patient in ten has two to five films."""
    rng = np.random.default_rng(seed)
    rows, patient = [], 0
    while len(rows) < n:
        source = str(rng.choice(["a", "b", "c"], p=[0.6, 0.3, 0.1]))
        label = int(rng.choice(3, p={"a": [0.5, 0.5, 0], "b": [0.4, 0.2, 0.4], "c": [0.3, 0, 0.7]}[source]))
        for _ in range(int(rng.integers(2, 6)) if rng.random() < 0.1 else 1):
            rows.append((f"i{len(rows):04}", LABELS[label], label, source, f"p{patient}"))
        patient += 1
    return pd.DataFrame(rows, columns=["image_id", "label", "label_index", "source", "group_id"])


def test_no_patient_lies_in_two_folds() -> None:
    table = films()
    fold = pd.Series(deal_folds(table, 5, 42))
    assert fold.groupby(table["group_id"]).nunique().max() == 1
    assert sorted(fold.unique()) == [0, 1, 2, 3, 4]


def test_every_fold_has_its_share_of_every_class_and_source() -> None:
    table = films(2000)
    counts = pd.crosstab([table["label"], table["source"]], deal_folds(table, 5, 42))
    share = counts.div(counts.sum(axis=1), axis=0)
    assert counts.shape == (7, 5)
    largest_group = 5
    assert (counts.sub(counts.sum(axis=1) / 5, axis=0).abs() <= largest_group).all(axis=None)
    assert share.loc[counts.sum(axis=1) > 200].sub(0.2).abs().max(axis=None) < 0.02


def test_the_order_of_the_rows_is_of_no_account_and_the_seed_is() -> None:
    table = films()
    fold = pd.Series(deal_folds(table, 5, 42), table["image_id"])
    mixed = table.sample(frac=1, random_state=1)
    again = pd.Series(deal_folds(mixed, 5, 42), mixed["image_id"])
    assert (again.loc[fold.index] == fold).all()
    assert (pd.Series(deal_folds(table, 5, 43), table["image_id"]) != fold).mean() > 0.5


def test_films_that_are_added_later_move_few_others() -> None:
    table = films()
    more = pd.concat([table, table.head(6).assign(image_id=[f"n{i}" for i in range(6)], group_id="new")])
    before = deal_folds(table, 5, 42)
    after = deal_folds(more.reset_index(drop=True), 5, 42)[: len(table)]
    assert (before != after).mean() < 0.03


def test_small_strata_do_not_all_favour_one_fold() -> None:
    rows = [(f"i{n}", "Normal", 0, f"s{n // 2}", f"p{n}") for n in range(200)]
    table = pd.DataFrame(rows, columns=["image_id", "label", "label_index", "source", "group_id"])
    counts = np.bincount(deal_folds(table, 5, 42))
    assert counts.min() >= 39
    assert counts.max() <= 41


def test_a_source_with_fewer_patients_than_folds_is_dealt_and_named() -> None:
    table = pd.concat([films(300), pd.DataFrame({"image_id": ["x", "y", "z"], "label": "Tuberculosis", "label_index": 2,
                                                 "source": "other", "group_id": ["g1", "g1", "g2"]})])  # fmt: skip
    fold = pd.Series(deal_folds(table, 5, 42), table["image_id"].to_numpy())
    assert fold["x"] == fold["y"]
    assert {"label": "Tuberculosis", "source": "other", "groups": 2, "films": 3} in sparse_strata(table, 5)
    assert sparse_strata(table[table["source"] == "a"], 5) == []


def test_films_of_an_unknown_source_are_dealt_too() -> None:
    table = films(100).assign(source=None)
    assert np.bincount(deal_folds(table, 4, 1)).min() > 15


def test_too_few_patients_are_refused_in_words() -> None:
    table = films(300)
    with pytest.raises(CxrError, match=r"3 patient groups cannot fill 5 folds"):
        deal_folds(table[table["group_id"].isin(["p0", "p1", "p2"])], 5, 42)
    lonely = table["label"] == "Tuberculosis"
    with pytest.raises(CxrError, match="All films of class Tuberculosis lie in one fold"):
        deal_folds(table.assign(group_id=table["group_id"].where(~lonely, "one")), 5, 42)
    with pytest.raises(CxrError, match="No patient group can be spared"):
        deal_validation(table[table["group_id"] == "p0"], 0.1, 42)


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.4])
def test_the_validation_part_holds_whole_patients_in_proportion(fraction: float) -> None:
    table = films(2000)
    aside = pd.Series(deal_validation(table, fraction, 42))
    assert aside.groupby(table["group_id"]).nunique().max() == 1
    share = aside.groupby([table["label"], table["source"]]).mean()
    big = table.groupby(["label", "source"]).size() > 200
    assert share[big].sub(fraction).abs().max() < 0.03


def test_every_class_that_can_has_films_on_both_sides() -> None:
    table = films(60, seed=3)
    rare = table["label"] == "Tuberculosis"
    table = pd.concat([table[~rare], table[rare].drop_duplicates("group_id").head(2)], ignore_index=True)
    for seed in range(20):
        aside = deal_validation(table, 0.1, seed)
        for label in LABELS:
            of_class = aside[(table["label"] == label).to_numpy()]
            assert of_class.any()
            assert not of_class.all()
    alone = table["label"] == "Tuberculosis"
    table.loc[alone, "group_id"] = "one"
    assert not any(deal_validation(table, 0.1, seed)[alone.to_numpy()].any() for seed in range(20))
