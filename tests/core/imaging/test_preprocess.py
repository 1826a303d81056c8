"""The one preprocessing: what it does to pixels, and when its digest changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing, content_box, reference_film

PLAIN = Preprocessing(224, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_wide_film_is_padded_above_and_below_with_black(film):
    frame = PLAIN.frame(film(1, width=448, height=224) | 32)
    assert frame.shape == (224, 224)
    assert not frame[:56].any()
    assert not frame[168:].any()
    assert frame[56:168].all()


@pytest.mark.parametrize(("width", "height"), [(1000, 700), (701, 999), (224, 224), (128, 200)])
def test_the_box_keeps_the_aspect_and_touches_two_sides(width: int, height: int):
    box = content_box(width, height, 224)
    w, h = box.right - box.left, box.bottom - box.top
    assert max(w, h) == 224
    assert w / h == pytest.approx(width / height, rel=0.01)
    assert abs(box.top - (224 - box.bottom)) <= 1
    assert abs(box.left - (224 - box.right)) <= 1


def test_reduction_averages_areas_so_that_noise_shrinks():
    noise = np.random.default_rng(0).normal(128, 30, (896, 896)).clip(0, 255).astype(np.uint8)
    assert PLAIN.frame(noise).std() == pytest.approx(30 / 4, rel=0.1)  # 4 x 4 pixels averaged: sigma / 4


def test_tensor_normalises_each_channel(film):
    odd = replace(PLAIN, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    frame = odd.frame(film(2))
    tensor = odd.tensor(frame[None])
    assert tensor.shape == (1, 3, 224, 224)
    assert tensor.dtype == np.float32
    for channel in range(3):
        np.testing.assert_allclose(
            tensor[0, channel], (frame / 255 - odd.mean[channel]) / odd.std[channel], rtol=0, atol=1e-5
        )


def test_clahe_spreads_a_flat_film(film):
    flat = (film(3) // 8 + 100).astype(np.uint8)
    inside = slice(40, 184)  # away from the padding
    plain, spread = (p.frame(flat)[inside, inside].std() for p in (PLAIN, replace(PLAIN, clahe=True)))
    assert spread > 1.5 * plain


@pytest.mark.parametrize(
    "change", [{"size": 192}, {"clahe": True}, {"clahe_clip_limit": 3.0}, {"clahe_tiles": 4}, {"mean": (0.4, 0.5, 0.5)}]
)
def test_any_parameter_changes_the_digest(change: dict[str, object]):
    assert replace(PLAIN, **change).digest != PLAIN.digest


def test_normalisation_leaves_the_frame_digest_alone():
    other = replace(PLAIN, mean=(0.1, 0.1, 0.1))
    assert other.frame_digest == PLAIN.frame_digest
    assert replace(PLAIN, size=192).frame_digest != PLAIN.frame_digest


def test_a_machine_that_makes_other_pixels_is_refused():
    good = PLAIN.frame(reference_film())
    PLAIN.check_reference(good)
    with pytest.raises(CxrError, match=r"requirements\.lock"):
        PLAIN.check_reference(np.roll(good, 1, axis=1))
