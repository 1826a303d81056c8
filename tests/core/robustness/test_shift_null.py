"""The nulls: what an exchange is, that p-values hold their level, that a planted shift is found, what has no answer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import is_available
from cxr_core.robustness.shift import Version, draw_films, embedding_shift
from cxr_core.robustness.shift_distances import (
    DISTANCES,
    cosine_excess,
    energy_distance,
    frechet_distance,
    median_width,
    norm_shift,
    unbiased_mmd,
)
from cxr_core.robustness.shift_null import Plan, swap_tests
from cxr_core.robustness.shift_pair import Cloud, Pair
from cxr_core.settings_stress import ShiftSettings

Floats = npt.NDArray[np.float64]

QUICK = ShiftSettings(permutations=499, frechet_permutations=99, halves=60, matched_halves=10)
TESTED = [name for name, distance in DISTANCES.items() if distance.swaps]


def pair_of(x: Floats, y: Floats) -> Pair:
    return Pair.of(Cloud.of(x, x.mean(axis=0)), Cloud.of(y, x.mean(axis=0)), median_width(x))


def noisy(rng: np.random.Generator, groups: int, films: int, d: int = 24, noise: float = 0.5) -> Floats:
    """Embeddings (groups * films, d) of which those of one group are alike."""
    patients = np.repeat(rng.normal(size=(groups, d)), films, axis=0)
    return np.asarray(2 + patients + noise * rng.normal(size=patients.shape))


def version(rows: Floats, corruption: str = "blur", severity: int = 1) -> Version:
    return Version(rows, np.ones(len(rows), np.bool_), corruption, severity)


def shift(clean: Floats, others: Mapping[str, Floats], groups: list[str], settings: ShiftSettings = QUICK) -> Any:
    return embedding_shift(version(clean), {k: version(v) for k, v in others.items()}, groups, settings)


def test_the_null_is_the_distance_of_the_exchanged_versions_of_whole_groups() -> None:
    rng = np.random.default_rng(0)
    x = noisy(rng, 8, 2)
    y = x + 0.2 + 0.3 * rng.normal(size=x.shape)
    groups = [f"g{k // 2}" for k in range(16)]
    plan = Plan.of(groups, 1, 39, 39, 40, 3)
    found = swap_tests(pair_of(x, y), plan)
    width = median_width(x)
    definitions = {
        "cosine_excess": cosine_excess,
        "frechet": frechet_distance,
        "norm_shift": norm_shift,
        "energy": energy_distance,
        "mmd": lambda a, b: unbiased_mmd(a, b, width),
    }
    assert set(found) == set(TESTED)
    for place, signs in enumerate(plan.signs[:12]):
        kept = (signs[plan.codes] > 0)[:, None]
        a, b = np.where(kept, x, y), np.where(kept, y, x)
        for name, distance in definitions.items():
            assert found[name].null[place] == pytest.approx(distance(a, b), rel=1e-6, abs=1e-12), name
    for name in ("cosine_excess", "mmd", "energy", "c2st"):
        reached = (found[name].null >= found[name].value - 1e-12).sum()
        assert found[name].p == (1 + reached) / 40
    assert found["norm_shift"].p == (1 + (np.abs(found["norm_shift"].null) >= found["norm_shift"].value).sum()) / 40


def test_p_of_a_norm_shift_is_that_of_all_exchanges() -> None:
    x = noisy(np.random.default_rng(3), 8, 1)
    y = x * np.linspace(0.97, 1.06, 8)[:, None]
    plan = Plan.of([f"g{k}" for k in range(8)], 1, 9999, 39, 40, 3)
    moved = np.linalg.norm(y, axis=1) - np.linalg.norm(x, axis=1)
    every = np.array([np.dot(signs, moved) for signs in itertools.product([-1, 1], repeat=8)])
    expected = (np.abs(every) >= abs(moved.sum()) - 1e-12).mean()
    assert swap_tests(pair_of(x, y), plan)["norm_shift"].p == pytest.approx(expected, abs=0.02)


@pytest.fixture(scope="module")
def seeds() -> list[Any]:
    """Reports over 20 seeds: three conditions that change nothing but noise, in groups of films that are alike.

    The noise of the films of one group is the same, as it is where a patient's films are copies: exchanging films one
    by one would then call chance a shift.
    """
    reports = []
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        patients = np.repeat(rng.normal(size=(14, 24)), 2, axis=0)
        versions = [2 + patients + np.repeat(0.4 * rng.normal(size=(14, 24)), 2, axis=0) for _ in range(4)]
        groups = [f"g{k // 2}" for k in range(28)]
        reports.append(shift(versions[0], {f"same-{k}": versions[k] for k in (1, 2, 3)}, groups))
    return reports


def test_versions_that_differ_by_chance_are_inside_the_null_of_every_distance(seeds: list[Any]) -> None:
    alarms = sum(
        any(entry["beyond"] for c in report["conditions"].values() for entry in c["distances"].values() if "p" in entry)
        for report in seeds
    )
    assert alarms <= 4  # of 20 families of 18 tests at .05: five or more have a probability of .003
    for name in TESTED:
        p = np.array([c["distances"][name]["p"] for report in seeds for c in report["conditions"].values()])
        assert (p <= 0.05).sum() <= 9, name  # of 60, in threes that share their clean films; 3 are expected
        assert 0.3 < p.mean() < 0.7, name


def test_other_clean_films_are_inside_the_null_between_halves(seeds: list[Any]) -> None:
    for name in DISTANCES:
        controls = [report["controls"][name] for report in seeds]
        assert sum(c["fresh_halves_beyond"] for c in controls) / (20 * 40) <= 0.1, name  # .025 on a side expected
        assert any(c["fresh_halves_beyond"] for c in controls), name


def test_the_same_films_again_are_at_no_distance_and_no_test_says_otherwise(seeds: list[Any]) -> None:
    for report in seeds:
        for name in DISTANCES:
            control = report["controls"][name]
            assert control["value"] == pytest.approx(0.5 if name == "c2st" else 0.0, abs=1e-9)
            assert control["p"] == (None if name == "cosine" else 1.0)


def test_a_planted_shift_is_found_by_every_distance_in_both_nulls() -> None:
    rng = np.random.default_rng(5)
    clean = np.abs(noisy(rng, 40, 1))
    moved = 0.4 * clean + 3 * np.linspace(-1, 1, 24) * (rng.random((40, 24)) < 0.9)
    weak = clean + 0.01 * rng.normal(size=clean.shape)
    report = shift(clean, {"blur-5": moved, "blur-1": weak}, [f"g{k}" for k in range(40)])
    for name in DISTANCES:
        entry = report["conditions"]["blur-5"]["distances"][name]
        assert entry["other_films"]["beyond"], name
        assert entry["other_films"]["share_beyond"] > 0.9
        if name != "cosine":
            assert entry["beyond"], name
            assert entry["holm"] <= 0.05
        assert not report["conditions"]["blur-1"]["distances"][name]["other_films"]["beyond"], name
    assert report["conditions"]["blur-5"]["distances"]["norm_shift"]["relative"] < 0
    cosine = report["conditions"]["blur-5"]["distances"]["cosine"]
    assert "the same when they are exchanged" in cosine["exchange"]["reason"]
    assert "p" not in cosine


def test_frechet_p_is_a_fitted_tail_only_where_few_exchanges_reach_it() -> None:
    rng = np.random.default_rng(6)
    clean = noisy(rng, 30, 1)
    others = {"far": clean + 1.0, "near": clean + 0.3 * rng.normal(size=clean.shape)}
    found = shift(clean, others, [f"g{k}" for k in range(30)])["conditions"]
    far, near = (found[name]["distances"]["frechet"] for name in ("far", "near"))
    assert not far["p_exact"]
    assert far["p"] == 1 / 500  # no smaller than what the exact tests can say
    assert near["p_exact"]


def test_the_correction_counts_every_tested_distance_of_every_condition() -> None:
    rng = np.random.default_rng(7)
    clean = noisy(rng, 20, 1)
    others = {f"blur-{k}": clean + 0.02 * k + 0.3 * rng.normal(size=clean.shape) for k in range(1, 4)}
    report = shift(clean, others, [f"g{k}" for k in range(20)])
    entries = [e for c in report["conditions"].values() for e in c["distances"].values() if "p" in e]
    assert report["resolution"]["tests"] == len(entries) == 3 * len(TESTED)
    running = 0.0
    for rank, entry in enumerate(sorted(entries, key=lambda e: e["p"])):  # Holm, step by step
        running = max(running, min(1.0, (len(entries) - rank) * entry["p"]))
        assert entry["holm"] == pytest.approx(running)
    assert report["resolution"]["smallest_holm"] == pytest.approx(18 / 500)


def test_few_groups_are_said_to_allow_no_significance() -> None:
    clean = noisy(np.random.default_rng(8), 7, 3)
    groups = [f"g{k // 3}" for k in range(21)]
    resolution = shift(clean, {"blur-1": clean + 5.0}, groups)["resolution"]
    assert resolution["smallest_p"] == 2.0**-6
    assert not resolution["enough"]


CLEAN = noisy(np.random.default_rng(9), 12, 1)
NAMES = [f"g{k}" for k in range(12)]
BROKEN = CLEAN.copy()
BROKEN[3, 2] = np.nan


@pytest.mark.parametrize(
    ("clean", "groups", "reason"),
    [
        (CLEAN[:3], NAMES[:3], "3 films of 3 patient groups: a null needs 6 groups"),
        (CLEAN, ["one"] * 12, "12 films of 1 patient groups: a null needs 6 groups"),
        (BROKEN, NAMES, "1 clean films have embeddings that are no numbers"),
        (np.ones_like(CLEAN), NAMES, "most clean films have the same embedding"),
    ],
)
def test_clean_films_that_say_nothing_make_everything_unavailable(
    clean: Floats, groups: list[str], reason: str
) -> None:
    report = shift(clean, {"blur-1": clean}, groups)
    for name in DISTANCES:
        assert report["distances"][name]["halves"]["reason"] == reason
        assert report["conditions"]["blur-1"]["distances"][name]["reason"] == reason
        assert report["controls"][name]["reason"] == reason
    assert report["resolution"]["tests"] == 0


def test_a_condition_without_numbers_leaves_the_others_their_tests() -> None:
    report = shift(CLEAN, {"blur-1": BROKEN, "blur-2": CLEAN + 1.0}, NAMES)
    for name in DISTANCES:
        entry = report["conditions"]["blur-1"]["distances"][name]
        assert entry["reason"] == "1 films have embeddings that are no numbers"
        assert is_available(report["conditions"]["blur-2"]["distances"][name])
    assert report["resolution"]["tests"] == len(TESTED)


def test_a_collapsed_network_is_a_shift_without_directions() -> None:
    report = shift(CLEAN, {"blur-1": np.zeros_like(CLEAN)}, NAMES)
    found = report["conditions"]["blur-1"]["distances"]
    assert (
        found["cosine"]["reason"] == found["cosine_excess"]["reason"] == "12 embeddings are zero and have no direction"
    )
    assert found["norm_shift"]["relative"] == pytest.approx(-1.0)
    assert found["c2st"]["value"] > 0.9


def test_conditions_of_other_films_are_refused() -> None:
    with pytest.raises(CxrError, match="Condition blur-1 has embeddings of shape"):
        shift(CLEAN, {"blur-1": CLEAN[:5]}, NAMES)


def test_equal_seeds_give_equal_reports_and_films_are_drawn_by_whole_groups() -> None:
    groups = [f"g{k // 3:02}" for k in range(90)]
    rows = draw_films(groups, 40, 1)
    assert len(rows) == 39
    assert all(groups.count(groups[row]) == sum(groups[other] == groups[row] for other in rows) for row in rows)
    np.testing.assert_array_equal(rows, np.sort(rows))
    np.testing.assert_array_equal(draw_films(groups, 90, 1), np.arange(90))
    assert rows.tolist() != draw_films(groups, 40, 2).tolist()
    others = {"blur-1": CLEAN + 1.0}
    assert shift(CLEAN, others, NAMES) == shift(CLEAN, others, NAMES)
