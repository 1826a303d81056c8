from concurrent.futures import ThreadPoolExecutor
from typing import Any

import albumentations
import numpy as np
import pytest

from cxr_core.errors import CxrError
from cxr_core.settings_sections import AugmentationSettings
from cxr_core.training.augmentation import Augmenter

REPORT = AugmentationSettings()
GEOMETRY_ONLY = AugmentationSettings(flip_probability=0, optional_probability=0)
DRAWS = 400


def _augment(settings: AugmentationSettings, frame: np.ndarray, n: int = DRAWS) -> np.ndarray:
    return Augmenter(settings, 42).augment(np.repeat(frame[None], n, axis=0), [f"{i}" for i in range(n)], 1)


def _step(kind: type, settings: AugmentationSettings = REPORT, n: int = DRAWS) -> tuple[Any, int]:
    """One step of the augmenter on its own, always applied."""
    step = next(s for s in Augmenter(settings, 0)._compose.transforms if isinstance(s, kind))
    step.p = 1.0
    step.set_random_seed(1)
    return step, n


def _bar(side: int) -> np.ndarray:
    frame = np.zeros((side, side), np.uint8)
    half = side // 2
    frame[half - 4 : half + 4, side // 10 : side - side // 10] = 255
    return frame


def _square(side: int) -> np.ndarray:
    frame = np.zeros((side, side), np.uint8)
    half = side // 2
    frame[half - 8 : half + 8, half - 8 : half + 8] = 255
    return frame


def test_measured_noise_is_one_per_cent_of_full_range() -> None:
    step, _ = _step(albumentations.GaussNoise)
    grey = np.full((224, 224), 128, np.uint8)
    noise = np.stack([step(image=grey)["image"] for _ in range(50)]).astype(float) - 128
    assert noise.std() == pytest.approx(0.01 * 255, rel=0.05)
    assert abs(noise.mean()) < 0.02


def test_rotation_is_uniform_within_ten_degrees() -> None:
    angles = []
    for image in _augment(GEOMETRY_ONLY.model_copy(update={"translation": 0.0}), _bar(224)):
        y, x = np.nonzero(image > 127)
        angles.append(np.degrees(np.arctan(np.polyfit(x, y, 1)[0])))
    assert max(np.abs(angles)) < 10.2
    assert min(angles) < -9.5
    assert max(angles) > 9.5
    assert np.std(angles) == pytest.approx(20 / np.sqrt(12), rel=0.1)


@pytest.mark.parametrize("side", [96, 224])
def test_translation_is_uniform_within_a_tenth_of_any_side(side: int) -> None:
    shifts = []
    for image in _augment(GEOMETRY_ONLY.model_copy(update={"rotation_degrees": 0.0}), _square(side)):
        y, x = np.nonzero(image > 127)
        shifts.append(((x.mean() + 0.5 - side // 2) / side, (y.mean() + 0.5 - side // 2) / side))
    for axis in np.array(shifts).T:
        assert np.abs(axis).max() <= 0.1
        assert axis.min() < -0.085
        assert axis.max() > 0.085
        assert axis.std() == pytest.approx(0.2 / np.sqrt(12), rel=0.1)
    assert abs(np.corrcoef(np.array(shifts).T)[0, 1]) < 0.15  # the two axes move independently


def test_what_enters_the_frame_is_black() -> None:
    white = np.full((224, 224), 255, np.uint8)
    shifted = _augment(GEOMETRY_ONLY.model_copy(update={"rotation_degrees": 0.0}), white, 50)
    assert set(np.unique(shifted)) == {0, 255}
    rotated = _augment(GEOMETRY_ONLY.model_copy(update={"translation": 0.0}), white, 50)
    corners = rotated[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.min(axis=1) == 0).mean() > 0.8  # a third of a degree leaves the corners filled


def test_brightness_moves_within_a_tenth_of_full_range() -> None:
    step, n = _step(albumentations.RandomBrightnessContrast, AugmentationSettings(contrast=0.0))
    grey = np.full((32, 32), 128, np.uint8)
    moved = np.array([step(image=grey)["image"].mean() - 128 for _ in range(n)]) / 255
    assert np.abs(moved).max() <= 0.1 + 1 / 255
    assert moved.min() < -0.095
    assert moved.max() > 0.093


def test_contrast_scales_within_a_tenth() -> None:
    step, n = _step(albumentations.RandomBrightnessContrast, AugmentationSettings(brightness=0.0))
    ramp = np.tile(np.arange(20, 180, dtype=np.uint8), (32, 1))
    scale = np.array([np.polyfit(ramp[0], step(image=ramp)["image"][0], 1)[0] for _ in range(n)])
    assert scale.min() == pytest.approx(0.9, abs=0.01)
    assert scale.max() == pytest.approx(1.1, abs=0.01)


def test_blur_is_the_gaussian_of_a_three_pixel_kernel() -> None:
    step, _ = _step(albumentations.GaussianBlur)
    spot = np.zeros((9, 9), np.uint8)
    spot[4, 4] = 255
    blurred = step(image=spot)["image"].astype(float)
    kernel = np.exp(-0.5 * (np.array([-1, 0, 1]) / 0.8) ** 2)  # OpenCV's sigma for a kernel of three
    kernel /= kernel.sum()
    np.testing.assert_allclose(blurred[3:6, 3:6], 255 * np.outer(kernel, kernel), atol=1)
    assert np.count_nonzero(blurred) == 9


def test_half_of_the_images_are_flipped_sideways_and_none_upside_down() -> None:
    frame = np.zeros((32, 32), np.uint8)
    frame[4, 4] = 255
    still = AugmentationSettings(rotation_degrees=0, translation=0, optional_probability=0)
    images = _augment(still, frame)
    flipped = images[:, 4, 27] == 255
    assert (flipped | (images[:, 4, 4] == 255)).all()
    assert flipped.mean() == pytest.approx(0.5, abs=0.08)


def test_each_optional_step_touches_half_of_the_images() -> None:
    flat = np.full((32, 32), 100, np.uint8)
    still = AugmentationSettings(flip_probability=0, rotation_degrees=0, translation=0, brightness=0, contrast=0)
    noisy = _augment(still, flat).std(axis=(1, 2)) > 0
    assert noisy.mean() == pytest.approx(0.5, abs=0.08)


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 64, 64), dtype=np.uint8)


def test_an_image_does_not_depend_on_its_batch_or_on_threads(films: np.ndarray) -> None:
    keys = [f"k{i}" for i in range(len(films))]
    together = Augmenter(REPORT, 1).augment(films, keys, 3)
    augmenter = Augmenter(REPORT, 1)
    alone = [augmenter.augment(films[i : i + 1], keys[i : i + 1], 3)[0] for i in reversed(range(len(films)))]
    np.testing.assert_array_equal(np.stack(alone[::-1]), together)
    with ThreadPoolExecutor(4) as pool:
        threaded = pool.map(lambda i: Augmenter(REPORT, 1).augment(films[i : i + 1], keys[i : i + 1], 3)[0], range(12))
        np.testing.assert_array_equal(np.stack(list(threaded)), together)


def test_another_epoch_seed_or_key_gives_other_pixels(films: np.ndarray) -> None:
    base = Augmenter(REPORT, 1).augment(films[:1], ["a"], 1)
    for other in (
        Augmenter(REPORT, 1).augment(films[:1], ["a"], 2),
        Augmenter(REPORT, 2).augment(films[:1], ["a"], 1),
        Augmenter(REPORT, 1).augment(films[:1], ["b"], 1),
    ):
        assert not np.array_equal(base, other)


def test_the_frames_given_are_not_changed(films: np.ndarray) -> None:
    before = films.copy()
    Augmenter(REPORT, 1).augment(films, [str(i) for i in range(12)], 1)
    np.testing.assert_array_equal(films, before)


def test_an_argument_that_albumentations_would_ignore_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = albumentations.HorizontalFlip
    monkeypatch.setattr(albumentations, "HorizontalFlip", lambda p: real(p=p, var_limit=(10, 50)))
    with pytest.raises(CxrError, match="var_limit"):
        Augmenter(REPORT, 1)


def test_a_value_out_of_range_is_an_error() -> None:
    with pytest.raises(CxrError, match="augmentation"):
        Augmenter(AugmentationSettings(noise_sigma=2.0), 1)
