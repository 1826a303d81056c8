"""What the classifiers of the shortcut audit see, and that lungs are no part of it."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.dataset.phantom.files import iter_films
from cxr_core.dataset.phantom.spec import DEFECTS, PhantomSpec
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Box, content_box
from cxr_core.trust.shortcut_features import BlankedFrames, look
from cxr_core.trust.shortcut_views import (
    BLANK,
    blank_lungs,
    border_cells,
    lung_ellipses,
    metadata_features,
    reduced,
)

BOX = Box(0, 224, 0, 224)
NO_DEFECTS = dict.fromkeys((name for name in DEFECTS if name != "wrong_labels"), 0)


def index_of(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    levels = {name: rng.uniform(0, 200, n) for name in ("mean", "std", "p01", "p50", "p99", "tint")}
    shares = {name: rng.random(n) for name in ("dark_share", "bright_share")}
    sizes = {"width": np.full(n, 400), "height": np.full(n, 400), "bytes": rng.integers(1e4, 1e5, n)}
    return pd.DataFrame({**levels, **shares, **sizes, "format": np.where(np.arange(n) % 2, "PNG", "JPEG")})


def test_the_fixed_region_covers_the_lungs_and_lesions_of_phantoms():
    lungs = lesions = covered_lungs = covered_lesions = 0
    for _, film in iter_films(PhantomSpec(patients_per_class=4, films_per_patient=(1, 1), seed=3, **NO_DEFECTS)):
        height, width = film.pixels.shape
        box = content_box(width, height, 224)
        region = lung_ellipses(np.zeros((1, 224, 224), np.uint8), [box])[0, box.top : box.bottom, box.left : box.right]
        region = cv2.resize(region.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        lungs, covered_lungs = lungs + (film.lung_mask > 0).sum(), covered_lungs + (region & (film.lung_mask > 0)).sum()
        lesions += (film.lesion_mask > 0).sum()
        covered_lesions += (region & (film.lesion_mask > 0)).sum()
    assert covered_lungs / lungs > 0.99
    assert covered_lesions / lesions > 0.98


def test_the_region_follows_the_film_inside_its_frame_and_leaves_something_to_see():
    narrow = Box(0, 224, 30, 194)
    both = lung_ellipses(np.zeros((2, 224, 224), np.uint8), [BOX, narrow])
    assert not both[1][:, :30].any()
    assert not both[1][:, 194:].any()
    assert 0.5 < both[0].mean() < 0.8
    assert both[1].mean() == pytest.approx(both[0].mean() * 164 / 224, abs=0.01)


def test_nothing_inside_the_lung_region_changes_border_or_blanked_features():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 224, 224)).astype(np.uint8)
    region = lung_ellipses(frames, [BOX] * 4)
    other = np.where(region, rng.integers(0, 256, frames.shape), frames).astype(np.uint8)
    assert (other != frames).any()
    first, second = (look(index_of(4), ArrayFrames(f), 6.0) for f in (frames, other))
    for view in ("border", "blanked"):
        np.testing.assert_array_equal(first.features[view], second.features[view])
    outside = np.where(region, frames, 255 - frames).astype(np.uint8)
    third = look(index_of(4), ArrayFrames(outside), 6.0)
    for view in ("border", "blanked"):
        assert np.abs(first.features[view] - third.features[view]).max() > 5


def test_the_border_is_a_ring_with_corners():
    cells = border_cells().reshape(28, 28)
    assert cells[0].all()
    assert cells[:, 0].all()
    assert cells[2, 2]
    assert not cells[14, 5]
    assert not cells[4:24, 4:24].any()


def test_blanking_takes_any_region_and_leaves_the_frames_alone():
    frames = np.full((2, 64, 64), 200, np.uint8)

    def top_half(frames_: np.ndarray, boxes: object) -> np.ndarray:
        mask = np.zeros(frames_.shape, bool)
        mask[:, :32] = True
        return mask

    blanked = blank_lungs(frames, [Box(0, 64, 0, 64)] * 2, top_half)
    assert (blanked[:, :32] == BLANK).all()
    assert (blanked[:, 32:] == 200).all()
    assert (frames == 200).all()
    seen = BlankedFrames(ArrayFrames(frames), [Box(0, 64, 0, 64)] * 2, top_half)
    np.testing.assert_array_equal(seen.take(np.array([1])), blanked[1:])


def test_metadata_are_what_the_file_tells():
    found = metadata_features(index_of(3))
    np.testing.assert_allclose(found[:, [0, 1, 3]], [[400, 400, 1]] * 3)
    np.testing.assert_array_equal(found[:, 4:], [[1, 0], [0, 1], [1, 0]])


def test_reduced_cells_are_means():
    frame = np.arange(224 * 224, dtype=np.int64).reshape(1, 224, 224) % 251
    expected = frame[0].reshape(28, 8, 28, 8).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(reduced(frame.astype(np.uint8))[0], expected, atol=1e-3)


def test_a_network_sees_blanked_frames_once_and_frames_must_match_the_index():
    frames, calls = np.full((5, 224, 224), 90, np.uint8), []

    def embed(blanked: BlankedFrames) -> np.ndarray:
        calls.append(blanked.take(np.arange(len(blanked))))
        return np.ones((5, 2), np.float32)

    seen = look(index_of(5), ArrayFrames(frames), 6.0, embed=embed, pretrained=np.zeros((5, 3)))
    assert len(calls) == 1
    assert (calls[0][:, 112, 60] == BLANK).all()
    assert {"blanked_pretrained", "pretrained"} <= set(seen.features)
    with pytest.raises(CxrError, match="do not match"):
        look(index_of(4), ArrayFrames(frames), 6.0)
