"""Do 95 % intervals hold the truth in 95 % of samples? Films of one patient are alike; the truth is known.

Simulated samples share one set of resamples, so that thousands of them take seconds; samples are independent all the
same, and each resample is drawn as in any other use.
"""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest

from cxr_core.evaluation.bootstrap import Ranking, percentile_interval, resample_weights
from cxr_core.evaluation.weighted import WeightedScores

PATIENTS, FILMS = 150, 4
PATIENT_OF = np.repeat(np.arange(PATIENTS), FILMS)
SAMPLES = 1000
GROUPED = [f"p{k}" for k in PATIENT_OF]
EACH_ALONE = [f"f{k}" for k in range(PATIENTS * FILMS)]


def weights_of(groups: list[str], resamples: int) -> np.ndarray:
    return np.concatenate(list(resample_weights(groups, 0, resamples)))


def covered(spreads: np.ndarray, truth: float) -> float:
    """Share of samples whose interval holds the truth; spreads (resamples, samples)."""
    found = [percentile_interval(spread) for spread in spreads.T]
    return float(np.mean([one is not None and one["low"] <= truth <= one["high"] for one in found]))


@pytest.fixture(scope="module")
def right() -> np.ndarray:
    """Whether a film was called rightly, (films, samples): shares .8 in all, patients differ from 0 to 1."""
    rng = np.random.default_rng(1)
    skill = rng.beta(2.4, 0.6, (PATIENTS, SAMPLES))  # mean .8, correlation of two films of a patient 1 / (1 + 3)
    return (rng.random((PATIENTS * FILMS, SAMPLES)) < skill[PATIENT_OF]).astype(float)


def test_intervals_of_a_share_hold_the_truth_as_often_as_they_say(right: np.ndarray) -> None:
    weights = weights_of(GROUPED, 1000)
    assert 0.93 <= covered(weights @ right / len(right), 0.8) <= 0.97


def test_taking_films_of_a_patient_as_independent_holds_it_too_rarely(right: np.ndarray) -> None:
    weights = weights_of(EACH_ALONE, 1000)
    assert covered(weights @ right / len(right), 0.8) < 0.90


def alike(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of patients, and scores of films that share most of their deviation with the patient's others.

    A positive film's score is normal about 1.2, a negative one's about 0, both of variance 1: the area under the ROC
    curve of films of different patients is Phi(1.2 / sqrt 2).
    """
    rng = np.random.default_rng([2, seed])
    positive = (rng.random(PATIENTS) < 0.4)[PATIENT_OF]
    shared = rng.normal(size=PATIENTS)[PATIENT_OF]
    return positive, 1.2 * positive + sqrt(0.7) * shared + sqrt(0.3) * rng.normal(size=len(PATIENT_OF))


def test_intervals_of_an_area_hold_the_truth_as_often_as_they_say_and_not_without_patients() -> None:
    truth = 0.5 * (1 + erf(1.2 / 2))
    patients, films = weights_of(GROUPED, 400), weights_of(EACH_ALONE, 400)
    spreads = {"patients": [], "films": []}
    for seed in range(SAMPLES):
        positive, scores = alike(seed)
        ranking = Ranking(positive, scores)
        spreads["patients"].append(ranking.auc(patients))
        if seed < SAMPLES // 4:  # far enough from what it says to be seen in a quarter
            spreads["films"].append(ranking.auc(films))
    assert 0.93 <= covered(np.array(spreads["patients"]).T, truth) <= 0.97
    assert covered(np.array(spreads["films"]).T, truth) < 0.90


@pytest.mark.slow
def test_intervals_of_every_score_hold_the_truth_as_often_as_they_say() -> None:
    groups = [f"p{k // 2}" for k in range(480)]  # 240 patients

    def sample(seed: int, patients: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([3, seed])
        labels = rng.choice(3, patients, p=[0.4, 0.3, 0.3]).repeat(2)
        shared = rng.normal(size=(patients, 3)).repeat(2, axis=0)
        powers = np.exp(1.5 * np.eye(3)[labels] + 0.8 * shared + 0.6 * rng.normal(size=(len(labels), 3)))
        return labels, powers / powers.sum(axis=1, keepdims=True)

    labels, p = sample(SAMPLES, 200_000)
    overall, per_class = WeightedScores(labels, p).scores(np.ones((1, len(labels))))
    truth = {
        **{name: values[0] for name, values in overall.items()},
        **{("one", n): v[0, 1] for n, v in per_class.items()},
    }
    weights = weights_of(groups, 500)
    spreads: dict[object, list[np.ndarray]] = {name: [] for name in truth}
    for seed in range(SAMPLES):
        overall, per_class = WeightedScores(*sample(seed, 240)).scores(weights)
        for name in truth:
            spreads[name].append(per_class[name[1]][:, 1] if isinstance(name, tuple) else overall[name])
    shares = {name: covered(np.array(spreads[name]).T, value) for name, value in truth.items()}
    noise = sqrt(0.95 * 0.05 / SAMPLES)  # standard error of a share of this simulation
    assert all(0.93 - noise <= share <= 0.97 + noise for share in shares.values()), shares
