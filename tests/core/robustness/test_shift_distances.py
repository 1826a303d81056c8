"""The distances against other implementations of their definitions, and the two-sample head against plain refits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from cxr_core.robustness.shift_classifier import (
    fold_auc,
    head_operator,
    out_of_fold_auc,
    standardised_gram,
    swapped_auc,
)
from cxr_core.robustness.shift_distances import (
    cosine_distances,
    cosine_excess,
    energy_distance,
    euclidean_distances,
    frechet_distance,
    mean_pairwise_cosine,
    median_width,
    norm_shift,
    unbiased_mmd,
)
from cxr_core.robustness.shift_halves import draw_halves, half_distances
from cxr_core.robustness.shift_pair import QUADRATIC, Cloud, Pair

Floats = npt.NDArray[np.float64]


def films(n: int, d: int, seed: int = 0, moved: float = 0.4) -> tuple[Floats, Floats]:
    """Clean embeddings that are correlated and never negative, and moved versions of them."""
    rng = np.random.default_rng(seed)
    clean = np.maximum(0.0, rng.normal(size=(n, 6)) @ rng.normal(size=(6, d)) + 0.3 * rng.normal(size=(n, d)) + 0.5)
    return clean, clean * 1.05 + moved * rng.random((n, d))


@pytest.mark.parametrize(("n", "d"), [(60, 7), (25, 25), (12, 40)])
def test_the_frechet_distance_is_that_of_a_matrix_root(n: int, d: int) -> None:
    from scipy.linalg import sqrtm

    x, y = films(n, d)
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(sqrtm(np.asarray(first @ second, np.complex128)))
    expected = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + np.trace(first + second - 2 * root)
    tolerance = 1e-6 if n > d else 1e-4  # scipy's root of a singular product is good to no more
    assert frechet_distance(x, y) == pytest.approx(expected, rel=tolerance)


def test_the_frechet_distance_of_more_dimensions_than_films_is_that_of_their_subspace() -> None:
    from scipy.linalg import sqrtm

    x, y = films(9, 1280)
    basis = np.linalg.qr(np.concatenate([x, y]).T)[0]
    root = [np.real(sqrtm(np.cov(rows @ basis, rowvar=False) + 1e-9 * np.eye(18))) for rows in (x, y)]
    inner = np.linalg.svd(root[0] @ root[1], compute_uv=False).sum()
    spread = sum(((rows - rows.mean(axis=0)) ** 2).sum() / 8 for rows in (x, y))
    expected = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + spread - 2 * inner
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-8 * spread)


def test_halves_of_many_embeddings_of_one_kind_are_far_from_a_frechet_distance_of_zero() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 128))
    halves = frechet_distance(rows[:200], rows[200:])
    assert halves > 20  # 2 d / n times a quarter of the trace and more: all of it chance (TRAPS 13)
    assert frechet_distance(rows[:200], rows[:200] + 1e-3) < 1e-2


def test_the_energy_distance_is_that_of_scipy() -> None:
    from scipy.stats import energy_distance as reference

    x, y = films(40, 1)
    assert energy_distance(x, y) == pytest.approx(reference(x[:, 0], y[:, 0]), abs=1e-9)


def test_mmd_has_the_kernel_of_scikit_learn_and_leaves_versions_of_one_film_out() -> None:
    from sklearn.metrics.pairwise import rbf_kernel

    x, y = films(15, 8)
    width = median_width(x)
    distances = [np.linalg.norm(x[i] - x[j]) for i in range(15) for j in range(i)]
    assert width == pytest.approx(np.median(distances), rel=1e-12)
    xx, yy, xy = (rbf_kernel(a, b, gamma=1 / (2 * width**2)) for a, b in ((x, x), (y, y), (x, y)))
    pairs = [(i, j) for i in range(15) for j in range(15) if i != j]
    expected = np.mean([xx[i, j] + yy[i, j] - xy[i, j] - xy[j, i] for i, j in pairs])
    assert unbiased_mmd(x, y, width) == pytest.approx(expected, abs=1e-12)


def test_cosines_are_means_over_pairs_and_not_the_cosine_of_centroids() -> None:
    from sklearn.metrics.pairwise import cosine_distances as reference
    from sklearn.metrics.pairwise import paired_cosine_distances

    x, y = films(15, 8)
    assert mean_pairwise_cosine(x, y) == pytest.approx(paired_cosine_distances(x, y).mean(), abs=1e-9)
    pairs = [(i, j) for i in range(15) for j in range(15) if i != j]
    between, inside_x, inside_y = (
        np.mean([block[i, j] for i, j in pairs]) for block in (reference(x, y), reference(x, x), reference(y, y))
    )
    assert cosine_excess(x, y) == pytest.approx(between - (inside_x + inside_y) / 2, abs=1e-9)
    opposite = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert mean_pairwise_cosine(opposite, opposite[::-1]) == pytest.approx(1.0)  # the centroids agree (TRAPS 14)


def test_the_norm_shift_is_signed() -> None:
    x, _ = films(10, 5)
    assert norm_shift(x, 1.5 * x) == pytest.approx(0.5 * np.linalg.norm(x, axis=1).mean())
    assert norm_shift(1.5 * x, x) == -norm_shift(x, 1.5 * x)


def test_contrasts_and_halves_give_the_distances_of_the_definitions() -> None:
    x, y = films(14, 30)
    width = median_width(x)
    pair = Pair.of(Cloud.of(x, x.mean(axis=0)), Cloud.of(y, x.mean(axis=0)), width)
    sums = {name: pair.contrast(name) for name in QUADRATIC}
    contrasts = {name: float(form.sum()) for name, form in sums.items() if form is not None}
    expected = {
        "cosine_excess": cosine_excess(x, y),
        "mmd": unbiased_mmd(x, y, width),
        "energy": energy_distance(x, y) ** 2,
    }
    assert contrasts == pytest.approx(expected, abs=1e-12)
    half = np.arange(14) % 3 == 0
    found = half_distances(pair, half[None], np.arange(14), 3)
    a, b = x[half], y[~half]

    def inside(block: Floats) -> float:
        return float(block.sum() / (len(block) * (len(block) - 1)))

    kernels = [1 - np.exp(-((euclidean_distances(p, q) / width) ** 2) / 2) for p, q in ((a, a), (b, b), (a, b))]
    cosines = [cosine_distances(p, q) for p, q in ((a, a), (b, b), (a, b))]
    wanted = {
        "cosine": cosines[2].mean(),
        "cosine_excess": cosines[2].mean() - (inside(cosines[0]) + inside(cosines[1])) / 2,
        "frechet": frechet_distance(a, b),
        "norm_shift": norm_shift(a, b),
        "mmd": 2 * kernels[2].mean() - inside(kernels[0]) - inside(kernels[1]),
        "energy": energy_distance(a, b),
    }
    assert {name: float(found[name][0]) for name in wanted} == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_halves_part_no_group_and_hold_half_of_the_films() -> None:
    codes = np.repeat(np.arange(20), np.arange(20) % 4 + 1)
    halves = draw_halves(codes, np.random.default_rng(0), 50)
    for half in halves:
        assert len(set(codes[half]) & set(codes[~half])) == 0
        assert abs(half.sum() - len(codes) / 2) <= 2
    assert len({half.tobytes() for half in halves}) > 40


def ridge_scores(features: Floats, labels: Floats, folds: npt.NDArray[np.int64], penalty: float) -> Floats:
    """Out-of-fold scores of scikit-learn's ridge regression, a fit a fold."""
    from sklearn.linear_model import Ridge

    scores = np.empty(len(labels))
    for fold in np.unique(folds):
        model = Ridge(alpha=penalty, fit_intercept=False).fit(features[folds != fold], labels[folds != fold])
        scores[folds == fold] = model.predict(features[folds == fold])
    return scores


@pytest.mark.parametrize("d", [5, 60])
def test_the_head_without_its_fold_is_a_fit_on_the_other_folds(d: int) -> None:
    x, y = films(18, d)
    rows = np.concatenate([x, y])
    folds = np.tile(np.arange(18) % 4, 2)
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0) / np.sqrt(d)
    features = np.column_stack([scaled, np.ones(36)])
    labels = np.repeat([-1.0, 1.0], 18)
    expected = ridge_scores(features, labels, folds, 0.1)
    found = head_operator(standardised_gram(rows), folds, 0.1) @ labels
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_areas_after_an_exchange_are_those_of_refitted_labels() -> None:
    from sklearn.metrics import roc_auc_score

    x, y = films(20, 12, moved=0.3)
    gram = standardised_gram(np.concatenate([x, y]))
    folds = np.arange(20) % 4
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (6, 20))
    signs[0] = 1
    areas = swapped_auc(head_operator(gram, np.tile(folds, 2)), signs, folds)
    for row, area in zip(signs, areas, strict=True):
        corrupted = np.concatenate([row < 0, row > 0])
        assert area == pytest.approx(out_of_fold_auc(gram, corrupted, np.tile(folds, 2)), abs=1e-12)
        scores = head_operator(gram, np.tile(folds, 2)) @ np.where(corrupted, 1.0, -1.0)
        inside = [np.tile(folds, 2) == fold for fold in range(4)]
        assert area == pytest.approx(np.mean([roc_auc_score(corrupted[k], scores[k]) for k in inside]), abs=1e-12)


def test_the_head_finds_what_a_fitted_logistic_regression_finds() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = films(60, 20, moved=0.3)
    rows, corrupted, groups = np.concatenate([x, y]), np.repeat([False, True], 60), np.tile(np.arange(60), 2)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    said = cross_val_predict(model, rows, corrupted, groups=groups, cv=GroupKFold(5), method="decision_function")
    reference = fold_auc(said, corrupted, np.tile(np.arange(60) % 5, 2))
    found = out_of_fold_auc(standardised_gram(rows), corrupted, np.tile(np.arange(60) % 5, 2))
    assert reference > 0.7
    assert found == pytest.approx(reference, abs=0.05)


def test_equal_versions_cannot_be_told_apart() -> None:
    x, _ = films(12, 50)
    signs = np.ones((1, 12))
    folds = np.arange(12) % 3
    operator = head_operator(standardised_gram(np.concatenate([x, x.copy()])), np.tile(folds, 2))
    assert swapped_auc(operator, signs, folds)[0] == 0.5


@pytest.mark.parametrize("distance", [frechet_distance, energy_distance, cosine_excess, norm_shift])
def test_equal_versions_are_at_no_distance(distance: Callable[[Floats, Floats], float]) -> None:
    x, _ = films(12, 50)
    assert distance(x, x.copy()) == pytest.approx(0.0, abs=1e-9)
