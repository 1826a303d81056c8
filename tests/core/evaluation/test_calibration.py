"""Calibration against a plain implementation, and its null against models that are calibrated and that are not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from cxr_core.evaluation.calibration import BINS, calibration_report, equal_mass_bins, null_errors

GROUPS = [f"g{row // 2}" for row in range(600)]


def sample(truth: float, n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; the labels follow the probabilities sharpened (> 1) or flattened (< 1) by ``truth``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 3))
    said, real = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, truth * logits))
    labels = (rng.random((n, 1)) > real.cumsum(axis=1)).sum(axis=1)
    return labels.clip(0, 2), said


def plain_error(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> float:
    """The definition, film by film: sort, cut into equal parts, compare mean confidence and accuracy."""
    films = sorted(
        (float(max(p)), int(np.argmax(p)) == int(label)) for p, label in zip(probabilities, labels, strict=True)
    )
    size = len(films) // bins
    total = 0.0
    for start in range(0, len(films), size):
        part = films[start : start + size]
        confidence = sum(c for c, _ in part) / len(part)
        accuracy = sum(right for _, right in part) / len(part)
        total += len(part) / len(films) * abs(accuracy - confidence)
    return total


def test_the_error_equals_a_plain_implementation() -> None:
    for seed, truth in enumerate((0.4, 1.0, 3.0)):
        labels, said = sample(truth, seed=seed)
        found = calibration_report(labels, said, GROUPS, seed=0, resamples=20)
        assert found["expected_calibration_error"]["value"] == pytest.approx(plain_error(labels, said, BINS))
        assert [row["films"] for row in found["reliability"]] == [40] * 15


def test_brier_and_log_loss_equal_scikit_learn() -> None:
    labels, said = sample(0.7)
    found = calibration_report(labels, said, GROUPS, seed=0, resamples=20)
    assert found["log_loss"]["value"] == pytest.approx(log_loss(labels, said))
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(labels, said, scale_by_half=False))


def test_the_null_covers_a_calibrated_model_and_leaves_out_an_overconfident_one() -> None:
    reached = 0
    for seed in range(40):
        labels, said = sample(1.0, seed=seed)
        found = calibration_report(labels, said, GROUPS, seed=seed, resamples=200)
        reached += found["expected_calibration_error"]["value"] <= found["null"]["high"]
        assert 0 < found["null"]["mean"] < found["null"]["high"]
    assert reached >= 34  # 95 % of 40 are 38; 33 or fewer have a probability of .3 %
    labels, said = sample(0.4)
    found = calibration_report(labels, said, GROUPS, seed=0, resamples=200)
    assert found["expected_calibration_error"]["value"] > 2 * found["null"]["high"]
    assert found["expected_calibration_error"]["low"] > found["null"]["high"]
    assert found["null"]["p_value"] == pytest.approx(1 / 201)


def test_the_null_equals_the_error_of_labels_drawn_from_the_confidences() -> None:
    _, said = sample(1.0)
    confidence = said.max(axis=1)
    null = null_errors(confidence, np.eye(BINS)[equal_mass_bins(confidence)], seed=1, simulations=400)
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(400):
        right = rng.random(600) < confidence
        order = np.argsort(confidence)
        parts = zip(np.split(right[order], BINS), np.split(confidence[order], BINS), strict=True)
        drawn.append(np.mean([abs(r.mean() - c.mean()) for r, c in parts]))
    spread = np.std(drawn) / np.sqrt(400)
    assert null.mean() == pytest.approx(np.mean(drawn), abs=5 * spread)


def test_the_null_grows_as_films_become_few() -> None:
    few, many = (calibration_report(*sample(1.0, n), range(n), seed=0, resamples=100) for n in (40, 600))
    assert few["null"]["mean"] > 2 * many["null"]["mean"]


def test_bins_have_equal_mass_and_equal_confidences_share_one() -> None:
    assert np.bincount(equal_mass_bins(np.random.default_rng(0).random(61), 5)).tolist() == [13, 12, 12, 12, 12]
    tied = np.array([0.5, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert len(set(equal_mass_bins(tied, 3)[1:])) == 1
    labels, said = sample(1.0, 90)
    said = said.round(1)
    said[:, 2] = 1 - said[:, 0] - said[:, 1]
    order = np.random.default_rng(3).permutation(90)
    first = calibration_report(labels, said, range(90), seed=0, resamples=10)
    again = calibration_report(labels[order], said[order], np.arange(90)[order], seed=0, resamples=10)
    value = first["expected_calibration_error"]["value"]
    assert value == pytest.approx(again["expected_calibration_error"]["value"])


def test_equal_seeds_give_equal_reports_and_one_group_has_no_interval() -> None:
    labels, said = sample(1.0)
    assert calibration_report(labels, said, GROUPS, 3, 30) == calibration_report(labels, said, GROUPS, 3, 30)
    alone = calibration_report(labels, said, ["one"] * 600, 3, 30)
    assert alone["expected_calibration_error"]["low"] is None
    assert alone["groups"] == 1
    json.dumps(alone, allow_nan=False)
