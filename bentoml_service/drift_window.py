"""What the latest predictions look like, and whether they differ from the reference beyond chance (report 7.4).

One look at a window holds its level: the tests of a look are corrected together. Many looks at overlapping windows do
not, and need a schedule that accounts for them (TRAPS 18).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from bentoml_service.telemetry_counts import Observation
from cxr_core import NOTICE
from cxr_core.drift.intervals import LEVEL, mean_interval, share_interval
from cxr_core.drift.profile import FEATURES, FlaggedFilms, ReferenceProfile, read_profile
from cxr_core.drift.two_sample import (
    PERMUTATIONS,
    Tested,
    compare_counts,
    compare_values,
    holm,
    standardised_difference,
)

__all__ = ["FEWEST", "SIGNIFICANCE", "report_drift"]

SIGNIFICANCE = 0.05  # probability of a false alarm in one look
# With 50 predictions against 1,000 films and the correction of six tests, a shift by .75 standard deviations (of films)
# is nearly always found, by .5 two times in three (simulated); with fewer, "no shift found" would say next to nothing.
FEWEST = 50

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINS = 20  # of the confidence histogram, over 0-1: steps of .05, as in the robustness report

_Values = dict[str, npt.NDArray[np.float64]]


def report_drift(
    observed: Sequence[tuple[int, Observation]],
    size: int,
    reference: Mapping[str, Any] | None,
    current: bool = True,
    permutations: int = PERMUTATIONS,
) -> dict[str, Any]:
    """Describe the window, and compare it where there is something to compare it with.

    Args:
        observed: (seconds since 1970, observation), oldest first, of one model.
        size: how many the window holds at most.
        reference: a :class:`~cxr_core.drift.profile.ReferenceProfile` as a mapping, or None.
        current: whether these are the predictions of all workers up to now.
        permutations: of each test.

    Returns:
        JSON-ready: ``window`` (statistics with intervals of ``level``), ``status`` (``no_reference``, ``too_few``,
        ``no_shift_found`` or ``shift_found``), ``comparison`` (None, or ``significance``, ``tests`` by feature with
        statistic, ``p``, ``p_corrected``, ``shifted`` and effect, ``not_compared`` with reasons).

    Raises:
        CxrError: the reference is not a profile.
    """
    profile = None if reference is None else read_profile(reference)
    seen = [observation for _, observation in observed]
    values = {name: np.array([getattr(one, name) for one in seen], dtype=np.float64) for name in FEATURES}
    window = _window(observed, seen, values, size)
    # Equal windows give equal reports, and other windows other permutations: with one set of them for all looks, that
    # set's own luck would decide how often looks alarm.
    seed = observed[-1][0] if observed else 0
    comparison = None if profile is None or len(seen) < FEWEST else _compare(seen, values, profile, seed, permutations)
    if profile is None:
        status = "no_reference"
    elif comparison is None or not comparison["tests"]:
        status = "too_few"
    else:
        found = any(test["shifted"] for test in comparison["tests"].values())
        status = "shift_found" if found else "no_shift_found"
    said = {"notice": NOTICE, "status": status, "fewest": FEWEST, "all_workers": current}
    return {**said, "window": window, "comparison": comparison}


# ---------------------------------------------------------------------- the window
def _window(
    observed: Sequence[tuple[int, Observation]], seen: Sequence[Observation], values: _Values, size: int
) -> dict[str, Any]:
    features = {name: _numbers(values[name]) for name in FEATURES}
    histogram = np.histogram(values["confidence"], bins=_BINS, range=(0.0, 1.0))[0]
    features["confidence"]["histogram"] = [int(number) for number in histogram]
    labels = Counter(one.label for one in seen)
    flags = _flags(seen)
    return {
        "number": len(seen),
        "size": size,
        "from": _moment(observed[0][0]) if observed else None,
        "to": _moment(observed[-1][0]) if observed else None,
        "level": LEVEL,
        "features": features,
        "labels": {label: _share(labels[label], len(seen)) for label in sorted(labels)},
        "warnings": {
            "any": _share(flags.flagged, flags.films),
            "codes": {code: _share(number, flags.films) for code, number in sorted(flags.codes.items())},
        },
    }


def _numbers(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    if not len(values):
        return {"mean": None, "low": None, "high": None, "std": None, "quantiles": None}
    low, high = mean_interval(values) or (None, None)
    points = np.quantile(values, _QUANTILES)
    return {
        "mean": float(values.mean()),
        "low": low,
        "high": high,
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
        "quantiles": {f"p{share * 100:02.0f}": float(point) for share, point in zip(_QUANTILES, points, strict=True)},
    }


def _share(part: int, whole: int) -> dict[str, Any]:
    low, high = share_interval(part, whole) or (None, None)
    return {"number": part, "share": part / whole if whole else None, "low": low, "high": high}


def _flags(seen: Sequence[Observation]) -> FlaggedFilms:
    codes = Counter(code for one in seen for code in set(one.warnings))
    return FlaggedFilms(films=len(seen), flagged=sum(bool(one.warnings) for one in seen), codes=dict(codes))


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# ---------------------------------------------------------------------- the comparison
def _compare(
    seen: Sequence[Observation], values: _Values, profile: ReferenceProfile, seed: int, permutations: int
) -> dict[str, Any]:
    tested: dict[str, Tested] = {}
    details: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for name in FEATURES:
        known = np.array(profile.features.get(name, ()), dtype=np.float64)
        if reason := _too_few(len(known)):
            left_out[name] = reason
            continue
        tested[name] = compare_values(values[name], known, seed, permutations)
        details[name] = {
            "test": "kolmogorov_smirnov",
            "reference_films": len(known),
            "reference_mean": float(known.mean()),
            "difference": float(values[name].mean() - known.mean()),
            "standardised_difference": standardised_difference(values[name], known),
        }
    labels = Counter(one.label for one in seen)
    if reason := _too_few(sum(profile.labels.values())):
        left_out["labels"] = reason
    else:
        tested["labels"] = compare_counts(labels, profile.labels, seed, permutations)
        details["labels"] = {"test": "pearson", **_shares(profile.labels)}
    known_flags = profile.warnings
    if reason := _too_few(known_flags.films if known_flags else 0):
        left_out["warnings"] = reason
    elif known_flags:
        tested["warnings"] = compare_counts(_split(_flags(seen)), _split(known_flags), seed, permutations)
        details["warnings"] = {"test": "pearson", **_shares(_split(known_flags))}
    corrected = holm({name: test.p for name, test in tested.items()})
    tests = {
        name: {
            "statistic": test.statistic,
            "p": test.p,
            "p_corrected": corrected[name],
            "shifted": corrected[name] <= SIGNIFICANCE,
            **details[name],
        }
        for name, test in tested.items()
    }
    said = {"significance": SIGNIFICANCE, "correction": "holm", "permutations": permutations}
    return {**said, "tests": tests, "not_compared": left_out}


def _too_few(films: int) -> str | None:
    if not films:
        return "not_in_reference"
    return "reference_too_small" if films < FEWEST else None


def _split(flags: FlaggedFilms) -> dict[str, int]:
    return {"flagged": flags.flagged, "clear": flags.films - flags.flagged}


def _shares(counts: Mapping[str, int]) -> dict[str, Any]:
    whole = sum(counts.values())
    shares = {name: number / whole for name, number in sorted(counts.items())}
    return {"reference_films": whole, "reference_shares": shares}
