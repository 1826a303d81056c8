"""Crop sensitivity: none for a model that ignores position, found for one that reads a corner."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cxr_core.dataset.frames import ArrayFrames, Frames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.plotting import png_bytes
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.crop_figures import crop_figure, framing_gallery
from cxr_core.trust.crop_frames import DIRECTIONS, FramedFrames, Framing, direction_of, framings
from cxr_core.trust.crop_sensitivity import crop_sensitivity
from cxr_core.trust.subgroup_findings import subgroup_claims

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
SETTINGS = SubgroupSettings(permutations=999)
SIDE, FILMS = 40, 120
GROUPS = [f"g{row // 2 if row < 30 else row}" for row in range(FILMS)]


@pytest.fixture(scope="module")
def labelled() -> LabelledFrames:
    """Films of one grey a class with a lighter mark in the upper left corner whose grey says the class too."""
    labels = np.arange(FILMS) % 3
    frames = np.full((FILMS, SIDE, SIDE), 100, np.uint8)
    frames += (20 * labels).astype(np.uint8)[:, None, None]
    frames[:, :4, :4] = (180 + 30 * labels).astype(np.uint8)[:, None, None]
    return LabelledFrames(ArrayFrames(frames), labels.astype(np.int64), [f"{row:016x}" for row in range(FILMS)])


def by_brightest_middle(frames: Frames) -> np.ndarray:
    """Reads the median grey of what is not black: the same wherever the film lies."""
    taken = frames.take(np.arange(len(frames)))
    middles = np.array([np.median(frame[frame > 0]) for frame in taken])
    return -(((middles[:, None] - np.array([100, 120, 140])) / 10) ** 2)


def by_corner(frames: Frames) -> np.ndarray:
    """Reads the corner's four pixels a side and nothing else."""
    means = frames.take(np.arange(len(frames)))[:, :4, :4].mean(axis=(1, 2))
    return -(((means[:, None] - np.array([180, 210, 240])) / 10) ** 2)


def test_a_model_that_ignores_position_is_not_sensitive(labelled: LabelledFrames) -> None:
    report = crop_sensitivity(
        by_brightest_middle, by_brightest_middle(labelled.frames), labelled, GROUPS, NAMES, SETTINGS, 0, 200
    )
    assert list(report["conditions"]) == ["shifted by 5%", "shifted by 10%", "middle 90%", "off-centre 90%"]
    for entry in report["conditions"].values():
        assert entry["changed"]["value"] == 0.0
        assert 0 < entry["changed"]["high"] < 0.04  # 0 of 120 films: an exact upper end
        assert entry["accuracy_change"]["value"] == 0.0
        assert entry["accuracy_change"]["high"] == entry["changed"]["high"]
        assert entry["probability_change"]["value"] == pytest.approx(0.0, abs=1e-9)
        assert entry["uneven"] == []
    json.dumps(report, allow_nan=False)


def test_a_model_that_reads_the_corner_is_sensitive(labelled: LabelledFrames) -> None:
    report = crop_sensitivity(by_corner, by_corner(labelled.frames), labelled, GROUPS, NAMES, SETTINGS, 0, 200)
    shifted = report["conditions"]["shifted by 10%"]
    truth = labelled.labels
    framed = FramedFrames(labelled.frames, labelled.keys, Framing("s", shift=0.10), 0)
    new = by_corner(framed).argmax(axis=1)
    assert shifted["changed"]["value"] == pytest.approx((new != truth).mean())  # centred, every film is right
    assert shifted["changed"]["value"] > 0.5
    assert shifted["accuracy_change"]["value"] == pytest.approx((new == truth).mean() - 1)
    assert shifted["accuracy_change"]["high"] < -0.4
    assert sum(entry["films"] for entry in shifted["changed_by_direction"].values()) == FILMS
    assert "Normal" not in shifted["uneven"]  # a black corner is read as the darkest class, which is Normal
    assert "Tuberculosis" in shifted["uneven"]
    claims = subgroup_claims({"strata": [], "class_imbalance": _no_balance(), "crop_sensitivity": report}, SETTINGS)
    assert claims[-1]["holds"] is False
    assert "of the films change their class" in claims[-1]["measured"]
    for figure in (crop_figure(report), framing_gallery(labelled, SETTINGS, 0)):
        assert png_bytes(figure, dpi=40)


def _no_balance() -> dict:
    return {"smallest": None, "lowest_recall": None, "classes": {}}


def test_one_pass_of_the_model_a_framing_and_none_for_the_centred_films(labelled: LabelledFrames) -> None:
    seen: list[int] = []

    def counting(frames: Frames) -> np.ndarray:
        seen.append(len(frames))
        return by_corner(frames)

    crop_sensitivity(counting, by_corner(labelled.frames), labelled, GROUPS, NAMES, SETTINGS, 0, 100)
    assert seen == [FILMS] * len(framings(SETTINGS))


def test_a_shift_moves_the_film_and_uncovers_black() -> None:
    frame = np.arange(1, 101, dtype=np.uint8).reshape(1, 10, 10)
    for name, (right, down) in DIRECTIONS.items():
        key = next(str(k) for k in range(100) if direction_of(str(k), 0) == name)
        moved = FramedFrames(ArrayFrames(frame), [key], Framing("s", shift=0.2), 0).take(np.array([0]))[0]
        expected = np.roll(frame[0], (2 * down, 2 * right), axis=(0, 1))
        expected[: 2 if down > 0 else 0] = 0
        expected[8 if down < 0 else 10 :] = 0
        expected[:, : 2 if right > 0 else 0] = 0
        expected[:, 8 if right < 0 else 10 :] = 0
        assert np.array_equal(moved, expected), name


def test_a_crop_enlarges_its_part_within_the_place_of_the_film() -> None:
    frame = np.zeros((1, 40, 40), np.uint8)
    frame[0, 10:30] = np.linspace(50, 200, 40).astype(np.uint8)  # a wide film with padding above and below
    middle = FramedFrames(ArrayFrames(frame), ["k"], Framing("m", keep=0.5), 0).take(np.array([0]))[0]
    assert not middle[:10].any()
    assert not middle[30:].any()
    assert middle[20, 0] == pytest.approx(frame[0, 20, 10], abs=3)
    assert middle[20, -1] == pytest.approx(frame[0, 20, 29], abs=3)
    right = DIRECTIONS[direction_of("k", 0)][0] > 0
    corner = FramedFrames(ArrayFrames(frame), ["k"], Framing("c", keep=0.5, off_centre=True), 0).take(np.array([0]))[0]
    assert corner[20, -1 if right else 0] == pytest.approx(frame[0, 20, -1 if right else 0], abs=3)
    assert frame[0, 20, 0] == 50  # the caller's frames stay as they are


def test_a_film_moves_the_same_way_in_any_batch(labelled: LabelledFrames) -> None:
    framed = FramedFrames(labelled.frames, labelled.keys, framings(SETTINGS)[-1], 0)
    whole = framed.take(np.arange(FILMS))
    assert np.array_equal(framed.take(np.array([7, 3])), whole[[7, 3]])
    assert {direction_of(key, 0) for key in labelled.keys} == set(DIRECTIONS)


def test_one_class_or_one_patient_still_gives_an_honest_report(labelled: LabelledFrames) -> None:
    one = labelled.subset(np.flatnonzero(labelled.labels == 1))
    report = crop_sensitivity(by_corner, by_corner(one.frames), one, ["g"] * len(one), NAMES, SETTINGS, 0, 100)
    entry = report["conditions"]["shifted by 5%"]
    assert list(entry["classes"]) == ["Pneumonia"]
    assert "fewer than" in entry["classes"]["Pneumonia"]["gap"]["reason"]
    assert entry["probability_change"]["low"] is None
    json.dumps(report, allow_nan=False)
    assert png_bytes(crop_figure(report), dpi=40)


def test_bad_input_is_refused(labelled: LabelledFrames) -> None:
    logits = by_corner(labelled.frames)
    with pytest.raises(CxrError, match="do not match"):
        crop_sensitivity(by_corner, logits[:5], labelled, GROUPS, NAMES, SETTINGS, 0, 100)
    with pytest.raises(CxrError, match="No films"):
        crop_sensitivity(by_corner, logits[:0], labelled.subset(np.arange(0)), [], NAMES, SETTINGS, 0, 100)
    broken = np.where(np.arange(3) == 2, np.nan, logits)
    with pytest.raises(CxrError, match="l_2"):
        crop_sensitivity(by_corner, broken, labelled, GROUPS, NAMES, SETTINGS, 0, 100)
    with pytest.raises(CxrError, match="keep their order"):
        crop_sensitivity(lambda frames: logits[:3], logits, labelled, GROUPS, NAMES, SETTINGS, 0, 100)
    with pytest.raises(CxrError, match="leaves no film"):
        Framing("gone", keep=0.0)
