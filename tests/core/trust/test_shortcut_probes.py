"""The probe of the shortcut audit against scikit-learn's kernel ridge and gradient boosting, and its null."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score

from cxr_core.errors import CxrError
from cxr_core.trust.shortcut_probes import Probe, macro_auc, permutation_p_value, permuted_rows


def films(n: int, seed: int = 0, tell: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with spikes as file sizes have, labels that follow them as far as ``tell`` says, folds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    width = np.array([224.0, 512.0, 1024.0])[np.where(rng.random(n) < tell, (labels + 1) % 3, rng.integers(0, 3, n))]
    size = width * rng.uniform(0.2, 0.6, n) + 50 * labels * tell
    return np.column_stack([width, size, rng.normal(size=n)]), labels, np.arange(n) % 5


def test_scores_equal_those_of_kernel_ridge_regression_fold_by_fold():
    features, labels, folds = films(150, tell=0.5)
    scores = Probe(features, folds, 0).scores(labels, 3)
    ranks = np.array([[np.mean([(col < x).sum() + 1, (col <= x).sum()]) for x in col] for col in features.T]).T / 150
    distances = np.abs(ranks[:, None] - ranks[None]).sum(axis=2)
    kernel = np.exp(-distances / (0.5 * np.median(distances[distances > 0])))
    for fold in range(5):
        outside, inside = folds != fold, folds == fold
        targets = np.eye(3)[labels[outside]]
        ridge = KernelRidge(alpha=0.5, kernel="precomputed").fit(
            kernel[np.ix_(outside, outside)], targets - targets.mean(axis=0)
        )
        expected = ridge.predict(kernel[np.ix_(inside, outside)]) + targets.mean(axis=0)
        np.testing.assert_allclose(scores[inside], expected, atol=2e-5)  # a millionth on the kernel's diagonal
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-9)


def test_it_finds_what_gradient_boosting_finds_in_numbers_with_spikes():
    features, labels, folds = films(400, seed=3, tell=0.6)
    scores = Probe(features, folds, 0).scores(labels, 3)
    trees = np.zeros((400, 3))
    for fold in range(5):
        model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, early_stopping=False, random_state=0)
        trees[folds == fold] = model.fit(features[folds != fold], labels[folds != fold]).predict_proba(
            features[folds == fold]
        )
    assert macro_auc(labels, scores) > macro_auc(labels, trees) - 0.02
    assert macro_auc(labels, trees) > 0.75


def test_films_are_scored_by_fits_that_never_saw_their_labels():
    features, labels, folds = films(120, tell=0.7)
    before = Probe(features, folds, 0).scores(labels, 3)
    changed = labels.copy()
    changed[folds == 2] = (labels[folds == 2] + 1) % 3
    after = Probe(features, folds, 0).scores(changed, 3)
    np.testing.assert_allclose(after[folds == 2], before[folds == 2], atol=1e-12)
    assert np.abs(after[folds != 2] - before[folds != 2]).max() > 0.05


def test_several_labellings_at_once_are_the_same_as_one_by_one():
    features, labels, folds = films(90)
    probe = Probe(features, folds, 0)
    other = np.random.default_rng(1).permutation(labels)
    together = probe.many(np.stack([labels, other]), 3)
    np.testing.assert_allclose(together[0], probe.scores(labels, 3), atol=1e-12)
    np.testing.assert_allclose(together[1], probe.scores(other, 3), atol=1e-12)


def test_fewer_landmarks_than_films_cost_little():
    features, labels, folds = films(600, seed=5, tell=0.5)
    whole, few = (macro_auc(labels, Probe(features, folds, 0, m).scores(labels, 3)) for m in (600, 150))
    assert few == pytest.approx(whole, abs=0.02)


def test_macro_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 3, 80), np.round(rng.random((80, 3)), 1)
    expected = np.mean([roc_auc_score(labels == k, scores[:, k]) for k in range(3)])
    assert macro_auc(labels, scores) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(macro_auc(np.zeros(5, int), np.zeros((5, 3))))


def test_labels_move_by_whole_patients_and_no_fold_changes_its_mix():
    rng = np.random.default_rng(0)
    groups = np.array([f"g{k // 2}" if k < 60 else f"s{k}" for k in range(100)], object)
    folds = np.array([hash_ % 3 for hash_ in np.unique(groups, return_inverse=True)[1]])
    labels = rng.integers(0, 3, 100)
    moved_any = False
    for block in permuted_rows(groups, folds, 0, 30):
        for places in block:
            assert sorted(places) == list(range(100))
            assert (folds[places] == folds).all()
            for k in range(0, 60, 2):
                assert groups[places[k]] == groups[places[k + 1]]
            moved_any |= bool((labels[places] != labels).any())
    assert moved_any


def test_the_p_value_is_seldom_small_where_nothing_is_to_be_told_and_the_null_sits_at_chance():
    p, middles = [], []
    for seed in range(40):
        features, labels, _ = films(60, seed=seed, tell=0.0)
        folds = np.empty(60, np.int64)
        for label in range(3):  # every fold gets its share of every class, as deal_folds sees to
            folds[labels == label] = np.arange((labels == label).sum()) % 5
        probe = Probe(features, folds, seed)
        null = probe.null(labels, 3, permuted_rows(np.arange(60).astype(str), folds, seed, 39))
        p.append(permutation_p_value(macro_auc(labels, probe.scores(labels, 3)), null))
        middles.append(null.mean())
    assert np.mean(np.array(p) <= 0.1) < 0.25  # 10 % expected; 1 in 500 such runs would have a quarter
    assert np.mean(middles) == pytest.approx(0.5, abs=0.02)


def test_a_feature_that_is_no_number_is_refused():
    features, _, folds = films(30)
    features[4, 1] = np.nan
    with pytest.raises(CxrError, match="Feature 1"):
        Probe(features, folds, 0)


def test_features_that_are_all_equal_tell_nothing():
    _, labels, folds = films(60)
    scores = Probe(np.ones((60, 3)), folds, 0).scores(labels, 3)
    assert np.isfinite(scores).all()
    assert macro_auc(labels, scores) < 0.55
