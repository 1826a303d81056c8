"""Permutation over groups, corrections for many tests and exact shares, each against another way to get it."""

from __future__ import annotations

from itertools import permutations as orders

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control, fisher_exact

from cxr_core.trust.failure_shares import group_share
from cxr_core.trust.subgroup_multiplicity import benjamini_hochberg, holm
from cxr_core.trust.subgroup_permutation import FLIPPED, PERMUTED, GroupPermutations, group_test, permutation_p


def test_holm_and_benjamini_hochberg_agree_with_their_definitions() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.2])
    # By hand: 5 x .005, 4 x .01, 3 x .03, then not below the one before; 2 x .04 = .08 < .09; .2.
    assert holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])
    rng = np.random.default_rng(0)
    many = rng.uniform(size=40) ** 2
    assert benjamini_hochberg(many) == pytest.approx(false_discovery_control(many, method="bh"), abs=1e-12)


def test_what_was_not_tested_does_not_count_in_the_family() -> None:
    p = np.array([0.01, np.nan, 0.04])
    assert holm(p)[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(holm(p)[1])
    assert np.isnan(benjamini_hochberg(p)[1])
    assert holm(np.array([])).shape == (0,)


def test_a_share_of_independent_films_has_the_interval_of_clopper_and_pearson() -> None:
    hit = np.arange(40) < 7
    share = group_share(hit, [f"g{row}" for row in range(40)])
    exact = binomtest(7, 40).proportion_ci(0.95, "exact")
    assert (share["low"], share["high"]) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert share["count"] == 7


def test_a_share_is_less_certain_where_films_of_a_patient_hang_together() -> None:
    hit = np.repeat(np.arange(20) < 5, 2)  # each patient twice: 20 independent patients, not 40
    share = group_share(hit, np.repeat([f"g{row}" for row in range(20)], 2))
    exact = binomtest(5, 20).proportion_ci(0.95, "exact")
    assert (share["low"], share["high"]) == pytest.approx((exact.low, exact.high), abs=1e-9)
    none = group_share(np.zeros(40, bool), np.repeat([f"g{row}" for row in range(20)], 2))
    assert none["high"] == pytest.approx(binomtest(0, 20).proportion_ci(0.95, "exact").high, abs=1e-9)
    assert "there are no films of X" in group_share(np.zeros(0, bool), [], "films of X")["reason"]


def test_permutation_p_values_agree_with_fishers_exact_test_on_single_films() -> None:
    member = np.arange(60) < 20
    coefficients = (member / 20 - ~member / 40)[:, None]
    groups, labels = [f"g{row}" for row in range(60)], np.zeros(60, int)
    mild = np.concatenate([np.arange(20) < 12, np.arange(40) < 32]).astype(float)
    p, how = group_test(mild, coefficients, groups, labels, 0, 20_000)
    tail = fisher_exact([[12, 8], [32, 8]], alternative="less").pvalue
    assert p[0] == pytest.approx(2 * tail, rel=0.05)
    assert how == [PERMUTED]


def test_whole_groups_move_and_only_between_groups_of_the_same_films() -> None:
    groups = np.array(["a", "a", "b", "b", "c", "d", "e"])
    labels = np.array([0, 1, 0, 1, 0, 0, 1])
    outcomes = np.array([1.0, 2, 3, 4, 5, 6, 7])
    plan = GroupPermutations(groups, labels)
    rows = np.concatenate(list(plan.shuffled(outcomes, 0, 200)))
    assert rows.shape == (200, 7)
    assert {tuple(row[:4]) for row in rows} == {(1, 2, 3, 4), (3, 4, 1, 2)}
    assert {tuple(row[4:6]) for row in rows} == {tuple(order) for order in orders((5.0, 6.0))}
    assert set(rows[:, 6]) == {7}


def test_p_values_of_clustered_outcomes_are_uniform_where_there_is_no_gap() -> None:
    """Films of one patient are all right or all wrong: a test that takes them for independent fires far too often."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 3)
    member = (groups < 20).astype(float)
    coefficients = (member / 60 - (1 - member) / 120)[:, None]
    labels = np.zeros(180, int)
    p = np.array(
        [
            group_test(np.repeat(rng.random(60) < 0.7, 3).astype(float), coefficients, groups, labels, seed, 199)[0][0]
            for seed in range(300)
        ]
    )
    assert 0.01 <= (p <= 0.05).mean() <= 0.08
    naive = [
        permutation_p(
            np.repeat(rng.random(60) < 0.7, 3).astype(float),
            coefficients,
            GroupPermutations(np.arange(180).astype(str), labels),
            seed,
            199,
        )[0]
        for seed in range(100)
    ]
    assert (np.array(naive) <= 0.05).mean() > 0.12


def test_a_stratum_of_group_sizes_is_tested_by_sign_flips_at_its_level() -> None:
    """Patients with one film against patients with two: groups of one size all lie on one side, so none can move."""
    groups = np.concatenate([np.arange(80), 80 + np.repeat(np.arange(40), 2)])
    member = (groups >= 80).astype(float)
    coefficients = (member / 80 - (1 - member) / 80)[:, None]
    labels = np.zeros(160, int)
    rng = np.random.default_rng(2)
    null = []
    for seed in range(300):
        outcome = (rng.random(120) < 0.8)[groups].astype(float)
        p, how = group_test(outcome, coefficients, groups, labels, seed, 199)
        assert how == [FLIPPED]
        null.append(p[0])
    assert 0.01 <= (np.array(null) <= 0.05).mean() <= 0.08
    apart = np.where(member > 0, rng.random(160) < 0.5, rng.random(160) < 0.95).astype(float)
    assert group_test(apart, coefficients, groups, labels, 0, 999)[0][0] < 0.01


def test_a_statistic_without_weights_has_no_p_value() -> None:
    p, _ = group_test(np.ones(6), np.zeros((6, 1)), list("abcdef"), np.zeros(6, int), 0, 99)
    assert np.isnan(p[0])
