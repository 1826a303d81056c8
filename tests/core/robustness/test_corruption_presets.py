"""The clinical and the severe preset give the bytes they have always given, whatever joins the registry."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from cxr_core.robustness.corruptions import corrupt, presets
from cxr_core.settings_stress import RobustnessSettings

SIDE = 96
KEYS = ["1f3a", "b07c", "55d0", "e9e2"]
SEED = 42
# Means and single pixels of the four films below, as recorded before the registry grew past five corruptions.
RECORDED = {
    "clinical": (
        [84.6225, 105.6302, 128.7221, 55.7177],
        [[95, 158, 50, 60], [145, 136, 161, 125], [183, 191, 131, 184], [90, 107, 136, 28]],
    ),
    "severe": (
        [78.121, 116.4296, 159.592, 21.5305],
        [[88, 155, 31, 46], [166, 149, 185, 148], [250, 255, 187, 255], [32, 60, 84, 0]],
    ),
}
PLACES = [(20, 40), (48, 48), (70, 30), (90, 60)]


def films() -> np.ndarray:
    """Four smooth films of 96 x 64 pixels, black padding left and right."""
    rng = np.random.default_rng(7)
    frames = np.zeros((len(KEYS), SIDE, SIDE), np.uint8)
    for frame in frames:
        coarse = rng.integers(40, 220, (12, 8)).astype(np.float32)
        frame[:, 16:80] = cv2.resize(coarse, (64, SIDE), interpolation=cv2.INTER_LINEAR).round()
    return frames


def as_recorded(frame: np.ndarray, key: str, name: str) -> np.ndarray:
    """What the presets did to one film, written out with numbers only."""
    step = {"clinical": (0.2, 0.2, 3, 0.02, 0.75), "severe": (0.4, 0.4, 5, 0.04, 1.0)}[name]

    def rng(corruption: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{SEED}/{corruption}/{key}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))

    film = frame[:, 16:80].astype(np.float32)
    film = film + np.float32(rng("brightness").uniform(-step[0], step[0]) * 255)
    gain = np.float32(1 + rng("contrast").uniform(-step[1], step[1]))
    film = (film - np.float32(127.5)) * gain + np.float32(127.5)
    film = cv2.GaussianBlur(film, (step[2], step[2]), 0)
    film = film + rng("gaussian_noise").standard_normal(film.shape, dtype=np.float32) * np.float32(step[3] * 255)
    if step[4] != 1:
        small = cv2.resize(film, (round(64 * step[4]), round(SIDE * step[4])), interpolation=cv2.INTER_AREA)
        film = cv2.resize(small, (64, SIDE), interpolation=cv2.INTER_LINEAR)
    result = frame.copy()
    result[:, 16:80] = np.clip(np.rint(film), 0, 255).astype(np.uint8)
    return result


@pytest.mark.parametrize("name", ["clinical", "severe"])
def test_a_preset_gives_the_bytes_of_its_steps_written_out(name: str) -> None:
    found = corrupt(films(), KEYS, presets(RobustnessSettings())[name], SEED)
    expected = [as_recorded(frame, key, name) for frame, key in zip(films(), KEYS, strict=True)]
    assert np.array_equal(found, np.stack(expected))


@pytest.mark.parametrize("name", ["clinical", "severe"])
def test_a_preset_gives_the_greys_recorded_before_the_registry_grew(name: str) -> None:
    found = corrupt(films(), KEYS, presets(RobustnessSettings())[name], SEED)
    means, pixels = RECORDED[name]
    assert found.mean(axis=(1, 2)) == pytest.approx(means, abs=0.01)
    here = np.array([[int(frame[place]) for place in PLACES] for frame in found])
    assert np.abs(here - np.array(pixels)).max() <= 1  # processors may round the last bit of a float differently
