"""Cramér's V and its permutation null against scipy and a plain reading of Bergsma's formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, fisher_exact

from cxr_core.trust.shortcut_association import association, chi_squared, contingency, cramers_v


def test_the_statistic_is_that_of_scipy():
    table = np.random.default_rng(0).integers(1, 40, (5, 3, 4)).astype(float)
    expected = [chi2_contingency(one, correction=False).statistic for one in table]
    np.testing.assert_allclose(chi_squared(table), expected, rtol=1e-10)


def test_the_bias_correction_is_bergsmas():
    table = np.array([[30.0, 10.0, 5.0], [12.0, 25.0, 9.0]])
    n, r, c = table.sum(), 2, 3
    phi = chi2_contingency(table, correction=False).statistic / n
    phi = max(0.0, phi - (r - 1) * (c - 1) / (n - 1))
    r_, c_ = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    assert float(cramers_v(table)) == pytest.approx((phi / min(r_ - 1, c_ - 1)) ** 0.5, abs=1e-12)


def test_it_reaches_from_none_to_one_and_empty_rows_count_nothing():
    assert float(cramers_v(np.full((3, 3), 20.0))) == 0
    assert float(cramers_v(np.diag([20.0, 30.0, 40.0]))) == pytest.approx(1)
    whole = np.array([[30.0, 10.0], [5.0, 25.0]])
    assert float(cramers_v(np.vstack([whole, [0, 0]]))) == pytest.approx(float(cramers_v(whole)), abs=1e-12)
    assert np.isnan(cramers_v(np.array([[3.0, 4.0], [0.0, 0.0]])))


def test_on_average_it_is_about_zero_where_nothing_is_associated():
    rng = np.random.default_rng(1)
    tables = np.stack([contingency(rng.integers(0, 3, 60), rng.integers(0, 4, 60), (3, 4)) for _ in range(300)])
    raw = np.sqrt(chi_squared(tables) / 60 / 2)
    assert cramers_v(tables).mean() < 0.5 * raw.mean()


def said(labels: np.ndarray, other: np.ndarray, groups: np.ndarray, shape: tuple[int, int] = (3, 2)) -> dict:
    return association(labels, other, shape, groups, 0, 4000, "all have one label")


def test_its_p_value_is_that_of_the_chi_squared_test_on_independent_films():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 200)
    marked = (rng.random(200) < 0.3 + 0.06 * labels).astype(np.int64)
    expected = chi2_contingency(contingency(labels, marked, (3, 2)), correction=False).pvalue
    assert 0.02 < expected < 0.9
    assert said(labels, marked, np.arange(200).astype(str))["p_value"] == pytest.approx(expected, abs=0.03)


def test_its_p_value_is_fishers_where_counts_are_small():
    labels, marked = np.array([0] * 8 + [1] * 8), np.array([1] * 6 + [0] * 2 + [1] * 1 + [0] * 7)
    expected = fisher_exact(contingency(labels, marked, (2, 2))).pvalue
    found = said(labels, marked, np.arange(16).astype(str), (2, 2))
    assert found["p_value"] == pytest.approx(expected, abs=0.01)


def test_ten_films_of_a_patient_are_no_more_evidence_than_one():
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 3, 30)
    marked = (rng.random(30) < 0.2 + 0.2 * labels).astype(np.int64)
    once = said(labels, marked, np.arange(30).astype(str))["p_value"]
    tenfold = said(*(np.repeat(part, 10) for part in (labels, marked)), np.repeat(np.arange(30), 10).astype(str))
    assert tenfold["p_value"] == pytest.approx(once, abs=0.03)
    naive = chi2_contingency(contingency(np.repeat(labels, 10), np.repeat(marked, 10), (3, 2))).pvalue
    assert naive < 0.001 < once


def test_one_value_on_a_side_is_not_available():
    found = said(np.zeros(10, np.int64), np.arange(10) % 2, np.arange(10).astype(str))
    assert found["value"] is None
    assert found["reason"] == "all have one label"
