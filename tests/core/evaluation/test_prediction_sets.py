"""Prediction sets against crepes and the definition, their promise on data whose truth is known, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from crepes import ConformalClassifier

from cxr_core.errors import CxrError
from cxr_core.evaluation.coverage import calibration_draw, coverage_report, coverage_verdict
from cxr_core.evaluation.prediction_sets import (
    PredictionSets,
    conformal_quantile,
    fewest_groups,
    fit_prediction_sets,
)

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def sample(n: int, seed: int, truth: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that claim too much (``truth`` < 1), and labels that follow the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.5, (n, 3))
    said, real = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, truth * logits))
    return (rng.random((n, 1)) > real.cumsum(axis=1)).sum(axis=1).clip(0, 2), said


def split(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    labels, said = sample(2 * n, seed)
    return labels[:n], said[:n], labels[n:], said[n:]


def crepes_sets(scores: np.ndarray, new: np.ndarray, level: float, bins: np.ndarray | None = None) -> np.ndarray:
    """Classes whose p-value by crepes exceeds 1 - level, in whole numbers.

    crepes' own sets also hold p-values that equal it, one rank beyond ceil((n + 1) x level) where that is whole.
    """
    model = ConformalClassifier()
    model.fit(scores, bins=bins)
    found = np.zeros(new.shape, bool)
    for place in range(new.shape[1]):
        where = None if bins is None else np.full(len(new), place)
        p = model.predict_p(new[:, [place]], bins=where, smoothing=False)[:, 0]
        n = len(scores) if bins is None else int((bins == place).sum())
        found[:, place] = 100 * np.rint(p * (n + 1)) > round(100 * (1 - level)) * (n + 1)
        if round(100 * level) * (n + 1) % 100:
            own = model.predict_set(new[:, [place]], bins=where, confidence=level, smoothing=False)[:, 0]
            assert (own == found[:, place]).all()
    return found


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [80, 99, 200])
def test_sets_equal_those_of_crepes(n: int, level: float) -> None:
    labels, said, _, new = split(n, seed=n)
    if n == 80:
        said, new = said.round(1), new.round(1)  # ties
    fitted = fit_prediction_sets(said, labels, NAMES, level)
    scores, others = 1 - said[np.arange(n), labels], 1 - new
    marginal = fitted.sets(new, conditional=False)
    assert (marginal == crepes_sets(scores, others, level)).all()
    assert level > 0.8 or 0 < marginal.mean() < 1
    assert (fitted.sets(new, conditional=True) == crepes_sets(scores, others, level, labels)).all()


def test_the_quantile_is_the_score_of_the_corrected_rank() -> None:
    rng = np.random.default_rng(0)
    for n in (9, 10, 19, 99, 100, 250):
        for level in (0.55, 0.7, 0.9):
            scores = rng.random(n)
            rank = next(r for r in range(1, n + 2) if 100 * r >= round(100 * level) * (n + 1))  # whole numbers only
            expected = sorted(scores)[rank - 1] if rank <= n else None
            assert conformal_quantile(scores, np.arange(n).astype(str), level) == expected


def test_one_film_of_each_group_gives_the_same_sets_as_no_groups_in_any_order() -> None:
    labels, said, _, new = split(150, seed=1)
    first = fit_prediction_sets(said, labels, NAMES, 0.9)
    order = np.random.default_rng(0).permutation(150)
    groups = np.array([f"g{row}" for row in order], dtype=object)
    assert fit_prediction_sets(said[order], labels[order], NAMES, 0.9, groups) == first
    assert PredictionSets.model_validate_json(first.model_dump_json()) == first
    again = PredictionSets.model_validate_json(first.model_dump_json())
    assert (again.sets(new, True) == first.sets(new, True)).all()
    assert (again.sets(said, False)[np.arange(150), labels]).sum() == math.ceil(151 * 0.9)


def test_the_films_of_a_group_count_as_one() -> None:
    """Brute force: the smallest score with which the mean over the groups and a new one reaches the level."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        groups = np.sort(rng.integers(0, 25, 60)).astype(str)
        scores = rng.random(60).round(2)
        names = np.unique(groups)
        reached = [
            s
            for s in sorted(scores)
            if sum((scores[groups == g] <= s).mean() for g in names) / (len(names) + 1) >= 0.8 - 1e-12
        ]
        assert conformal_quantile(scores, groups, 0.8) == (reached[0] if reached else None)


def test_a_group_of_hundred_films_does_not_pull_the_quantile_to_its_own_scores() -> None:
    scores = np.concatenate([np.linspace(0, 0.5, 50), np.full(100, 0.99)])
    groups = np.array([f"g{row}" for row in range(50)] + ["big"] * 100)
    assert conformal_quantile(scores, groups, 0.9) < 0.5
    assert conformal_quantile(scores, np.arange(150).astype(str), 0.9) == 0.99


def test_sets_cover_each_class_as_promised_over_twenty_resamplings() -> None:
    labels, said = sample(3000, seed=7)
    rng = np.random.default_rng(7)
    covered: dict[str, list[float]] = {name: [] for name in (*NAMES, "all")}
    for _ in range(20):
        order = rng.permutation(3000)
        first, second = order[:1500], order[1500:]
        fitted = fit_prediction_sets(said[first], labels[first], NAMES, 0.9)
        truth = labels[second]
        hit = fitted.sets(said[second], conditional=True)[np.arange(1500), truth]
        for place, name in enumerate(NAMES):
            covered[name].append(hit[truth == place].mean())
        covered["all"].append(fitted.sets(said[second], conditional=False)[np.arange(1500), truth].mean())
    for name, shares in covered.items():
        assert 0.88 <= np.mean(shares) <= 0.92, name
        assert np.std(shares) > 0


def test_a_model_that_neglects_a_class_breaks_the_marginal_promise_inside_it_but_not_the_conditional_one() -> None:
    rng = np.random.default_rng(0)
    labels, said = sample(6000, seed=2)
    said[:, 2] *= 0.1
    said /= said.sum(axis=1, keepdims=True)
    order = rng.permutation(6000)
    fitted = fit_prediction_sets(said[order[:3000]], labels[order[:3000]], NAMES, 0.9)
    rest = order[3000:]
    rest = rest[labels[rest] == 2]
    assert fitted.sets(said[rest], False)[:, 2].mean() < 0.8
    assert 0.88 <= fitted.sets(said[rest], True)[:, 2].mean() <= 0.92


def test_a_class_of_few_groups_has_no_quantile_and_is_in_every_set() -> None:
    assert [fewest_groups(level) for level in (0.8, 0.9, 0.95, 0.99)] == [4, 9, 19, 99]
    for films, there in ((8, False), (9, True)):
        labels = np.array([0] * 60 + [1] * 40 + [2] * films)
        said = np.full((len(labels), 3), 0.01)
        said[np.arange(len(labels)), labels] = 0.98
        fitted = fit_prediction_sets(said, labels, NAMES, 0.9)
        assert (fitted.classes[2].quantile is not None) == there
        new = np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]])
        assert (fitted.sets(new, True)[:, 2] == (not there)).all()
        assert not fitted.sets(new, False)[:, 2].any()
    assert fit_prediction_sets(said[:107], labels[:107], NAMES, 0.9).classes[2].quantile is None
    few = fit_prediction_sets(said[:108], labels[:108], NAMES, 0.9, ["a"] * 60 + ["b"] * 40 + ["c"] * 8)
    assert few.quantile is None
    assert few.reason == "3 patient groups; a level of 0.9 needs 9"
    assert few.sets(new, False).all()
    assert few.sets(new, True).all()


def test_no_film_at_all_fits_sets_that_rule_nothing_out() -> None:
    fitted = fit_prediction_sets(np.zeros((0, 3)), np.zeros(0, int), NAMES, 0.9)
    assert (fitted.films, fitted.groups, fitted.quantile) == (0, 0, None)
    assert fitted.sets(np.array([[1.0, 0.0, 0.0]]), False).all()


def test_empty_sets_are_an_answer_and_are_counted() -> None:
    labels = np.arange(60) % 3
    said = np.full((60, 3), 0.05)
    said[np.arange(60), labels] = 0.9
    fitted = fit_prediction_sets(said, labels, NAMES, 0.9)
    unsure = np.full((6, 3), 1 / 3)
    sets = np.concatenate([fitted.sets(unsure, False), fitted.sets(said, False)])
    assert not sets[:6].any()
    report = coverage_report(
        sets, np.concatenate([labels[:6], labels]), [f"g{row}" for row in range(66)], ["a"] * 66, NAMES, 0, 50
    )
    assert [row["films"] for row in report["sizes"]] == [6, 60, 0, 0]
    assert report["all"]["coverage"]["value"] == pytest.approx(60 / 66)
    assert report["singletons"]["accuracy"]["value"] == 1
    assert report["singletons"]["accuracy"]["high"] == 1
    assert 0.9 < report["singletons"]["accuracy"]["low"] < 1
    assert report["mean_size"]["value"] == pytest.approx(60 / 66)


def test_equal_probabilities_give_sets_of_all_classes() -> None:
    said = np.full((90, 3), 1 / 3)
    fitted = fit_prediction_sets(said, np.arange(90) % 3, NAMES, 0.9)
    assert fitted.sets(said, False).all()
    assert fitted.sets(said, True).all()


def test_what_is_no_probability_is_refused() -> None:
    labels, said = sample(30, 0)
    fitted = fit_prediction_sets(said, labels, NAMES, 0.9)
    broken = said.copy()
    broken[3, 1] = np.nan
    with pytest.raises(CxrError, match="Column p_1"):
        fit_prediction_sets(broken, labels, NAMES, 0.9)
    with pytest.raises(CxrError, match="Column p_1"):
        fitted.sets(broken, False)
    with pytest.raises(CxrError, match="outside 0 to 1"):
        fitted.sets(np.log(said), False)
    with pytest.raises(CxrError, match="do not fit 3 classes"):
        fitted.sets(said[:, :2], False)
    with pytest.raises(CxrError, match="Labels run from 0 to 3"):
        fit_prediction_sets(said, np.where(labels == 2, 3, labels), NAMES, 0.9)
    with pytest.raises(CxrError, match="29 labels"):
        fit_prediction_sets(said, labels[:29], NAMES, 0.9)


def verdict(first: np.ndarray, second: np.ndarray, test: np.ndarray, said: np.ndarray) -> dict:
    fitted = fit_prediction_sets(second, first, NAMES, 0.9)
    groups = [f"g{row}" for row in range(len(test))]
    report = coverage_report(fitted.sets(said, False), test, groups, ["a"] * len(test), NAMES, 0, 300)
    return coverage_verdict(fitted, report)


def test_the_check_passes_on_films_like_those_of_calibration_and_fails_on_others() -> None:
    labels, said, test, new = split(500, seed=4)
    good = verdict(labels, said, test, new)
    assert good["passed"]
    assert good["low"] < 0.9 < good["high"]
    assert good["limit"] == 0.9
    shifted, odd = sample(500, seed=5, truth=0.15)  # another hospital: the same claims, far less truth
    bad = verdict(labels, said, shifted, odd)
    assert not bad["passed"]
    assert bad["high"] < 0.9
    assert "which the interval does not reach" in bad["sentence"]


def test_the_check_does_not_pass_on_sets_that_rule_nothing_out_or_on_three_films() -> None:
    labels, said, test, new = split(200, seed=6)
    none = verdict(labels[:5], said[:5], test, new)
    assert not none["passed"]
    assert "5 patient groups" in none["sentence"]
    few = verdict(labels, said, test[:3], new[:3])
    assert few["passed"] == (few["high"] is not None and few["high"] >= 0.9)
    assert few["low"] is None or few["low"] < 0.3  # three films prove nothing


def test_the_spread_by_calibration_alone_is_that_of_simulated_calibrations() -> None:
    rng = np.random.default_rng(0)
    found = [conformal_quantile(rng.random(60), np.arange(60).astype(str), 0.9) for _ in range(3000)]
    spread = calibration_draw(60, 0.9)  # uniform scores: a quantile is its own coverage
    assert np.quantile(found, [0.025, 0.975]) == pytest.approx([spread["low"], spread["high"]], abs=0.01)
    assert calibration_draw(8, 0.9) is None


def test_coverage_is_reported_inside_each_class_and_source_and_with_each_group_once() -> None:
    sets = np.array([[1, 0, 0]] * 30 + [[1, 1, 0]] * 10 + [[0, 0, 1]] * 10, dtype=bool)
    labels = np.array([0] * 20 + [1] * 20 + [2] * 10)
    groups = ["big"] * 20 + [f"g{row}" for row in range(30)]
    sources = ["a"] * 25 + ["b"] * 25
    report = coverage_report(sets, labels, groups, sources, NAMES, 0, 200)
    assert report["all"]["coverage"]["value"] == pytest.approx(40 / 50)
    assert report["all"]["each_group_once"]["value"] == pytest.approx((1 + 20) / 31)
    assert report["per_class"]["Pneumonia"]["coverage"]["value"] == pytest.approx(10 / 20)
    assert report["per_class"]["Normal"]["groups"] == 1
    assert report["per_source"]["a"]["coverage"]["value"] == pytest.approx(20 / 25)
    assert report["per_source"]["b"]["films"] == 25
    assert report["all"]["coverage"]["low"] < 0.8 < report["all"]["coverage"]["high"]
