"""Vector scaling against a general optimiser; where no finite fit exists it says so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from cxr_core.evaluation.temperature import fit_temperature
from cxr_core.evaluation.vector_scaling import VectorScaling, fit_vector_scaling

WEIGHTS, BIASES = np.array([1.5, 0.7, 1.0]), np.array([0.6, -0.2, -0.4])


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that follow them scaled by ``WEIGHTS`` and ``BIASES``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 3))
    real = np.exp(logits * WEIGHTS + BIASES)
    real /= real.sum(axis=1, keepdims=True)
    return logits, (rng.random((n, 1)) > real.cumsum(axis=1)).sum(axis=1).clip(0, 2)


def test_the_fit_is_the_minimum_that_a_general_optimiser_finds() -> None:
    logits, labels = sample(800)

    def loss(at: np.ndarray) -> float:
        scaled = logits * at[:3] + at[3:]
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(800), labels]).mean())

    searched = minimize(loss, np.r_[np.ones(3), np.zeros(3)], method="BFGS", options={"gtol": 1e-8})
    fit = fit_vector_scaling(logits, labels)
    assert fit.fitted
    assert fit.weights == pytest.approx(searched.x[:3], abs=1e-5)
    assert fit.biases == pytest.approx(searched.x[3:] - searched.x[3:].mean(), abs=1e-5)
    assert fit.log_loss_after == pytest.approx(searched.fun, abs=1e-9)
    assert fit.log_loss_after <= fit_temperature(logits, labels, resamples=2).log_loss_after  # a special case of it


def test_known_factors_and_offsets_are_recovered() -> None:
    fit = fit_vector_scaling(*sample(20_000))
    assert fit.weights == pytest.approx(WEIGHTS, abs=0.06)
    assert fit.biases == pytest.approx(BIASES, abs=0.06)


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        (np.ones((3, 3)), np.arange(3), "3 films to calibrate on; 90 or more are needed for 6 numbers"),
        (np.eye(3)[np.arange(120) % 3], np.arange(120) % 2, "class 2 has no film to calibrate on"),
        (np.eye(3)[np.arange(120) % 3] * 4, np.arange(120) % 3, "without an error"),
    ],
    ids=["three", "missing_class", "separated"],
)
def test_without_a_finite_fit_nothing_is_scaled(logits: np.ndarray, labels: np.ndarray, reason: str) -> None:
    fit = fit_vector_scaling(logits, labels)
    assert reason in fit.reason
    assert (fit.fitted, fit.weights, fit.biases) == (False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    assert fit.log_loss_before == fit.log_loss_after


def test_the_record_survives_its_file() -> None:
    logits, labels = sample(200)
    fit = fit_vector_scaling(logits, labels, [f"g{row // 2}" for row in range(200)])
    assert fit.groups == 100
    again = VectorScaling.model_validate_json(fit.model_dump_json())
    assert (again.probabilities(logits) == fit.probabilities(logits)).all()
    assert np.abs(fit.probabilities(logits).sum(axis=1) - 1).max() < 1e-12
