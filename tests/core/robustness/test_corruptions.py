"""The corruptions do what their numbers say, measured on the pixels, and depend on the image's key alone."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.robustness.corruptions import CLEAN, CORRUPTIONS, CorruptedFrames, Preset, Step, corrupt, presets
from cxr_core.settings_stress import RobustnessSettings

SIDE = 96
KEYS = [hashlib.sha256(str(row).encode()).hexdigest()[:16] for row in range(400)]


def only(corruption: str, amount: float) -> Preset:
    return Preset("one", (Step(corruption, amount),))


def flat(grey: int, n: int) -> np.ndarray:
    return np.full((n, SIDE, SIDE), grey, np.uint8)


def films(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 220, (n, 12, 12)).astype(np.uint8)
    return np.stack([cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for film in coarse])


@pytest.mark.parametrize("sigma", [0.02, 0.04])
def test_measured_noise_has_the_sigma_asked_for(sigma: float) -> None:
    noise = corrupt(flat(128, 40), KEYS[:40], only("gaussian_noise", sigma), seed=0).astype(float) - 128
    assert noise.std() == pytest.approx(np.hypot(sigma * 255, 12**-0.5), rel=0.01)  # with the rounding to whole levels
    assert abs(noise.mean()) < 0.05
    assert abs(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]) < 0.01


def test_brightness_shifts_spread_evenly_over_the_range_asked_for() -> None:
    shifted = corrupt(flat(128, 400), KEYS, only("brightness", 0.2), seed=0).astype(float)
    assert (shifted.std(axis=(1, 2)) == 0).all()
    shifts = shifted[:, 0, 0] - 128
    assert shifts.min() >= -51
    assert shifts.max() <= 51
    assert shifts.min() < -47
    assert shifts.max() > 47
    assert shifts.std() == pytest.approx(51 / np.sqrt(3), rel=0.08)


def test_contrast_gains_spread_evenly_and_leave_the_middle_in_place() -> None:
    film = np.tile(np.linspace(64, 191, SIDE).round().astype(np.uint8), (SIDE, 1))
    changed = corrupt(np.repeat(film[None], 400, axis=0), KEYS, only("contrast", 0.2), seed=0).astype(float)
    slopes = np.array([np.polyfit(film[0].astype(float), row[0], 1)[0] for row in changed])
    assert 0.79 < slopes.min() < 0.83
    assert 1.17 < slopes.max() < 1.21
    assert slopes.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.08)
    assert changed.mean() == pytest.approx(127.5, abs=0.6)


def test_blur_spreads_an_impulse_over_the_kernel_and_keeps_its_sum() -> None:
    frame = flat(50, 1)
    frame[0, 48, 48] = 250
    blurred = corrupt(frame, KEYS[:1], only("gaussian_blur", 3), seed=0)[0].astype(int) - 50
    weights = np.array([0.25, 0.5, 0.25])
    assert np.abs(blurred[47:50, 47:50] - 200 * np.outer(weights, weights)).max() <= 0.5
    outside = blurred.copy()
    outside[47:50, 47:50] = 0
    assert not outside.any()


def test_downscale_removes_what_is_finer_than_the_smaller_grid_and_keeps_the_rest() -> None:
    x = np.arange(SIDE)
    fine = np.tile(128 + 60 * np.cos(np.pi * x), (SIDE, 1)).astype(np.uint8)[None]
    coarse = np.tile(128 + 60 * np.cos(2 * np.pi * x / 32), (SIDE, 1)).astype(np.uint8)[None]
    preset = only("downscale", 0.5)
    assert corrupt(fine, KEYS[:1], preset, 0).std() < 0.05 * fine.std()
    assert corrupt(coarse, KEYS[:1], preset, 0).std() > 0.95 * coarse.std()
    assert corrupt(coarse, KEYS[:1], preset, 0).shape == coarse.shape


def test_the_clean_preset_and_amounts_of_nothing_are_the_identity() -> None:
    frames = films(4)
    idle = Preset("idle", tuple(Step(name, entry.nothing) for name, entry in CORRUPTIONS.items()))
    for preset in (CLEAN, idle):
        result = corrupt(frames, KEYS[:4], preset, seed=0)
        assert np.array_equal(result, frames)
        assert result is not frames


@pytest.mark.parametrize("name", ["clinical", "severe"])
def test_a_key_gives_the_same_bytes_whatever_the_batch(name: str) -> None:
    preset = presets(RobustnessSettings())[name]
    frames = films(6)
    together = corrupt(frames, KEYS[:6], preset, seed=42)
    backwards = corrupt(frames[::-1], KEYS[:6][::-1], preset, seed=42)[::-1]
    assert np.array_equal(together, backwards)
    for row in range(6):
        assert np.array_equal(corrupt(frames[row : row + 1], [KEYS[row]], preset, seed=42)[0], together[row])
    assert not np.array_equal(corrupt(frames, KEYS[:6], preset, seed=43), together)
    assert not np.array_equal(corrupt(frames, KEYS[6:12], preset, seed=42), together)


def test_stronger_noise_is_the_same_noise_made_larger() -> None:
    weak, strong = (corrupt(flat(128, 1), KEYS[:1], only("gaussian_noise", s), 0).astype(float) for s in (0.05, 0.1))
    assert np.corrcoef((weak - 128).ravel(), (strong - 128).ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["clinical", "severe"])
def test_padding_stays_black_and_the_film_is_treated_as_if_alone(name: str) -> None:
    preset = presets(RobustnessSettings())[name]
    film = np.random.default_rng(1).integers(60, 255, (200, 120), dtype=np.uint8)
    frame = Preprocessing(SIDE, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3).frame(film)
    padding = frame == 0
    assert padding.mean() > 0.3
    result = corrupt(frame[None], KEYS[:1], preset, seed=0)[0]
    assert not result[padding].any()
    assert (result != frame)[~padding].mean() > 0.9
    again = corrupt(np.ascontiguousarray(frame[:, ~padding.all(axis=0)])[None], KEYS[:1], preset, seed=0)[0]
    assert np.array_equal(result[:, ~padding.all(axis=0)], again)


def test_a_black_frame_is_corrupted_without_error() -> None:
    noisy = corrupt(flat(0, 1), KEYS[:1], presets(RobustnessSettings())["clinical"], seed=0)
    assert noisy.shape == (1, SIDE, SIDE)


def test_the_presets_hold_the_settings_in_the_reports_order() -> None:
    found = presets(RobustnessSettings())
    assert list(found) == ["clean", "clinical", "severe"]
    assert [(step.corruption, step.amount) for step in found["clinical"].steps] == [
        ("brightness", 0.2),
        ("contrast", 0.2),
        ("gaussian_blur", 3),
        ("gaussian_noise", 0.02),
        ("downscale", 0.75),
    ]
    assert "downscale" not in [step.corruption for step in found["severe"].acting]


@pytest.mark.parametrize(
    ("corruption", "amount"),
    [("fog", 1.0), ("gaussian_blur", 4), ("downscale", 0.0), ("brightness", -0.1), ("gaussian_noise", 2.0)],
)
def test_a_step_that_makes_no_sense_is_refused_by_name(corruption: str, amount: float) -> None:
    with pytest.raises(CxrError, match=corruption):
        Step(corruption, amount)


def test_corrupted_frames_are_those_of_the_rows_taken() -> None:
    frames, preset = films(5), presets(RobustnessSettings())["clinical"]
    lazy = CorruptedFrames(ArrayFrames(frames), KEYS[:5], preset, seed=3)
    everything = corrupt(frames, KEYS[:5], preset, seed=3)
    rows = np.array([4, 1])
    assert (len(lazy), lazy.side) == (5, SIDE)
    assert np.array_equal(lazy.take(rows), everything[rows])
    assert np.array_equal(lazy.base.take(np.arange(5)), frames)


def test_a_key_short_is_refused() -> None:
    with pytest.raises(CxrError, match="keys"):
        corrupt(films(2), KEYS[:1], CLEAN, seed=0)
