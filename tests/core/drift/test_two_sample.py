import numpy as np
import pytest
from scipy import stats

from cxr_core.drift.intervals import mean_interval, share_interval
from cxr_core.drift.profile import read_profile
from cxr_core.drift.two_sample import compare_counts, compare_values, holm, standardised_difference
from cxr_core.errors import CxrError


@pytest.mark.parametrize(("n", "m", "shift"), [(40, 90, 0.4), (200, 150, 0.0), (60, 60, 0.3)])
def test_the_distance_and_its_p_value_are_those_of_scipy(n: int, m: int, shift: float) -> None:
    generator = np.random.default_rng(n)
    first, second = generator.normal(shift, 1, n), generator.normal(0, 1, m)
    ours, theirs = compare_values(first, second, 1, 9999), stats.ks_2samp(first, second, method="exact")
    assert ours.statistic == pytest.approx(theirs.statistic, abs=1e-12)
    # four standard errors of a share among 9,999 permutations
    assert ours.p == pytest.approx(theirs.pvalue, abs=4 * np.sqrt(theirs.pvalue * (1 - theirs.pvalue) / 9999) + 1e-3)


def test_counts_give_the_p_value_of_pearson_where_that_holds() -> None:
    first, second = {"a": 210, "b": 150, "c": 140}, {"a": 480, "b": 280, "c": 240}
    table = [[*first.values()], [*second.values()]]
    known = stats.chi2_contingency(table, correction=False).pvalue
    found = compare_counts(first, second, 1, 9999)
    assert found.p == pytest.approx(known, abs=4 * np.sqrt(known * (1 - known) / 9999) + 1e-3)
    assert found.statistic == pytest.approx(0.5 * (abs(0.42 - 0.48) + abs(0.30 - 0.28) + abs(0.28 - 0.24)))


def test_a_category_of_one_sample_alone_counts() -> None:
    assert compare_counts({"a": 100}, {"a": 60, "b": 40}, 1).p <= 0.001
    assert compare_counts({"a": 100}, {"a": 100}, 1) .p == 1.0  # fmt: skip


@pytest.mark.parametrize("draw", ["continuous", "tied"])
def test_values_of_one_distribution_alarm_as_often_as_stated(draw: str) -> None:
    """Also where most values are equal, as aspect ratios are: the usual formulas would be far too quiet."""
    generator = np.random.default_rng(7)

    def sample(n: int) -> np.ndarray:
        return generator.normal(size=n) if draw == "continuous" else generator.choice([0.8, 1.0, 1.2, 1.25], n)

    p = np.array([compare_values(sample(60), sample(80), seed, 199).p for seed in range(600)])
    rate = (p <= 0.05).mean()
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert rate >= (0.05 - 3 * np.sqrt(0.05 * 0.95 / 600) if draw == "continuous" else 0.01)


def test_rare_categories_do_not_alarm_more_often_than_stated() -> None:
    """Pearson's chi-square distribution would not hold: most expected counts are below five."""
    generator = np.random.default_rng(8)
    shares = [0.97, 0.01, 0.01, 0.01]

    def sample(n: int) -> dict[str, int]:
        return dict(zip("abcd", generator.multinomial(n, shares).tolist(), strict=True))

    p = np.array([compare_counts(sample(60), sample(90), seed, 199).p for seed in range(600)])
    assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_equal_samples_and_seeds_give_equal_answers() -> None:
    values = np.random.default_rng(1).normal(size=(2, 70))
    assert compare_values(*values, 3, 500) == compare_values(*values[:, ::-1], 3, 500)


def test_the_permutations_may_take_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=(2, 50))
    monkeypatch.setattr("cxr_core.drift.two_sample._BLOCK", 1)
    found = compare_values(*values, 3, 400)
    assert found.p == pytest.approx(stats.ks_2samp(*values, method="exact").pvalue, abs=0.1)


def test_holm_corrects_the_textbook_example() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({}) == {}


def test_the_difference_is_in_units_of_single_values() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.normal(130, 15, 4000), generator.normal(120, 15, 4000)
    assert standardised_difference(first, second) == pytest.approx(10 / 15, abs=0.08)
    assert standardised_difference(np.full(500, 1.2), np.full(900, 1.2)) is None  # and not rounding over rounding


@pytest.mark.parametrize(("part", "whole"), [(0, 40), (1, 40), (17, 40), (40, 40)])
def test_shares_have_the_interval_of_wilson(part: int, whole: int) -> None:
    known = stats.binomtest(part, whole).proportion_ci(0.95, method="wilson")
    assert share_interval(part, whole) == pytest.approx((known.low, known.high), abs=1e-9)
    assert share_interval(0, 0) is None


def test_the_interval_of_a_mean_shrinks_with_the_root_of_the_number() -> None:
    values = np.random.default_rng(4).normal(100, 15, 900)
    low, high = mean_interval(values) or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / 30, rel=1e-3)
    assert mean_interval(values[:29]) is None


@pytest.mark.parametrize(
    "values",
    [
        {"features": {"mean": ["bright"]}},
        {"features": {"mean": [float("nan")]}},
        {"features": {"mean": [0.0] * 10_001}},
        {"labels": {"Normal": -1}},
        {"warnings": {"films": 3, "flagged": 4}},
    ],
)
def test_what_is_no_profile_is_refused_with_a_sentence(values: dict[str, object]) -> None:
    with pytest.raises(CxrError, match=r"reference profile .*build it again\.$"):
        read_profile(values)


def test_a_profile_may_hold_more_than_is_compared_today() -> None:
    profile = read_profile({"embedding": [1, 2], "labels": {"Normal": 3}, "features": {"sharpness": [1.0]}})
    assert profile.labels == {"Normal": 3}
