"""Copies are found whatever was done to the file; different films are not."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from cxr_core.dataset.duplicates import connected_groups, find_near_duplicates, high_pass
from cxr_core.dataset.frames import ArrayFrames
from cxr_core.settings_sections import DuplicateSettings


def films(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 255, (count, 48, 48)).astype(np.float32)
    smooth = [cv2.resize(cv2.GaussianBlur(r, (0, 0), 1), (512, 512), interpolation=cv2.INTER_CUBIC) for r in rough]
    return np.stack(smooth).clip(0, 255).astype(np.uint8)


def thumb(film: np.ndarray) -> np.ndarray:
    return cv2.resize(film, (64, 64), interpolation=cv2.INTER_AREA)


def jpeg(film: np.ndarray, quality: int) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(film).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


CHANGES = {
    "re-encoded": lambda film: jpeg(film, 35),
    "resized": lambda film: cv2.resize(film, (200, 200), interpolation=cv2.INTER_LINEAR),
    "brightened": lambda film: np.clip(film * 0.9 + 12, 0, 255).astype(np.uint8),
    "squashed": lambda film: cv2.resize(film, (400, 300), interpolation=cv2.INTER_AREA),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change: str):
    originals = films(40)
    copies = [CHANGES[change](film) for film in originals[:5]]
    thumbs = np.stack([thumb(film) for film in [*originals, *copies]])
    pairs = find_near_duplicates(ArrayFrames(thumbs), DuplicateSettings())
    assert pairs[["a", "b"]].to_numpy().tolist() == [[k, 40 + k] for k in range(5)]
    assert (pairs["correlation"] > 0.98).all()


def test_blocks_do_not_change_the_result():
    originals = films(30)
    thumbs = np.stack([thumb(film) for film in [*originals, *map(CHANGES["resized"], originals[::3])]])
    whole = find_near_duplicates(ArrayFrames(thumbs), DuplicateSettings())
    blocks = find_near_duplicates(ArrayFrames(thumbs), DuplicateSettings(block=16))
    assert len(whole) == 10
    assert whole[["a", "b"]].equals(blocks[["a", "b"]])


def test_descriptors_have_unit_length_and_blank_ones_none():
    thumbs = np.stack([thumb(films(1)[0]), np.full((64, 64), 90, np.uint8)])
    detail = high_pass(thumbs).reshape(2, -1)
    assert np.linalg.norm(detail, axis=1) == pytest.approx([1, 0], abs=1e-5)


def test_blank_films_are_no_copies_of_each_other():
    blank = np.full((3, 64, 64), 90, np.uint8)
    assert find_near_duplicates(ArrayFrames(blank), DuplicateSettings()).empty


def test_groups_join_what_is_linked():
    groups = connected_groups(6, np.array([[0, 3], [3, 5], [1, 2]]))
    assert groups[0] == groups[3] == groups[5]
    assert groups[1] == groups[2] != groups[0]
    assert groups[4] not in (groups[0], groups[1])
