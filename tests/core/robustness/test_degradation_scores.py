"""Scores of many conditions on the same resamples equal those of a plain loop over repeated films."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import resample_weights
from cxr_core.evaluation.calibration import ERROR, equal_mass_bins
from cxr_core.robustness.degradation_scores import SCORES, score_conditions, simultaneous_tolerance

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
N, BINS, RESAMPLES = 60, 6, 40


def data(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 3
    said = {}
    for name, skill in {"clean": 2.0, "clinical": 1.0, "gamma-1": 0.2}.items():
        powers = np.exp(rng.normal(0, 1, (N, 3)) + skill * np.eye(3)[labels])
        said[name] = powers / powers.sum(axis=1, keepdims=True)
    return labels, said, [f"g{row // 2}" for row in range(N)]


def plain(labels: np.ndarray, p: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """The six scores by other code, on films repeated by their weight."""
    rows = np.repeat(np.arange(len(labels)), weights.astype(int))
    y, q, bins = labels[rows], p[rows], equal_mass_bins(p.max(axis=1), BINS)[rows]
    said, sure = q.argmax(axis=1), q.max(axis=1)
    error = 0.0
    for one in np.unique(bins):
        inside = bins == one
        error += inside.mean() * abs((said[inside] == y[inside]).mean() - sure[inside].mean())
    complete = len(np.unique(y)) == 3
    return {
        "accuracy": accuracy_score(y, said),
        "macro_f1": f1_score(y, said, average="macro", labels=[0, 1, 2]) if complete else np.nan,
        "macro_auc": np.mean([roc_auc_score(y == k, q[:, k]) for k in range(3)]) if complete else np.nan,
        ERROR: error,
        "mean_confidence": sure.mean(),
        "log_loss": log_loss(y, q, labels=[0, 1, 2]),
    }


def test_every_difference_and_its_interval_are_those_of_a_loop_over_the_same_resamples() -> None:
    labels, said, groups = data()
    scored = score_conditions(labels, said, groups, 9, RESAMPLES, NAMES, BINS)
    draws = np.concatenate(list(resample_weights(groups, 9, RESAMPLES)))
    loop = {name: [plain(labels, p, row) for row in draws] for name, p in said.items()}
    whole = {name: plain(labels, p, np.ones(N)) for name, p in said.items()}
    for place, name in enumerate(said):
        for score in SCORES:
            entry = scored.score(score, place)
            values = np.array([row[score] for row in loop[name]])
            assert entry["value"] == pytest.approx(whole[name][score], abs=1e-9)
            assert [entry["low"], entry["high"]] == pytest.approx(np.nanquantile(values, [0.025, 0.975]), abs=1e-9)
            if place:
                changes = values - np.array([row[score] for row in loop["clean"]])
                difference = scored.difference(score, place)
                assert difference["value"] == pytest.approx(whole[name][score] - whole["clean"][score], abs=1e-9)
                ends = np.nanquantile(changes, [0.025, 0.975])
                assert [difference["low"], difference["high"]] == pytest.approx(ends, abs=1e-9)


def test_films_of_one_patient_are_drawn_together() -> None:
    labels, said, groups = data()
    twice = {name: np.repeat(p, 2, axis=0) for name, p in said.items()}
    alone = score_conditions(labels, said, groups, 9, 200, NAMES, BINS).difference("accuracy", 1)
    paired = score_conditions(np.repeat(labels, 2), twice, np.repeat(groups, 2), 9, 200, NAMES, BINS)
    assert paired.difference("accuracy", 1) == pytest.approx(alone)  # a copy of every film adds nothing


def test_the_tolerance_is_the_quantile_of_the_largest_studentised_difference() -> None:
    rng = np.random.default_rng(0)
    values = np.array([0.1, -0.2, 0.0])
    spreads = values[:, None] + rng.normal(0, [[0.1], [0.3], [0.2]], (3, 500))
    found = simultaneous_tolerance(values, spreads)
    errors = [np.std(row, ddof=1) for row in spreads]
    largest = []
    for draw in range(500):
        largest.append(max((spreads[k, draw] - values[k]) / errors[k] for k in range(3)))
    assert found == pytest.approx(np.quantile(largest, 0.95) * np.array(errors), rel=1e-9)
    assert found[1] > np.quantile(spreads[1] - values[1], 0.95)  # of all together is wider than of one alone


def test_where_nothing_moves_nothing_is_tolerated_and_where_nothing_is_known_no_number_is_made_up() -> None:
    assert simultaneous_tolerance(np.zeros(2), np.zeros((2, 50))).tolist() == [0.0, 0.0]
    assert np.isnan(simultaneous_tolerance(np.zeros(2), np.zeros((2, 0)))).all()
    rng = np.random.default_rng(0)
    moving = np.stack([rng.normal(0, 1, 200), np.zeros(200), np.full(200, np.nan)])
    found = simultaneous_tolerance(np.zeros(3), moving)
    assert found[0] > 1
    assert found[1] == 0
    assert np.isnan(found[2])


def test_shapes_that_do_not_match_are_refused() -> None:
    labels, said, groups = data()
    with pytest.raises(CxrError, match="groups"):
        score_conditions(labels, said, groups[:3], 0, 10, NAMES)
    with pytest.raises(CxrError, match="clinical"):
        score_conditions(labels, {"clean": said["clean"], "clinical": said["clean"][:, :2]}, groups, 0, 10, NAMES)
    with pytest.raises(CxrError, match="No films"):
        score_conditions(labels, {}, groups, 0, 10, NAMES)
