"""Temperature scaling: the minimum is the minimum, a known temperature is found, and what cannot be decided is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cxr_core.errors import CxrError
from cxr_core.evaluation.temperature import (
    COLDEST,
    HOTTEST,
    TemperatureScaling,
    fit_temperature,
    mean_log_loss,
)

EYE = np.eye(3)


def sample(temperature: float, n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``temperature`` times what the labels follow."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 3))
    real = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return temperature * logits, (rng.random((n, 1)) > real.cumsum(axis=1)).sum(axis=1).clip(0, 2)


@pytest.mark.parametrize("truth", [0.3, 1.0, 2.5, 6.0])
def test_the_temperature_is_where_an_independent_search_finds_the_least_log_loss(truth: float) -> None:
    logits, labels = sample(truth)
    found = fit_temperature(logits, labels, resamples=2)

    def loss(u: float) -> float:
        scaled = logits / np.exp(u)
        return float(
            np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(scaled, labels, strict=True)])
        )

    searched = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded", options={"xatol": 1e-10})
    assert found.temperature == pytest.approx(np.exp(searched.x), rel=1e-6)  # what the search can see: root of epsilon
    assert found.log_loss_after == pytest.approx(searched.fun, abs=1e-12)
    assert found.log_loss_before == pytest.approx(loss(0.0))
    assert found.log_loss_after <= found.log_loss_before


def test_a_known_temperature_lies_in_the_interval_as_often_as_the_interval_says() -> None:
    inside, found = 0, []
    for seed in range(40):
        fit = fit_temperature(*sample(1.7, 300, seed), seed=seed, resamples=100)
        assert fit.low is not None
        inside += fit.low <= 1.7 <= fit.high
        found.append(fit.temperature)
    assert inside >= 33  # 95 % of 40 are 38; 32 or fewer have a probability of .1 %
    assert np.mean(found) == pytest.approx(1.7, abs=4 * np.std(found) / np.sqrt(40) + 0.02)


def test_the_predicted_class_never_changes_and_rows_stay_probabilities() -> None:
    logits, labels = sample(4.0)
    fit = fit_temperature(logits, labels, resamples=2)
    probabilities = fit.probabilities(logits.astype(np.float32))
    assert (probabilities.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert probabilities.dtype == np.float64
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-12


def test_films_of_one_patient_are_drawn_together() -> None:
    logits, labels = sample(1.0, 200)
    alone = fit_temperature(logits, labels)
    copied = fit_temperature(
        np.repeat(logits, 4, axis=0), np.repeat(labels, 4), np.repeat(np.arange(200), 4).astype(str)
    )
    assert copied.temperature == pytest.approx(alone.temperature)
    assert (copied.films, copied.groups) == (800, 200)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.25)  # not half of it


def test_films_without_an_error_are_bounded_by_what_so_many_right_answers_support() -> None:
    labels = np.arange(60) % 3
    margins = np.linspace(0.2, 2, 60)[:, None]
    fit = fit_temperature(EYE[labels] * margins, labels)
    assert COLDEST < fit.temperature < 1
    assert fit.probabilities(EYE[labels] * margins).max(axis=1).mean() == pytest.approx(61 / 62)
    assert fit.reason == (
        f"bounded at {fit.temperature:.3g}: with 0 errors in 60 films colder is always better, and they support a mean "
        "confidence of 61/62 at most"
    )
    sure = fit_temperature(EYE[labels] * 30, labels)  # surer than that already: no film speaks against it
    assert sure.temperature == pytest.approx(1.0)
    assert sure.reason.startswith("bounded at 1:")


def test_logits_that_say_the_opposite_are_bounded_too() -> None:
    labels = np.arange(60) % 3
    fit = fit_temperature(EYE[(labels + 1) % 3] * 5, labels)
    assert fit.temperature == HOTTEST
    assert "no better than chance" in fit.reason


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        (np.ones((3, 3)), np.arange(3), "3 films to calibrate on; 30 or more are needed"),
        (np.ones((0, 3)), np.arange(0), "0 films to calibrate on; 30 or more are needed"),
        (np.ones((40, 3)), np.arange(40) % 3, "the logits of every film are equal"),
        (sample(1.0, 40)[0], np.zeros(40, int), "all films to calibrate on are of one class"),
    ],
    ids=["three", "none", "equal", "one_class"],
)  # fmt: skip
def test_what_cannot_be_fitted_leaves_the_probabilities_alone(
    logits: np.ndarray, labels: np.ndarray, reason: str
) -> None:
    fit = fit_temperature(logits, labels)
    assert (fit.temperature, fit.fitted, fit.reason, fit.low) == (1.0, False, reason, None)
    assert fit.films == len(labels)
    assert fit.log_loss_before == fit.log_loss_after


def test_a_class_without_films_is_named_and_the_others_decide() -> None:
    logits, labels = sample(2.0)
    kept = labels != 2
    fit = fit_temperature(logits[kept], labels[kept], resamples=2)
    assert fit.fitted
    assert fit.missing == (2,)


def test_the_log_loss_of_a_certain_error_is_not_cut() -> None:
    assert mean_log_loss(np.array([[900.0, 0.0]]), np.array([1])) == 900.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (np.where(np.arange(3) == 1, np.nan, x), y), "Column l_1 holds values that are no numbers"),
        (lambda x, y: (x, y[1:]), "do not fit 39 labels"),
        (lambda x, y: (x, y + 1), "Labels run from 1 to 3 but there are 3 logits"),
    ],
)
def test_bad_input_is_refused_in_words(change, words: str) -> None:
    with pytest.raises(CxrError, match=words):
        fit_temperature(*change(np.arange(120.0).reshape(40, 3), np.arange(40) % 3))


def test_the_record_survives_its_file_to_the_last_bit() -> None:
    logits, labels = sample(1.3, 100)
    fit = fit_temperature(logits, labels, resamples=20)
    again = TemperatureScaling.model_validate_json(fit.model_dump_json())
    assert again == fit
    assert (again.probabilities(logits) == fit.probabilities(logits)).all()
    assert fit_temperature(logits, labels, resamples=20) == fit
    with pytest.raises(ValueError, match="greater than 0"):
        TemperatureScaling.model_validate({**json.loads(fit.model_dump_json()), "temperature": 0})
