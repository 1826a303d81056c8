"""Confident learning and the mixture of a cell, each against a computation of its own or a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from cxr_core.errors import CxrError
from cxr_core.trust.label_confident import (
    calibrated_joint,
    confident_joint,
    confident_learning,
    thresholds_of,
)
from cxr_core.trust.label_head import fit_head, out_of_fold, scores_of
from cxr_core.trust.label_mixture import Reference, fit_mixture, mixture_p_value, resampled_shares
from cxr_core.trust.label_space import audit_space

REFERENCE = Reference(other=-2.0, own=2.0, other_spread=1.0, own_spread=1.0)


def noisy(n: int = 900, share: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes, labels of which a share is wrong, and probabilities that follow the true class."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, n)
    labels = true.copy()
    wrong = rng.permutation(n)[: round(share * n)]
    labels[wrong] = (labels[wrong] + rng.integers(1, 3, len(wrong))) % 3
    logits = 4 * np.eye(3)[true] + rng.normal(0, 1, (n, 3))
    p = np.exp(logits)
    return true, labels, p / p.sum(axis=1, keepdims=True)


def test_the_confident_joint_is_that_of_the_paper_film_by_film() -> None:
    _, labels, p = noisy(300)
    thresholds = [np.mean([p[row, label] for row in range(300) if labels[row] == label]) for label in range(3)]
    counts = np.zeros((3, 3))
    for row in range(300):
        present = [label for label in range(3) if p[row, label] >= thresholds[label]]
        if present:
            counts[labels[row], max(present, key=lambda label: p[row, label])] += 1
    joint = np.array([counts[label] / counts[label].sum() * (labels == label).sum() for label in range(3)])
    assert np.allclose(thresholds_of(labels, p, np.ones(300)), thresholds, atol=1e-12)
    assert np.allclose(confident_joint(labels, p, np.array(thresholds), np.ones(300)), counts, atol=1e-12)
    assert np.allclose(confident_learning(labels, p).joint, joint, atol=1e-12)


def test_counting_a_film_twice_is_the_same_as_having_it_twice() -> None:
    _, labels, p = noisy(120)
    weights = np.random.default_rng(3).integers(0, 4, 120)
    twice, again = np.repeat(labels, weights), np.repeat(p, weights, axis=0)
    thresholds = thresholds_of(labels, p, weights.astype(float))
    assert np.allclose(thresholds, thresholds_of(twice, again, np.ones(len(twice))), atol=1e-12)
    assert np.allclose(confident_joint(labels, p, thresholds, weights.astype(float)),
                       confident_joint(twice, again, thresholds, np.ones(len(twice))), atol=1e-12)  # fmt: skip


def test_wrong_labels_are_found_counted_and_put_right() -> None:
    true, labels, p = noisy()
    found = confident_learning(labels, p)
    wrong = labels != true
    assert (found.suspects & wrong).sum() / found.suspects.sum() > 0.9
    assert (found.suspects & wrong).sum() / wrong.sum() > 0.9
    assert abs((found.joint.sum() - np.trace(found.joint)) / len(labels) - 0.1) < 0.02
    caught = found.suspects & wrong
    assert (found.suggested[caught] == true[caught]).mean() > 0.95
    assert np.allclose(found.margin, p[np.arange(900), found.suggested] - found.self_confidence)
    assert np.allclose(found.joint.sum(axis=1), np.bincount(labels))


def test_clean_labels_and_probabilities_that_are_all_equal_give_no_suspect() -> None:
    true, _, p = noisy(share=0)
    assert confident_learning(true, p).suspects.mean() < 0.01
    flat = confident_learning(true, np.full((900, 3), 1 / 3))
    assert not flat.suspects.any()
    assert np.array_equal(flat.joint, np.diag(np.bincount(true)))


def test_films_that_do_not_count_are_no_suspects() -> None:
    _, labels, p = noisy()
    everything = confident_learning(labels, p)
    counted = ~everything.suspects
    assert not (confident_learning(labels, p, counted=counted).suspects & ~counted).any()


def test_a_label_of_which_nothing_is_sure_is_taken_as_it_is_filed() -> None:
    joint = calibrated_joint(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([5.0, 8.0]))
    assert joint.tolist() == [[5.0, 0.0], [2.0, 6.0]]


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CxrError, match="do not fit probabilities of 2 films and 3 classes"):
        confident_learning(np.array([0, 3]), np.full((2, 3), 1 / 3))


# ------------------------------------------------------------------ mixture
def cell(n: int, share: float, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    wrong = np.arange(n) < round(share * n)
    return np.where(wrong, -2.0, 2.0) + rng.normal(0, 1, n) + shift, wrong


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_a_mixture_is_found_wherever_the_source_has_moved_its_scores(shift: float) -> None:
    scores, wrong = cell(200, 0.28, 1, shift)
    found = fit_mixture(scores, np.empty(0), REFERENCE)
    assert abs(found.share - 0.28) < 0.04
    assert mixture_p_value(found.gain) < 1e-6
    chosen = np.argsort(-found.wrong)[: round(found.share * 200)]
    assert wrong[chosen].mean() > 0.9


def test_one_component_is_called_a_mixture_as_seldom_as_the_test_promises() -> None:
    p = [mixture_p_value(fit_mixture(cell(120, 0.0, seed)[0], np.empty(0), REFERENCE).gain) for seed in range(100)]
    assert np.sum(np.array(p) < 0.05) <= 10  # more in one of 90 runs, were it one in twenty
    assert mixture_p_value(0.0) == 1.0


def test_the_fit_is_where_a_general_optimiser_finds_it() -> None:
    scores, _ = cell(150, 0.3, 5)
    anchors = np.random.default_rng(6).normal(-2, 1, 40)
    x, y = (scores + 2) / 4, (anchors + 2) / 4
    prior = (1 / 4) ** 2

    def objective(parameters: np.ndarray) -> float:
        other, own, log_a, log_c, logit = parameters
        a, c, share = np.exp(log_a), np.exp(log_c), 1 / (1 + np.exp(-logit))
        inside = np.logaddexp(np.log(share) - np.log(a) / 2 - (x - other) ** 2 / a / 2,
                              np.log1p(-share) - np.log(c) / 2 - (x - own) ** 2 / c / 2).sum()  # fmt: skip
        beside = -(np.log(a) / 2 + (y - other) ** 2 / a / 2).sum()
        weight = 10.0
        trust = -weight * (own - other - 1) ** 2 / (a + c)
        trust -= weight / 2 * (np.log(a) + prior / a + np.log(c) + prior / c)
        return -(inside + beside + trust)

    # The step takes the distance's variance as given: start there, and compare shares to what that leaves open.
    best = minimize(objective, [0.0, 1.0, np.log(prior), np.log(prior), -1.0], method="Nelder-Mead",
                    options={"maxiter": 20000, "xatol": 1e-8, "fatol": 1e-10})  # fmt: skip
    found = fit_mixture(scores, anchors, REFERENCE)
    assert abs(found.share - 1 / (1 + np.exp(-best.x[4]))) < 0.005


def test_resampled_shares_hold_the_truth_about_as_often_as_they_promise() -> None:
    inside = 0
    for seed in range(25):
        rng = np.random.default_rng(1000 + seed)
        wrong = rng.random(150) < 0.3
        scores = np.where(wrong, -2.0, 2.0) + rng.normal(0, 1, 150)
        found = fit_mixture(scores, np.empty(0), REFERENCE)
        weights = rng.multinomial(150, np.full(150, 1 / 150), 200).astype(float)
        low, high = np.quantile(resampled_shares(scores, np.empty(0), REFERENCE, found.share, weights), [0.025, 0.975])
        inside += low <= 0.3 <= high
    assert inside >= 21


# ------------------------------------------------------------------ space and head
def test_the_space_gives_the_head_of_the_standardised_features() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (80, 30)) * rng.uniform(0.1, 9, 30) + 4
    labels = (values[:, 0] + rng.normal(0, 1, 80) > 4).astype(np.int64)
    space = audit_space(values, (30,), 1)
    assert np.isclose(np.square(space).sum(axis=1).mean(), 1)
    scaled = StandardScaler().fit_transform(values) / np.sqrt(30)
    direct = LogisticRegression(C=5.0, max_iter=5000, tol=1e-10).fit(scaled, labels).predict_proba(scaled)
    assert np.allclose(fit_head(space, labels, 5.0).probabilities(space, 2), direct, atol=1e-3)


def test_inside_each_source_the_site_is_gone() -> None:
    rng = np.random.default_rng(0)
    sources = np.array(["a"] * 40 + ["b"] * 60, object)
    values = rng.normal(0, 1, (100, 8)) + 5 * (sources == "b")[:, None]
    apart, together = audit_space(values, (8,), 1, sources), audit_space(values, (8,), 1)
    for space, gone in ((apart, True), (together, False)):
        assert np.allclose(space[:40].mean(axis=0), space[40:].mean(axis=0), atol=1e-9) is gone


def test_blocks_weigh_the_same_whatever_their_width() -> None:
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0, 1, (50, 2)), rng.normal(0, 1, (50, 200))
    repeated = audit_space(np.hstack([np.repeat(narrow, 100, axis=1), wide]), (200, 200), 1)
    plain = audit_space(np.hstack([narrow, wide]), (2, 200), 1)
    assert np.allclose(repeated @ repeated.T, plain @ plain.T, atol=1e-9)


def test_many_films_are_projected_and_keep_their_inner_products(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0, 1, (60, 20))
    exact = audit_space(values, (20,), 1)
    monkeypatch.setattr("cxr_core.trust.label_space._EXACT", 10)
    projected = audit_space(values, (20,), 1)
    assert projected.shape == (60, 2048)
    assert np.corrcoef((projected @ projected.T).ravel(), (exact @ exact.T).ravel())[0, 1] > 0.99


def test_features_that_are_no_numbers_or_do_not_add_up_are_refused() -> None:
    with pytest.raises(CxrError, match="values that are no numbers"):
        audit_space(np.array([[1.0, np.nan]]), (2,), 1)
    with pytest.raises(CxrError, match="Blocks of 3 columns do not make up 2 features"):
        audit_space(np.ones((4, 2)), (3,), 1)
    assert audit_space(np.ones((4, 2)), (2,), 1).shape[0] == 4  # nothing differs: no direction, no crash


def test_no_film_is_judged_by_a_head_that_learnt_its_fold_or_a_film_that_is_left_out() -> None:
    rng = np.random.default_rng(0)
    space, labels = rng.normal(0, 1, (90, 4)), np.arange(90) % 3
    fold = np.arange(90) // 30
    p = out_of_fold(space, labels, fold, 3, 1.0)
    turned = labels.copy()
    turned[fold == 0] = (turned[fold == 0] + 1) % 3
    again = out_of_fold(space, turned, fold, 3, 1.0)
    assert np.allclose(p[fold == 0], again[fold == 0])
    assert not np.allclose(p[fold == 1], again[fold == 1])
    without = out_of_fold(space, turned, fold, 3, 1.0, left_out=fold == 0)
    assert np.allclose(without[fold == 1], out_of_fold(space, labels, fold, 3, 1.0, left_out=fold == 0)[fold == 1])


def test_a_film_of_half_trust_teaches_both_classes_alike() -> None:
    rng = np.random.default_rng(0)
    space, positive = rng.normal(0, 1, (60, 3)), np.arange(60) % 2 == 0
    scores = scores_of(space, positive, np.full(60, 0.5), np.arange(60) // 20, 10.0)
    assert np.allclose(scores, 0, atol=1e-3)
    assert np.array_equal(scores_of(space, np.ones(60, bool), np.ones(60), np.arange(60) // 20, 1.0), np.zeros(60))
