"""Lung masks: near the truth of phantoms, empty where there is no film, the same every time."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr_core.explain.lung_figures import outline_figure, overlap_figure
from cxr_core.explain.lung_plausibility import lung_areas, plausibility_of
from cxr_core.explain.lung_quality import (
    JudgingPhantoms,
    judging_phantoms,
    judging_seed,
    median_entry,
    overlap,
    quality_of,
)
from cxr_core.explain.lung_report import judge, lung_report
from cxr_core.explain.lungs import lung_masks
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_stress import LungSettings

PREPROCESSING = Preprocessing(224, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


@pytest.fixture(scope="module")
def phantoms() -> JudgingPhantoms:
    return judging_phantoms(5, 11, PREPROCESSING)


@pytest.fixture(scope="module")
def masks(phantoms: JudgingPhantoms) -> np.ndarray:
    return lung_masks(phantoms.frames)


def test_masks_of_phantoms_lie_on_their_lungs(phantoms: JudgingPhantoms, masks: np.ndarray):
    found = [_dice(mask, lung) for mask, lung in zip(masks, phantoms.lungs, strict=True)]
    assert np.median(found) > 0.9
    assert min(found) > 0.6
    assert masks.dtype == np.bool_
    assert masks.shape == phantoms.frames.shape


def test_each_mask_is_two_regions_inside_the_film_one_on_each_side(phantoms: JudgingPhantoms, masks: np.ndarray):
    for mask, box in zip(masks, phantoms.boxes, strict=True):
        inside = mask[box.top : box.bottom, box.left : box.right]
        assert inside.sum() == mask.sum()
        count, _, _, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        assert count == 3
        middle = (box.left + box.right) / 2
        assert min(centres[1:, 0]) < middle < max(centres[1:, 0])


def test_masks_do_not_depend_on_the_batch_or_the_day(phantoms: JudgingPhantoms, masks: np.ndarray):
    np.testing.assert_array_equal(lung_masks(phantoms.frames[::-1])[::-1], masks)
    np.testing.assert_array_equal(lung_masks(phantoms.frames[3:4])[0], masks[3])
    before = phantoms.frames[:2].copy()
    lung_masks(phantoms.frames[:2])
    np.testing.assert_array_equal(phantoms.frames[:2], before)


def test_a_mirrored_film_has_mirrored_lungs(phantoms: JudgingPhantoms, masks: np.ndarray):
    mirrored = lung_masks(np.ascontiguousarray(phantoms.frames[:, :, ::-1]))[:, :, ::-1]
    assert min(_dice(a, b) for a, b in zip(mirrored, masks, strict=True)) > 0.99


def test_brightness_and_contrast_change_little(phantoms: JudgingPhantoms, masks: np.ndarray):
    changed = np.where(phantoms.frames > 0, phantoms.frames * 0.6 + 40, 0).astype(np.uint8)
    assert np.median([_dice(a, b) for a, b in zip(lung_masks(changed), masks, strict=True)]) > 0.95


@pytest.mark.parametrize("side", [64, 160, 300])
def test_other_sides_give_the_same_lungs(phantoms: JudgingPhantoms, masks: np.ndarray, side: int):
    smaller = np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in phantoms.frames[:4]])
    found = lung_masks(smaller)
    for mask, expected in zip(found, masks, strict=False):
        back = cv2.resize(mask.astype(np.uint8), (224, 224), interpolation=cv2.INTER_NEAREST) > 0
        assert _dice(back, expected) > (0.8 if side == 64 else 0.9)  # pixels of 64 are 3.5 of 224


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((224, 224), np.uint8),
        np.full((224, 224), 255, np.uint8),
        np.full((224, 224), 90, np.uint8),
        np.tile(np.arange(224, dtype=np.uint8), (224, 1)),
        np.random.default_rng(0).integers(0, 256, (224, 224), dtype=np.uint8),
        np.eye(224, dtype=np.uint8) * 255,
        np.pad(np.full((1, 1), 200, np.uint8), ((100, 123), (90, 133))),
        np.pad(np.arange(224, dtype=np.uint8)[None], ((100, 123), (0, 0))),
    ],
    ids=["black", "white", "grey", "ramp", "noise", "diagonal", "dot", "line"],
)
def test_a_picture_without_lungs_has_none(frame: np.ndarray):
    assert not lung_masks(frame[None]).any()


def test_no_frames_give_no_masks():
    assert lung_masks(np.zeros((0, 64, 64), np.uint8)).shape == (0, 64, 64)


def test_overlap_follows_its_definitions():
    true = np.zeros((3, 8, 8), bool)
    true[:, :4] = True  # 32 pixels
    found = np.zeros_like(true)
    found[0, :4] = True
    found[1, 2:6] = True  # 16 shared
    table = overlap(found, true)
    assert table["dice"].tolist() == [1, 0.5, 0]
    assert table["iou"].tolist() == pytest.approx([1, 1 / 3, 0])
    assert table["area_ratio"].tolist() == [1, 1, 0]
    assert table["found"].tolist() == [True, True, False]


def test_the_interval_of_a_median_is_that_of_resampled_patients():
    rng = np.random.default_rng(0)
    groups = np.repeat([f"p{k:02}" for k in range(30)], rng.integers(1, 4, 30)).astype(object)
    values = rng.normal(size=len(groups))
    entry = median_entry(values, groups, 5, 4000)
    names = np.unique(groups)
    plain = []
    for _ in range(4000):
        drawn = rng.choice(names, len(names))
        plain.append(np.median(np.concatenate([values[groups == name] for name in drawn])))
    assert entry["value"] == np.median(values)
    assert [entry["low"], entry["high"]] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.06)
    few = median_entry(values[:4], groups[:4], 5, 100)
    assert few["low"] is None
    assert "at least 5" in few["reason"]
    assert median_entry(values[:0], groups[:0], 5, 100)["value"] is None


def test_quality_is_stated_overall_by_class_and_by_site_and_a_film_without_lungs_counts_as_nothing():
    rng = np.random.default_rng(1)
    films = pd.DataFrame({
        "found": True, "dice": rng.uniform(0.8, 1, 40), "iou": 0.8, "area_ratio": 1.0,
        "label": np.where(np.arange(40) < 25, "Normal", "Pneumonia"), "site": np.where(np.arange(40) % 2, "a", "b"),
        "patient": [f"p{k}" for k in range(40)],
    })  # fmt: skip
    films.loc[:4, ["found", "dice"]] = [False, 0.0]
    found = quality_of(films, 3, 200)
    assert found["overall"]["dice"]["value"] == films["dice"].median()
    assert found["overall"]["found"]["value"] == pytest.approx(35 / 40)
    assert found["per_class"]["Normal"]["dice"]["value"] == films["dice"][:25].median()
    assert set(found["per_site"]) == {"a", "b"}


def test_areas_are_shares_of_the_film_and_plausible_lungs_are_two():
    frames = np.zeros((4, 100, 100), np.uint8)
    frames[:, 10:90] = 100  # 8,000 pixels of film
    masks = np.zeros((4, 100, 100), bool)
    masks[0, 20:70, 10:40], masks[0, 20:70, 60:90] = True, True
    masks[1, 20:70, 10:40] = True  # one lung
    masks[2, 20:70, 10:40], masks[2, 20:40, 60:70] = True, True  # far too uneven
    areas = lung_areas(frames, masks, ["a", "b", "c", "d"])
    assert areas["plausible"].tolist() == [True, False, False, False]
    assert areas["found"].tolist() == [True, True, True, False]
    assert areas.loc[0, ["area", "left_area", "right_area"]].tolist() == pytest.approx([0.375, 0.1875, 0.1875])
    assert areas.loc[1, ["left_area", "right_area"]].tolist() == pytest.approx([0.1875, 0])
    films = pd.DataFrame({"image_id": ["d", "c", "b", "a"], "label": ["x", "x", "y", "y"], "source": "s",
                          "group_id": ["1", "2", "3", "4"]})  # fmt: skip
    shares = plausibility_of(areas, films)
    assert shares["overall"]["plausible"]["value"] == 0.25
    assert shares["per_class"]["x"]["found"]["value"] == 0.5
    assert shares["per_source"]["s"]["found"]["count"] == 3


@pytest.fixture(scope="module")
def report(phantoms: JudgingPhantoms) -> tuple[dict, pd.DataFrame, np.ndarray]:
    films, ovals = judge(phantoms)
    areas = lung_areas(phantoms.frames, lung_masks(phantoms.frames), [str(k) for k in range(len(films))])
    known = phantoms.table.assign(image_id=areas["image_id"], source=films["site"], group_id=films["patient"])
    plausibility = plausibility_of(areas, known)
    return lung_report(films, ovals, plausibility, 11, LungSettings(), 200), films, ovals


def test_the_verdict_is_of_the_median_dice_and_its_limit(report: tuple[dict, pd.DataFrame, np.ndarray]):
    found, films, ovals = report
    verdict = found["verdict"]
    assert verdict["passed"] is True
    assert verdict["value"] == films["dice"].median()
    assert f"{films['dice'].median():.3f}" in verdict["sentence"]
    assert found["ovals"]["difference"]["value"] == pytest.approx(np.median(films["dice"] - ovals))
    assert found["ovals"]["difference"]["low"] > 0  # better than two ovals at one place
    strict = LungSettings(min_dice=0.99)
    worse = lung_report(films, ovals, found["test_films"], 11, strict, 200)["verdict"]
    assert worse["passed"] is False
    assert "below the limit of 0.99" in worse["sentence"]


def test_the_figures_show_every_class_and_outline(
    report: tuple[dict, pd.DataFrame, np.ndarray], phantoms: JudgingPhantoms, masks: np.ndarray
):
    _, films, ovals = report
    boxes = overlap_figure(films, ovals, 0.85)
    assert len(boxes.axes) == 2
    areas = lung_areas(phantoms.frames, masks, [f"{k:02}" for k in range(len(masks))])
    names = sorted(set(films["label"]))
    figure = outline_figure(phantoms.frames, masks, areas, films["label"].tolist(), 2, names)
    assert [axis.get_ylabel() for axis in figure.axes[::2]] == names
    assert all(len(axis.lines) == 2 for axis in figure.axes)
    nothing = outline_figure(phantoms.frames[:0], masks[:0], areas[:0], [], 2, names)
    assert any("no test films" in text.get_text() for axis in nothing.axes for text in axis.texts)


def test_the_judge_draws_other_patients_than_the_data_set(tmp_path):
    import json

    from cxr_core.dataset.phantom.spec import PhantomSpec

    assert judging_seed(tmp_path, 42) == 42
    (tmp_path / ".truth").mkdir()
    spec = {"generator": "3", "spec": PhantomSpec(seed=42).model_dump(mode="json"), "digest": "d"}
    (tmp_path / ".truth" / "spec.json").write_text(json.dumps(spec))
    assert judging_seed(tmp_path, 42) == 43
    assert judging_seed(tmp_path, 41) == 41
