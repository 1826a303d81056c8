"""Risk-coverage curves, their areas and referral policies against brute force, ties and resamples included."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import resample_weights
from cxr_core.evaluation.referral import Reading, flag_report, selective_report
from cxr_core.evaluation.selective import Ordering, perfect_area, uncertainty_measures

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
ONCE = np.ones((1, 7))


def plain_area(ordered_wrong: np.ndarray) -> float:
    """Geifman and El-Yaniv's definition: mean over all coverages of the error rate among the kept."""
    return float(np.mean([ordered_wrong[: kept + 1].mean() for kept in range(len(ordered_wrong))]))


def over_all_orders(uncertainty: np.ndarray, wrong: np.ndarray) -> float:
    """Mean area over every order of the films that the ties allow."""
    found = []
    for order in itertools.permutations(range(len(wrong))):
        if (np.diff(uncertainty[list(order)]) >= 0).all():
            found.append(plain_area(wrong[list(order)]))
    return float(np.mean(found))


def test_the_area_equals_the_definition_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 50, 333):
        uncertainty, wrong = rng.random(n), rng.random(n) < 0.3
        area = Ordering(uncertainty).weigh(np.ones((1, n)), wrong).area()[0]
        assert area == pytest.approx(plain_area(wrong[np.argsort(uncertainty)]), abs=1e-12)
        assert perfect_area(np.ones((1, n)), wrong)[0] == pytest.approx(plain_area(np.sort(wrong)), abs=1e-12)


def test_films_of_equal_uncertainty_count_as_the_mean_over_their_orders() -> None:
    uncertainty = np.array([1, 1, 1, 2, 2, 3, 3], float)
    for wrong in ([1, 0, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 0, 1]):
        mistakes = np.array(wrong, bool)
        area = Ordering(uncertainty).weigh(ONCE, mistakes).area()[0]
        assert area == pytest.approx(over_all_orders(uncertainty, mistakes), abs=1e-12)
        flat = Ordering(np.zeros(7)).weigh(ONCE, mistakes)
        assert flat.area()[0] == pytest.approx(mistakes.mean())  # no order: the area of a random one
        assert flat.risks(np.array([0.1, 0.5, 1.0]))[0] == pytest.approx([mistakes.mean()] * 3)


def test_a_weighting_gives_what_the_repeated_films_give() -> None:
    rng = np.random.default_rng(1)
    n = 60
    uncertainty, wrong = rng.integers(0, 15, n).astype(float), rng.random(n) < 0.3
    groups = np.sort(rng.integers(0, 20, n)).astype(str)
    weights = np.concatenate(list(resample_weights(groups, 0, 12)))
    weighed = Ordering(uncertainty).weigh(weights, wrong)
    coverages = np.array([0.1, 0.35, 0.9, 1.0])
    sums = weighed.kept(np.stack([np.ones(n), wrong], axis=1), 0.35)
    for row, counts in enumerate(weights.astype(int)):
        again, mistakes = np.repeat(uncertainty, counts), np.repeat(wrong, counts)
        one = Ordering(again).weigh(np.ones((1, len(again))), mistakes)
        assert weighed.area()[row] == pytest.approx(one.area()[0], abs=1e-12)
        assert weighed.risks(coverages)[row] == pytest.approx(one.risks(coverages)[0], abs=1e-12)
        assert sums[row, 0] == pytest.approx(0.35 * len(again))
        assert sums[row, 1] / sums[row, 0] == pytest.approx(one.risks(np.array([0.35]))[0, 0])


def test_the_order_of_the_table_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    uncertainty, wrong = rng.integers(0, 5, 80).astype(float), rng.random(80) < 0.3
    order = rng.permutation(80)
    columns = np.stack([np.ones(80), wrong], axis=1)
    first = Ordering(uncertainty).weigh(np.ones((1, 80)), wrong)
    other = Ordering(uncertainty[order]).weigh(np.ones((1, 80)), wrong[order])
    assert other.area() == pytest.approx(first.area())
    assert other.kept(columns[order], 0.73) == pytest.approx(first.kept(columns, 0.73))


def test_an_empty_set_is_the_least_certain_and_measures_agree_with_their_definitions() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [1 / 3] * 3])
    sets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    found = uncertainty_measures(p, np.array([0.1, 0.2, 0.3]), sets)
    assert found["confidence"] == pytest.approx([0.5, 0.1, 2 / 3])
    assert found["margin"] == pytest.approx([0.8, 0.2, 1.0])
    assert found["entropy"] == pytest.approx([1.0296530, 0.3250830, np.log(3)])
    assert found["set_size"].tolist() == [2, 1, 4]
    assert found["mutual_information"].tolist() == [0.1, 0.2, 0.3]


def test_an_uncertainty_that_is_no_number_is_refused() -> None:
    with pytest.raises(CxrError, match="no numbers"):
        Ordering(np.array([0.1, np.nan]))


def reading(n: int = 200, seed: int = 3) -> tuple[Reading, np.ndarray]:
    """Films that are the likelier misread, the larger their uncertainty; two films a group."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    uncertainty = rng.random(n)
    predicted = np.where(rng.random(n) < 0.6 * uncertainty, (labels + 1) % 3, labels)
    return Reading(
        labels, predicted, np.array([f"g{row // 2}" for row in range(n)]), NAMES, "Tuberculosis"
    ), uncertainty


def test_a_policy_scores_the_kept_films_and_catches_the_errors_of_the_others() -> None:
    films, uncertainty = reading()
    report = selective_report(films, {"confidence": uncertainty}, (0.1, 0.3), 0, 200)
    for row in report["policies"]:
        kept = np.argsort(uncertainty)[: round(200 * (1 - row["referred"]))]
        labels, predicted = films.labels[kept], films.predicted[kept]
        assert row["accuracy"]["value"] == pytest.approx((labels == predicted).mean())
        assert row["macro_f1"]["value"] == pytest.approx(f1_score(labels, predicted, average="macro"))
        tb = labels == 2
        assert row["sensitivity"]["value"] == pytest.approx((predicted[tb] == 2).mean())
        caught = 1 - (labels != predicted).sum() / films.wrong.sum()
        assert row["errors_caught"]["value"] == pytest.approx(caught)
        gained = (labels == predicted).mean() - (films.labels == films.predicted).mean()
        assert row["accuracy_gained"]["value"] == pytest.approx(gained)
        for name in ("accuracy", "macro_f1", "sensitivity", "errors_caught", "accuracy_gained"):
            assert row[name]["low"] < row[name]["value"] < row[name]["high"]
    areas = report["areas"]
    assert areas["random"]["value"] == pytest.approx(films.wrong.mean())
    assert areas["perfect"]["value"] < areas["measures"]["confidence"]["area"]["value"] < areas["random"]["value"]
    assert areas["measures"]["confidence"]["gain"]["low"] > 0
    curve = report["curves"]["measures"]["confidence"]
    assert curve["risk"][-1] == pytest.approx(films.wrong.mean())
    assert all(
        low <= risk <= high for low, risk, high in zip(*(curve[k][8:] for k in ("low", "risk", "high")), strict=True)
    )


def test_an_ordering_without_meaning_gains_nothing_over_a_random_one() -> None:
    films, _ = reading()
    noise = np.random.default_rng(9).random(200)
    found = selective_report(films, {"noise": noise, "flat": np.ones(200)}, (0.2,), 0, 200)
    gains = {name: entry["gain"] for name, entry in found["areas"]["measures"].items()}
    assert gains["noise"]["low"] < 0 < gains["noise"]["high"]
    assert gains["flat"]["value"] == pytest.approx(0, abs=1e-12)
    flat = next(row for row in found["policies"] if row["measure"] == "flat")
    assert flat["errors_caught"]["value"] == pytest.approx(0.2)


def test_the_flag_is_compared_at_its_own_rate() -> None:
    films, uncertainty = reading(400)
    better = films.wrong + 0.1 * uncertainty
    report = flag_report(films, 1 - uncertainty, 0.7, {"confidence": uncertainty, "oracle": better}, 0, 200)
    flagged = uncertainty > 0.3
    assert report["films"] == flagged.sum()
    assert report["share"]["value"] == pytest.approx(flagged.mean())
    caught = films.wrong[flagged].sum() / films.wrong.sum()
    assert report["errors_caught"]["value"] == pytest.approx(caught)
    assert report["accuracy"]["value"] == pytest.approx(1 - films.wrong[~flagged].mean())
    assert report["over_random"]["value"] == pytest.approx(caught - flagged.mean())
    assert report["over_random"]["low"] > 0
    assert report["equal_rate"]["confidence"]["value"] == pytest.approx(caught)  # the flag is that policy
    assert report["best"]["measure"] == "oracle"
    assert report["best"]["over_flag"]["value"] == pytest.approx(1 - caught)
    assert f"catches {caught:.1%} of the errors" in report["sentence"]


def test_a_flag_that_nothing_falls_under_or_no_error_to_catch_is_said() -> None:
    films, uncertainty = reading()
    none = flag_report(films, np.ones(200), 0.7, {"confidence": uncertainty}, 0, 50)
    assert none["films"] == 0
    assert none["best"] is None
    assert "the flag refers none" in none["sentence"]
    flawless = Reading(films.labels, films.labels, films.groups, NAMES, "Tuberculosis")
    said = flag_report(flawless, 1 - uncertainty, 0.7, {"confidence": uncertainty}, 0, 50)
    assert said["errors_caught"] == {"value": None, "low": None, "high": None, "reason": "no film is misread"}
    assert "not available: no film is misread" in said["sentence"]
    policies = selective_report(flawless, {"confidence": uncertainty}, (0.2,), 0, 50)
    assert policies["policies"][0]["errors_caught"]["value"] is None
    assert policies["areas"]["measures"]["confidence"]["area"]["value"] == 0
    assert policies["areas"]["measures"]["confidence"]["area"]["low"] is None


def test_one_class_three_films_and_an_absent_class_are_stated_not_scored() -> None:
    labels = np.zeros(40, int)
    predicted = np.where(np.arange(40) % 4 == 0, 1, 0)
    uncertainty = np.linspace(0, 1, 40)
    single = Reading(labels, predicted, np.arange(40).astype(str), NAMES, "Tuberculosis")
    row = selective_report(single, {"confidence": uncertainty}, (0.2,), 0, 50)["policies"][0]
    assert row["macro_f1"] == {"value": None, "low": None, "high": None, "reason": "every film is Normal"}
    assert row["sensitivity"]["reason"] == "no film of Tuberculosis is among them"
    assert row["accuracy"]["value"] is not None
    few = Reading(np.array([0, 1, 2]), np.array([0, 1, 1]), np.array(list("abc")), NAMES, "Tuberculosis")
    report = selective_report(few, {"confidence": np.array([0.1, 0.2, 0.3])}, (0.05, 0.3), 0, 50)
    for row in report["policies"]:
        for name in ("accuracy", "errors_caught"):
            assert row[name]["low"] is None
            assert "at least 5 are needed" in row[name]["reason"]
    assert report["curves"]["measures"]["confidence"]["low"] == [None] * 39
    gone = Reading(labels, predicted, np.arange(40).astype(str), ("Normal", "Other"), "Tuberculosis")
    assert selective_report(gone, {"c": uncertainty}, (0.2,), 0, 50)["policies"][0]["sensitivity"]["value"] is None
