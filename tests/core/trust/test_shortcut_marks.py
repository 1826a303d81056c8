"""Marks on films: what is drawn is found, and what is anatomy is not (TRAPS 4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr_core.imaging.decode import decode
from cxr_core.imaging.preprocess import Box, Preprocessing, content_box
from cxr_core.settings_sections import QualitySettings
from cxr_core.trust.shortcut_marks import film_marks, mark_features, marked

BOX = Box(0, 224, 0, 224)
Film = Callable[..., np.ndarray]


def smooth(film: Film, seed: int = 0) -> np.ndarray:
    return np.ascontiguousarray(film(seed, 224, 224) // 2 + 10)


def test_a_smooth_film_carries_no_marks(film: Film):
    for seed in range(5):
        found = film_marks(smooth(film, seed), BOX)
        assert found == dict.fromkeys(found, 0.0)


@pytest.mark.parametrize(("x", "y", "wide", "high"), [(5, 200, 90, 20), (100, 3, 30, 12), (90, 150, 25, 60)])
def test_a_white_box_is_found_wherever_it_lies(film: Film, x: int, y: int, wide: int, high: int):
    frame = smooth(film)
    frame[y : y + high, x : x + wide] = 255
    found = film_marks(frame, BOX)
    assert found["white_boxes"] == 1
    assert found["white_area"] == pytest.approx(wide * high / 224**2, rel=0.01)
    assert found["letters"] == 0


def test_what_is_white_but_no_box_is_none(film: Film):
    frame = smooth(film)
    cv2.circle(frame, (100, 100), 30, 255, -1)
    cv2.line(frame, (0, 0), (223, 200), 255, 3)
    assert film_marks(frame, BOX)["white_boxes"] == 0
    assert film_marks(np.full((224, 224), 255, np.uint8), BOX)["white_boxes"] == 0


def test_letters_near_the_edge_are_counted(film: Film):
    for seed, text in enumerate(("L", "R", "A P")):
        frame = smooth(film, seed)
        cv2.putText(frame, text, (12, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 240, 1, cv2.LINE_AA)
        assert film_marks(frame, BOX)["letters"] == len(text.replace(" ", ""))


def test_a_rib_that_goes_on_and_a_shape_inside_the_chest_are_no_letters(film: Film):
    frame = smooth(film)
    cv2.line(frame, (5, 60), (110, 20), 220, 3, cv2.LINE_AA)
    cv2.putText(frame, "R", (105, 118), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 240, 1, cv2.LINE_AA)
    assert film_marks(frame, BOX)["letters"] == 0


def test_black_borders_are_measured_inside_the_film_not_in_the_padding(film: Film):
    frame = np.zeros((224, 224), np.uint8)
    box = Box(0, 224, 40, 184)
    frame[:, 40:184] = np.maximum(smooth(film)[:, 40:184], 30)
    assert film_marks(frame, box)["black_left"] == 0
    frame[:22], frame[:, 40:55] = 0, 0
    found = film_marks(frame, box)
    assert found["black_top"] == pytest.approx(22 / 224)
    assert found["black_left"] == pytest.approx(15 / 144)
    assert found["black_right"] == found["black_bottom"] == 0


def test_a_film_is_marked_by_what_was_found_and_by_its_tint(film: Film):
    frames = [smooth(film, seed) for seed in range(4)]
    frames[0][10:40, 10:60] = 255
    frames[1][:10] = 0
    cv2.putText(frames[2], "L", (12, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 240, 1, cv2.LINE_AA)
    found = pd.DataFrame([film_marks(frame, BOX) for frame in frames])
    tint = np.array([0.0, 1.0, 2.0, 30.0])
    table = marked(found, tint, 6.0)
    expected = {"white_box": [1, 0, 0, 0], "letters": [0, 0, 1, 0], "black_border": [0, 1, 0, 0], "tint": [0, 0, 0, 1]}
    assert {name: table[name].astype(int).tolist() for name in table} == expected
    assert mark_features(found, tint).shape == (4, 8)


def test_tiny_frames_are_looked_at_without_complaint():
    rng = np.random.default_rng(0)
    for side in (8, 32, 64):
        film_marks(rng.integers(0, 256, (side, side)).astype(np.uint8), Box(0, side, 0, side))


@pytest.mark.slow
def test_white_boxes_of_real_films_occur_in_tuberculosis_alone(real_films: Path):
    preprocessing = Preprocessing(224, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
    table = pd.read_csv(real_films / "metadata.csv")
    share = {}
    for label, rows in table[table["source"] == "tbset"].sort_values("file").groupby("label"):
        boxed = []
        for file in rows["file"].iloc[:100]:
            grey = decode((real_films / file).read_bytes(), QualitySettings()).grey
            frame = preprocessing.frame(grey)
            boxed.append(film_marks(frame, content_box(grey.shape[1], grey.shape[0], 224))["white_boxes"] > 0)
        share[label] = np.mean(boxed)
    assert share["Normal"] == 0
    assert share["Tuberculosis"] > 0.15
