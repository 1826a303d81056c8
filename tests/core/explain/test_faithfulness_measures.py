"""The measures of maps against closed forms, independent implementations and cases without an answer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from cxr_core.errors import CxrError
from cxr_core.explain.deletion import area_under, replacement_curves, veils
from cxr_core.explain.faithfulness_scores import Grouping
from cxr_core.explain.localisation import (
    border_masks,
    dilated,
    energy,
    energy_report,
    hits,
    lesion_report,
    matched_iou,
    padding_masks,
)
from cxr_core.explain.map_similarity import rank_correlations, reduced, structural_similarities
from cxr_core.explain.reference_maps import blank_maps, centre_map, random_maps
from cxr_core.explain.repeatability import agreement, repeatability
from cxr_core.imaging.preprocess import Box

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def grouping(n: int, groups: int | None = None) -> Grouping:
    own = np.array([f"g{row % (groups or n)}" for row in range(n)], object)
    return Grouping(np.arange(n) % 3, own, NAMES, 1, 200)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


class Linear:
    """A network whose score is a weighted sum of the pixels."""

    def __init__(self, side: int, rng: np.random.Generator) -> None:
        self.weights = rng.normal(size=(side, side))

    def __call__(self, frames: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return (frames * self.weights).sum(axis=(1, 2))


def test_deletion_of_a_linear_score_in_the_order_of_its_terms_has_the_area_of_its_closed_form(
    rng: np.random.Generator,
) -> None:
    side = 8
    score, frames = Linear(side, rng), rng.integers(1, 256, (3, side, side)).astype(np.uint8)
    black, ties = np.zeros_like(frames), np.zeros(frames.shape, np.float32)
    terms = frames * score.weights
    curves = replacement_curves(score, frames, black, terms.astype(np.float32), ties, np.zeros(3), side * side)
    ordered = -np.sort(-terms.reshape(3, -1), axis=1)
    n = side * side
    # The i-th largest term (from 0) is there for i + 1/2 of n steps.
    expected = (ordered * (np.arange(n) + 0.5)).sum(axis=1) / n
    np.testing.assert_allclose(area_under(curves), expected, rtol=1e-6)
    best = area_under(curves)
    for seed in range(20):
        other = random_maps(["a", "b", "c"], side, seed, side)
        assert (area_under(replacement_curves(score, frames, black, other, ties, np.zeros(3), n)) >= best - 1e-9).all()


def test_insertion_is_the_mirror_of_deletion_between_the_same_frames(rng: np.random.Generator) -> None:
    score, frames = Linear(8, rng), rng.integers(0, 256, (2, 8, 8)).astype(np.uint8)
    black, maps = np.zeros_like(frames), random_maps(["x", "y"], 8, 0, 8)
    away = replacement_curves(score, frames, black, maps, maps, np.zeros(2), 16)
    given = replacement_curves(score, black, frames, maps, maps, np.zeros(2), 16)
    np.testing.assert_allclose(away + given, np.repeat(score(frames, np.zeros(2))[:, None], 17, axis=1), rtol=1e-9)


def test_random_maps_have_on_average_the_area_of_an_even_fall(rng: np.random.Generator) -> None:
    score, frames = Linear(16, rng), rng.integers(0, 256, (1, 16, 16)).astype(np.uint8)
    score.weights = np.abs(score.weights)
    keys = [str(place) for place in range(300)]
    many, black = np.repeat(frames, 300, axis=0), np.zeros((300, 16, 16), np.uint8)
    maps = random_maps(keys, 16, 5)
    areas = area_under(replacement_curves(score, many, black, maps, maps, np.zeros(300), 8))
    half = float(score(frames, np.zeros(1))[0]) / 2
    assert abs(areas.mean() - half) < 4 * areas.std() / np.sqrt(300)


def test_pixels_that_tie_go_in_the_order_given_and_not_from_top_to_bottom(rng: np.random.Generator) -> None:
    frames, black = np.full((1, 16, 16), 200, np.uint8), np.zeros((1, 16, 16), np.uint8)
    ties = random_maps(["t"], 16, 1, 16)
    seen: list[np.ndarray] = []

    def keep(shown: np.ndarray, classes: np.ndarray) -> np.ndarray:
        seen.extend(shown)
        return np.zeros(len(shown))

    replacement_curves(keep, frames, black, np.zeros((1, 16, 16), np.float32), ties, np.zeros(1), 2)
    gone = seen[-1] == 0
    assert gone.sum() == 128
    assert ties[0][gone].min() > ties[0][~gone].max()


def test_the_veils_keep_the_padding_and_take_the_film_away() -> None:
    frames = np.zeros((2, 32, 32), np.uint8)
    frames[0, 4:28] = np.random.default_rng(0).integers(50, 200, (24, 32))
    made = veils(frames, 0.3)
    for veil in (made.grey, made.blurred):
        assert not veil[0, :4].any()
        assert not veil[1].any()
    assert len(np.unique(made.grey[0, 4:28])) == 1
    assert made.blurred[0, 4:28].std() < frames[0, 4:28].std() / 4
    with pytest.raises(CxrError, match="no mode"):
        made.ends("both", frames)


def test_rank_correlation_is_that_of_scipy(rng: np.random.Generator) -> None:
    a, b = rng.random((4, 9, 9)).astype(np.float32), rng.random((4, 9, 9)).astype(np.float32)
    a[a < 0.5] = 0  # ties
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(rank_correlations(a, b), expected, atol=1e-9)
    assert np.isnan(rank_correlations(np.zeros((1, 5, 5), np.float32), a[:1, :5, :5]))


def test_structural_similarity_is_that_of_its_definition(rng: np.random.Generator) -> None:
    a, b = random_maps(["a", "b"], 20, 1), random_maps(["c", "d"], 20, 1)
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / np.outer(line, line).sum()

    def direct(x: np.ndarray, y: np.ndarray) -> float:
        x, y = (np.pad(one.astype(float), 5, mode="symmetric") for one in (x, y))
        found = []
        for row, column in np.ndindex(20, 20):
            p, q = (one[row : row + 11, column : column + 11] for one in (x, y))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            found.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
        return float(np.mean(found))

    expected = [direct(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(structural_similarities(a, b), expected, atol=1e-6)
    np.testing.assert_allclose(structural_similarities(a, a), 1.0, atol=1e-9)
    assert reduced(random_maps(["z"], 112, 0)).shape == (1, 56, 56)


def test_energy_of_an_even_map_is_the_share_of_the_region_and_blank_maps_have_none() -> None:
    masks = np.zeros((3, 10, 10), bool)
    masks[:2, :3] = True
    maps = np.ones((3, 10, 10), np.float32)
    maps[1] = 0
    found = energy(maps, masks)
    assert found[0] == pytest.approx(0.3)
    assert np.isnan(found[1:]).all()


def test_border_and_padding_follow_the_film() -> None:
    boxes = [Box(0, 20, 4, 16), Box(0, 20, 0, 20)]
    padding, border = padding_masks(boxes, 20), border_masks(boxes, 20, 0.1)
    assert padding.sum(axis=(1, 2)).tolist() == [160, 0]
    assert border.sum(axis=(1, 2)).tolist() == [400 - 16 * 8, 400 - 16 * 16]
    assert not (padding & ~border).any()


def test_energy_against_its_nulls_on_maps_of_known_place() -> None:
    n = 12
    masks = np.zeros((n, 20, 20), bool)
    masks[:, :, :10] = True
    inside = np.where(masks, 1.0, 0.0).astype(np.float32)
    report = energy_report(inside, masks, grouping(n), 0.25, "none")
    assert report["energy"]["overall"]["value"] == pytest.approx(1.0)
    assert report["against_uniform"]["overall"]["value"] == pytest.approx(0.5)
    assert report["centre"]["overall"]["value"] == pytest.approx(0.5, abs=1e-6)
    assert report["against_other_films"]["overall"]["value"] == pytest.approx(0.0, abs=1e-9)
    none = energy_report(inside, np.zeros_like(masks), grouping(n), 0.25, "no lungs were found")
    assert none["energy"]["overall"]["value"] is None
    assert none["energy"]["overall"]["reason"] == "no lungs were found"
    blank = energy_report(np.zeros_like(inside), masks, grouping(n), 0.25, "no lungs were found")
    assert blank["against_uniform"]["overall"]["reason"] == "every map is blank"


def test_a_flat_map_hits_as_often_as_chance_and_a_peak_hits_or_not() -> None:
    target = np.zeros((3, 10, 10), bool)
    target[:, :2] = True
    maps = np.zeros((3, 10, 10), np.float32)
    maps[1, 1, 5] = maps[2, 8, 5] = 1
    assert hits(maps, target).tolist() == pytest.approx([0.2, 1.0, 0.0])
    assert np.isnan(hits(maps[:1], np.zeros((1, 10, 10), bool))[0])


def test_tolerance_reaches_as_far_as_it_says() -> None:
    mask = np.zeros((1, 41, 41), bool)
    mask[0, 20, 20] = True
    grown = dilated(mask, 5 / 41)[0]
    y, x = np.mgrid[:41, :41]
    np.testing.assert_array_equal(grown, np.hypot(y - 20, x - 20) <= 5)
    assert not dilated(np.zeros((1, 8, 8), bool), 0.5).any()


def test_matched_overlap_is_one_for_the_lesion_itself_and_chance_for_a_flat_map() -> None:
    target = np.zeros((2, 10, 10), bool)
    target[:, 3:6, 2:7] = True
    maps = np.stack([target[0].astype(np.float32), np.zeros((10, 10), np.float32)])
    a = 0.15
    assert matched_iou(maps, target).tolist() == pytest.approx([1.0, a / (2 - a)])


def test_lesions_hit_by_maps_that_know_them_and_not_by_random_maps() -> None:
    n, side = 30, 40
    rng = np.random.default_rng(1)
    lesions = np.zeros((n, side, side), bool)
    for row in range(0, n, 2):
        y, x = rng.integers(5, 30, 2)
        lesions[row, y : y + 5 + row % 4, x : x + 6] = True
    knowing = np.stack([cv2.GaussianBlur(one.astype(np.float32), (0, 0), 3) for one in lesions])
    keys = [str(row) for row in range(n)]
    rivals = np.stack([random_maps(keys, side, seed) for seed in range(8)])
    by = grouping(n)
    good = lesion_report(knowing, lesions, rivals, by, 0.05, "no lesion")
    assert good["films"] == 15
    assert good["pointing"]["map"]["overall"]["value"] == 1.0
    assert good["pointing"]["against_chance"]["overall"]["low"] > 0.7
    blind = lesion_report(rivals[0], lesions, rivals[1:], by, 0.05, "no lesion")
    for measure in ("pointing", "iou"):
        difference = blind[measure]["against_chance"]["overall"]
        assert difference["low"] < 0.05
        assert blind[measure]["random"]["overall"]["value"] == pytest.approx(
            blind[measure]["chance"]["overall"]["value"], abs=0.1
        )
    none = lesion_report(knowing, np.zeros_like(lesions), rivals, by, 0.05, "no lesion")
    assert none["pointing"]["map"]["overall"]["reason"] == "no lesion"


def test_one_film_has_a_value_without_an_interval() -> None:
    one = grouping(1).scores([0.4], "none")
    assert one["overall"]["value"] == 0.4
    assert one["overall"]["low"] is None
    assert "1 patient group" in one["overall"]["reason"]
    assert one["per_class"]["Pneumonia"] == {"value": None, "low": None, "high": None, "reason": "none", "films": 0}


def test_intervals_draw_whole_patients() -> None:
    values = np.repeat([0.0, 1.0] * 10, 6)
    apart = Grouping(np.zeros(120, int), np.arange(120).astype(str).astype(object), NAMES, 1, 400)
    whole = Grouping(np.zeros(120, int), np.repeat(np.arange(20), 6).astype(str).astype(object), NAMES, 1, 400)
    width = [entry["high"] - entry["low"] for by in (apart, whole) for entry in [by.scores(values, "")["overall"]]]
    assert width[1] > 1.8 * width[0]


def test_repeated_maps_are_more_alike_than_maps_of_different_films() -> None:
    keys = [str(row) for row in range(12)]
    first = random_maps(keys, 56, 1)
    second = np.clip(first + 0.1 * random_maps(keys, 56, 2), 0, 1)
    found = repeatability(first, second, grouping(12))
    for measure in ("rank_correlation", "ssim"):
        assert found[measure]["difference"]["overall"]["low"] > 0.3
    unlike = repeatability(first, random_maps(keys, 56, 9), grouping(12))
    assert unlike["rank_correlation"]["difference"]["overall"]["low"] < 0.1
    alone = repeatability(first, second, grouping(12, groups=1))
    assert alone["ssim"]["difference"]["overall"]["reason"] == "every film is of one patient"


def test_agreement_of_two_networks_by_hand() -> None:
    first = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    second = first[[0, 1, 2, 1]]
    by = Grouping(np.array([0, 1, 2, 0]), np.array(list("abcd"), object), NAMES, 1, 100)
    found = agreement(first, second, by)
    assert found["same_class"]["overall"]["value"] == 0.75
    assert found["accuracy_first"]["overall"]["value"] == 1.0
    assert found["probability_difference"]["overall"]["value"] == pytest.approx(1.4 / 12)
    chance = 0.5 * 0.25 + 0.25 * 0.5 + 0.25 * 0.25
    assert found["kappa"]["value"] == pytest.approx((0.75 - chance) / (1 - chance))
    assert agreement(first[:1], first[:1], by.take(np.array([0])))["kappa"]["value"] is None


def test_reference_maps_are_the_same_for_the_same_key_in_any_company() -> None:
    both, alone = random_maps(["a", "b"], 30, 4), random_maps(["b"], 30, 4)
    np.testing.assert_array_equal(both[1], alone[0])
    assert both.min() == 0
    assert both.max() == 1
    assert blank_maps(np.stack([both[0], np.zeros((30, 30)), np.full((30, 30), np.nan)])).tolist() == [
        False,
        True,
        True,
    ]
    centre = centre_map(31, 0.25)
    assert np.unravel_index(centre.argmax(), centre.shape) == (15, 15)
