"""DeLong's variance and test against his definition: structural components over all pairs, one at a time."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from cxr_core.errors import CxrError
from cxr_core.evaluation.delong import delong_by_class, delong_covariance, delong_interval, delong_test


def by_definition(positive: np.ndarray, scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Areas and their covariance, Biometrics 1988, equations 3 to 6, with two loops."""
    ones, zeros = np.flatnonzero(positive), np.flatnonzero(~positive)
    of_ones, of_zeros = np.zeros((len(scores), len(ones))), np.zeros((len(scores), len(zeros)))
    for number, values in enumerate(scores):
        for i, one in enumerate(ones):
            for j, zero in enumerate(zeros):
                kernel = 1.0 if values[zero] < values[one] else 0.5 if values[zero] == values[one] else 0.0
                of_ones[number, i] += kernel / len(zeros)
                of_zeros[number, j] += kernel / len(ones)
    areas = of_ones.mean(axis=1)
    s_ones = sum(np.outer(v, v) for v in (of_ones - areas[:, None]).T) / (len(ones) - 1)
    s_zeros = sum(np.outer(v, v) for v in (of_zeros - areas[:, None]).T) / (len(zeros) - 1)
    return areas, s_ones / len(ones) + s_zeros / len(zeros)


def made_up(n: int = 90, decimals: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    shared = rng.normal(size=n) + positive
    return positive, (shared + rng.normal(size=n)).round(decimals), (shared + 2 * rng.normal(size=n)).round(decimals)


@pytest.mark.parametrize("decimals", [0, 12])
def test_areas_and_covariance_are_those_of_the_definition(decimals: int) -> None:
    positive, a, b = made_up(decimals=decimals)
    found = delong_covariance(positive, [a, b])
    assert found is not None
    areas, covariance = by_definition(positive, [a, b])
    np.testing.assert_allclose(found[0], areas, atol=1e-12)
    np.testing.assert_allclose(found[1], covariance, atol=1e-12)
    assert found[0].tolist() == pytest.approx([roc_auc_score(positive, a), roc_auc_score(positive, b)])


def test_the_test_is_normal_on_the_difference_of_the_areas() -> None:
    positive, a, b = made_up()
    areas, covariance = by_definition(positive, [a, b])
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = delong_test(positive, a, b)
    assert found["value"] == pytest.approx(areas[0] - areas[1])
    assert found["z"] == pytest.approx((areas[0] - areas[1]) / error)
    assert found["p_value"] == pytest.approx(2 * norm.sf(abs(found["z"])), abs=1e-12)
    low, high = norm.interval(0.95, areas[0] - areas[1], error)
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    turned = delong_test(positive, b, a)
    assert (turned["value"], turned["p_value"]) == pytest.approx((-found["value"], found["p_value"]))
    assert delong_test(positive.astype(np.int64), a, b) == found


def test_the_interval_of_one_area_is_normal_and_cut_at_one() -> None:
    positive, a, _ = made_up()
    (area,), covariance = by_definition(positive, [a])
    found = delong_interval(positive, a)
    assert (found["low"], found["high"]) == pytest.approx(norm.interval(0.95, area, math.sqrt(covariance[0, 0])))
    assert found["positives"] == positive.sum()
    almost = np.where(positive, 10.0, 0.0) + np.arange(len(a)) / 1000
    almost[np.flatnonzero(positive)[0]] = -1
    assert delong_interval(positive, almost)["high"] == 1.0


def test_under_no_difference_the_test_fires_as_often_as_it_says() -> None:
    p_values = []
    for seed in range(400):
        rng = np.random.default_rng([9, seed])
        positive = np.arange(120) < 50
        shared = rng.normal(size=120) + positive
        found = delong_test(positive, shared + rng.normal(size=120), shared + rng.normal(size=120))
        p_values.append(found["p_value"])
    assert 0.025 < np.mean(np.array(p_values) < 0.05) < 0.08
    assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.08)


def test_every_class_is_tested_against_the_rest() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 150)
    a, b = (np.exp(rng.normal(size=(150, 3)) + skill * np.eye(3)[labels]) for skill in (2, 0.5))
    found = delong_by_class(labels, a, b, ("x", "y", "z"))
    assert list(found) == ["x", "y", "z"]
    assert found["y"] == delong_test(labels == 1, a[:, 1], b[:, 1])
    assert found["y"]["low"] > 0


def test_what_cannot_be_tested_says_why() -> None:
    positive, a, b = made_up()
    one = np.zeros(len(a), bool)
    one[0] = True
    for found in (delong_test(one, a, b), delong_interval(one, a), delong_test(~one, a, b)):
        assert found["value"] is None
        assert "at least 2 of each are needed" in found["reason"]
    same = delong_test(positive, a, np.exp(a))  # the same order
    assert (same["value"], same["p_value"]) == (0.0, None)
    assert same["reason"] == "no interval: the estimated variance of the difference is zero"
    perfect = delong_interval(positive, positive.astype(float))
    assert (perfect["value"], perfect["low"]) == (1.0, None)
    equal = delong_test(positive, np.full(len(a), 0.5), np.full(len(a), 0.2))
    assert (equal["value"], equal["low"]) == (0.0, None)
    json.dumps([same, perfect, equal], allow_nan=False)


def test_scores_that_are_no_numbers_or_of_other_films_are_refused() -> None:
    positive, a, b = made_up()
    with pytest.raises(CxrError, match="no numbers"):
        delong_test(positive, np.where(positive, np.nan, a), b)
    with pytest.raises(CxrError, match="do not match"):
        delong_test(positive, a[1:], b[1:])
