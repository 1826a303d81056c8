"""Every exploratory figure draws on plain and on awkward data sets, and its numbers are those of the tables."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from made_up_films import LABELS, made_up

from cxr_core.eda.data import EdaData, one_v_rest_auc
from cxr_core.eda.figures import FIGURES
from cxr_core.eda.figures_tables import cramers_v
from cxr_core.errors import CxrError
from cxr_core.plotting import png_bytes

CASES = {
    "plain": {},
    "two_classes_one_source_no_defects": {"labels": ("Normal", "Tuberculosis"), "sources": 1, "defects": False},
    "no_source": {"sources": 0},
    "many_sources": {"sources": 15, "per_class": 15},
    "one_film_of_a_class": {"per_class": 1},
}


@pytest.fixture(scope="module", params=CASES)
def data(request: pytest.FixtureRequest) -> EdaData:
    return made_up(**{"per_class": 12, **CASES[request.param]})


@pytest.fixture(scope="module")
def plain() -> EdaData:
    return made_up(per_class=12)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_and_its_numbers_are_json_without_nan(data: EdaData, name: str) -> None:
    figure, numbers = FIGURES[name].build(data)
    assert png_bytes(figure, dpi=30).startswith(b"\x89PNG")
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


@pytest.mark.parametrize("name", FIGURES)
def test_a_class_without_accepted_films_leaves_a_gap_not_an_error(plain: EdaData, name: str) -> None:
    index = plain.index.copy()
    index.loc[index["label"] == "Pneumonia", "status"] = "quarantined"
    kept = plain.splits[plain.splits["label"] != "Pneumonia"]
    figure, numbers = FIGURES[name].build(replace(plain, index=index, splits=kept))
    assert png_bytes(figure, dpi=30)
    json.dumps(numbers, allow_nan=False)


@pytest.mark.parametrize("name", ["samples", "texture"])
def test_equal_data_gives_equal_bytes(name: str) -> None:
    first, second = (png_bytes(FIGURES[name].build(made_up(per_class=6))[0]) for _ in range(2))
    assert first == second


def test_class_counts_are_those_of_the_splits(plain: EdaData) -> None:
    _, numbers = FIGURES["class_distribution"].build(plain)
    assert numbers["totals"] == {"Normal": 12, "Pneumonia": 19, "Tuberculosis": 26}
    assert numbers["largest_to_smallest"] == pytest.approx(26 / 12)
    train = plain.splits[plain.splits["split"] == "train"]
    assert numbers["counts"]["train"] == {label: int((train["label"] == label).sum()) for label in LABELS}


def test_the_quality_table_counts_every_file_once_by_status(plain: EdaData) -> None:
    _, numbers = FIGURES["quality_table"].build(plain)
    assert {status: row["total"] for status, row in numbers["status"].items()} == {
        "accepted": 57,
        "quarantined": 2,
        "duplicate": 3,
    }
    assert numbers["quarantine"]["truncated"] == {"Normal": 1, "Pneumonia": 0, "Tuberculosis": 0, "total": 1}
    assert (numbers["duplicate"]["exact_duplicate"]["total"], numbers["duplicate"]["near_duplicate"]["total"]) == (1, 2)


def test_exposure_shares_are_counted_against_the_limits() -> None:
    data = made_up(per_class=12, seed=11)
    _, numbers = FIGURES["exposure"].build(data)
    means = data.accepted["mean"]
    assert numbers["all"]["under_exposed"] == int((means < 50).sum()) > 0
    assert numbers["all"]["over_exposed_share"] == pytest.approx((means > 200).mean())
    assert numbers["limits"] == {"under_exposed": 50.0, "over_exposed": 200.0}


def test_no_duplicates_is_said_as_computed() -> None:
    figure, numbers = FIGURES["duplicates_found"].build(made_up(per_class=3, defects=False))
    assert numbers["copies"] == numbers["clusters"] == 0
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["No duplicates found among 30 files."]


def test_duplicates_are_counted_by_cluster(plain: EdaData) -> None:
    _, numbers = FIGURES["duplicates_found"].build(plain)
    assert (numbers["copies"], numbers["clusters"], numbers["identical_files"]) == (3, 2, 1)


def test_samples_follow_the_seed_and_not_the_order_of_rows(plain: EdaData) -> None:
    shuffled = replace(plain, index=plain.index.sample(frac=1, random_state=1))
    drawn = FIGURES["samples"].build(plain)[1]["image_ids"]
    assert FIGURES["samples"].build(shuffled)[1]["image_ids"] == drawn
    assert FIGURES["samples"].build(replace(plain, seed=7))[1]["image_ids"] != drawn


def test_a_figure_says_which_part_it_misses(plain: EdaData) -> None:
    with pytest.raises(CxrError, match="splits"):
        FIGURES["class_distribution"].build(replace(plain, splits=None))
    with pytest.raises(CxrError, match="frames_of"):
        FIGURES["samples"].build(replace(plain, frames_of=None))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[10, 0], [0, 30]], 1.0),
        ([[10, 20], [20, 40]], 0.0),
        ([[10, 0, 0], [0, 5, 0], [0, 0, 9]], 1.0),
        ([[30, 10], [10, 30]], 0.5),  # phi of a 2 x 2 table: (30 * 30 - 10 * 10) / (40 * 40)
        ([[30, 10]], None),
        ([[30, 0], [20, 0]], None),
    ],
)
def test_cramers_v_of_tables_worked_out_by_hand(counts: list[list[int]], expected: float | None) -> None:
    value = cramers_v(np.array(counts, np.float64))
    assert value == expected if expected is None else value == pytest.approx(expected, abs=1e-12)


def test_one_v_rest_area_counts_ties_half() -> None:
    groups = {"a": np.array([1.0, 2.0]), "b": np.array([2.0, 3.0]), "c": np.array([])}
    assert one_v_rest_auc(groups, "b") == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert one_v_rest_auc(groups, "c") is None
