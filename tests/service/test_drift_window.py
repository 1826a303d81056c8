import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from bentoml_service.drift_window import FEWEST, SIGNIFICANCE, report_drift
from bentoml_service.telemetry_counts import Observation
from cxr_core.errors import CxrError

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
Observed = list[tuple[int, Observation]]


def films(
    generator: np.random.Generator, n: int, grey: float = 120.0, flagged: float = 0.1, shares: Any = (0.5, 0.3, 0.2)
) -> Observed:
    """Predictions of films with grey means around ``grey`` (standard deviation 15) and a few aspect ratios."""
    labels = generator.choice(LABELS, n, p=shares)
    columns = (generator.beta(8, 2, n), generator.normal(grey, 15, n), generator.normal(55, 8, n))
    aspects = generator.choice([0.82, 1.0, 1.2, 1.22], n)
    codes = [("low_contrast",) if one else () for one in generator.random(n) < flagged]
    rows = zip(labels, *columns, aspects, codes, strict=True)
    start = 1_700_000_000 + int(generator.integers(1_000_000))
    return [(start + i, Observation(str(row[0]), *map(float, row[1:5]), row[5])) for i, row in enumerate(rows)]


def profile(observed: Observed) -> dict[str, Any]:
    """The least that a reference profile has, as docs/metrics.md describes it."""
    seen = [one for _, one in observed]
    return {
        "features": {name: [getattr(one, name) for one in seen] for name in ("mean", "std", "aspect", "confidence")},
        "labels": {label: sum(one.label == label for one in seen) for label in LABELS},
        "warnings": {"films": len(seen), "flagged": sum(bool(one.warnings) for one in seen)},
    }


def shifted(report: Mapping[str, Any]) -> set[str]:
    return {name for name, test in report["comparison"]["tests"].items() if test["shifted"]}


def test_the_window_is_described_as_its_values_are() -> None:
    observed = films(np.random.default_rng(1), 400)
    window = report_drift(observed, 1000, None)["window"]
    grey = np.array([one.mean for _, one in observed])
    assert (window["number"], window["size"]) == (400, 1000)
    assert window["features"]["mean"]["mean"] == pytest.approx(grey.mean())
    assert window["features"]["mean"]["std"] == pytest.approx(grey.std(ddof=1))
    assert window["features"]["mean"]["quantiles"]["p50"] == pytest.approx(np.median(grey))
    half = 1.96 * grey.std(ddof=1) / 20
    assert window["features"]["mean"]["high"] - grey.mean() == pytest.approx(half, rel=1e-3)
    assert sum(window["features"]["confidence"]["histogram"]) == 400
    assert sum(entry["number"] for entry in window["labels"].values()) == 400
    normal = window["labels"]["Normal"]
    assert normal["low"] < normal["share"] == normal["number"] / 400 < normal["high"]
    flagged = sum(bool(one.warnings) for _, one in observed)
    assert window["warnings"]["any"]["number"] == flagged == window["warnings"]["codes"]["low_contrast"]["number"]
    ends = [datetime.fromtimestamp(observed[i][0], UTC).isoformat() for i in (0, -1)]
    assert [window["from"], window["to"]] == ends


def test_a_film_with_two_warnings_is_one_flagged_film() -> None:
    twice = [(0, Observation("Normal", 0.9, 120, 50, 1.0, ("crop", "tint"))), (1, Observation("Normal", 0.9, 1, 1, 1))]
    warnings = report_drift(twice, 10, None)["window"]["warnings"]
    assert warnings["any"]["share"] == 0.5
    assert {code: entry["number"] for code, entry in warnings["codes"].items()} == {"crop": 1, "tint": 1}


def test_without_predictions_there_are_no_numbers() -> None:
    report = report_drift([], 1000, None)
    assert report["window"]["features"]["mean"]["mean"] is None
    assert report["window"]["warnings"]["any"]["share"] is None
    assert (report["window"]["from"], report["status"], report["comparison"]) == (None, "no_reference", None)
    json.dumps(report, allow_nan=False)


def test_without_a_reference_it_says_so_and_compares_nothing() -> None:
    report = report_drift(films(np.random.default_rng(2), 300), 1000, None)
    assert (report["status"], report["comparison"]) == ("no_reference", None)


def test_a_window_that_is_too_small_is_not_compared() -> None:
    generator = np.random.default_rng(3)
    reference = profile(films(generator, 500))
    shift = films(generator, FEWEST, grey=220)
    report = report_drift(shift[:-1], 1000, reference)
    assert (report["status"], report["comparison"], report["fewest"]) == ("too_few", None, FEWEST)
    assert report_drift(shift, 1000, reference)["status"] == "shift_found"


def test_what_the_reference_lacks_is_named() -> None:
    generator = np.random.default_rng(4)
    reference = profile(films(generator, 500))
    reference["features"] = {"mean": reference["features"]["mean"], "std": reference["features"]["std"][:10]}
    del reference["warnings"]
    comparison = report_drift(films(generator, 200), 1000, reference, permutations=199)["comparison"]
    assert set(comparison["tests"]) == {"mean", "labels"}
    assert comparison["not_compared"] == {
        "std": "reference_too_small",
        "aspect": "not_in_reference",
        "confidence": "not_in_reference",
        "warnings": "not_in_reference",
    }
    assert report_drift(films(generator, 200), 1000, {})["status"] == "too_few"


def test_a_reference_that_is_none_is_refused() -> None:
    with pytest.raises(CxrError, match=r"features\.mean"):
        report_drift([], 1000, {"features": {"mean": ["x"]}})


def test_equal_windows_give_equal_reports() -> None:
    generator = np.random.default_rng(5)
    window, reference = films(generator, 100), profile(films(generator, 300))
    assert report_drift(window, 1000, reference) == report_drift(window, 1000, reference)


def test_the_report_is_json() -> None:
    generator = np.random.default_rng(6)
    report = report_drift(films(generator, 100), 1000, profile(films(generator, 300)), permutations=199)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_shift_by_a_third_of_the_spread_of_films_is_found_every_time() -> None:
    """TRAPS 18: dividing by the spread of the films asked for 69 grey levels; 5 are found in a window of a thousand."""
    generator = np.random.default_rng(7)
    reports = [
        report_drift(films(generator, 1000, grey=125), 1000, profile(films(generator, 1000)), permutations=199)
        for _ in range(20)
    ]
    assert all("mean" in shifted(report) for report in reports)
    assert all(1 < report["comparison"]["tests"]["mean"]["difference"] < 9 for report in reports)
    alone = sum(shifted(report) == {"mean"} for report in reports)
    assert alone >= 16  # what did not shift is not called shifted


@pytest.mark.parametrize(
    ("change", "feature"), [({"flagged": 0.25}, "warnings"), ({"shares": (0.35, 0.3, 0.35)}, "labels")]
)
def test_a_shift_of_classes_or_warnings_is_found(change: dict[str, Any], feature: str) -> None:
    generator = np.random.default_rng(8)
    reference = profile(films(generator, 1000))
    found = [shifted(report_drift(films(generator, 600, **change), 1000, reference)) for _ in range(5)]
    assert all(feature in names for names in found)


def test_without_a_shift_a_look_alarms_as_rarely_as_it_states() -> None:
    """Six tests uncorrected would alarm in a quarter of the looks (TRAPS 18)."""
    generator = np.random.default_rng(9)
    looks = 300
    alarms = uncorrected = 0
    for _ in range(looks):
        report = report_drift(films(generator, 80), 1000, profile(films(generator, 120)), permutations=599)
        alarms += report["status"] == "shift_found"
        uncorrected += any(test["p"] <= SIGNIFICANCE for test in report["comparison"]["tests"].values())
    spread = np.sqrt(SIGNIFICANCE * (1 - SIGNIFICANCE) / looks)
    assert SIGNIFICANCE - 3 * spread <= alarms / looks <= SIGNIFICANCE + 3 * spread
    assert uncorrected / looks > 0.15
