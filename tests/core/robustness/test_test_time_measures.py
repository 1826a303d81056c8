"""Test-time measures: what the copies and CLAHE do to a frame, and that an invariant model is left as it is."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxr_core.errors import CxrError
from cxr_core.robustness.test_time import Copy, averaged, copies_of, copy_frames, equalised
from cxr_core.settings_stress import MitigationSettings

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def frames() -> npt.NDArray[np.uint8]:
    """Four noisy films of 48 x 64 with padding left and right."""
    rng = np.random.default_rng(1)
    made = np.zeros((4, 64, 64), np.uint8)
    made[:, :, 8:56] = rng.integers(40, 140, (4, 64, 48))
    return made


def _by_brightness(seen: npt.NDArray[np.uint8]) -> Floats:
    first = np.clip(seen.reshape(len(seen), -1).mean(axis=1) / 255, 0.05, 0.95)
    return np.stack([first, 1 - first], axis=1)


def test_the_copies_are_the_frame_as_it_is_its_mirror_image_and_two_that_turn_and_move() -> None:
    first, second, third, fourth = copies_of(MitigationSettings(rotation_degrees=5, shift=0.03))
    assert first == Copy()
    assert second == Copy(flip=True)
    assert (third.degrees, third.right, third.down) == (5, 0.03, 0.03)
    assert (fourth.degrees, fourth.right, fourth.down) == (-5, -0.03, -0.03)
    assert fourth.name == "turned by -5 degrees, moved by -3.0% and -3.0% of the side"


def test_settings_that_ask_for_nothing_leave_one_copy() -> None:
    assert copies_of(MitigationSettings(flip=False, rotation_degrees=0, shift=0)) == (Copy(),)


def test_a_mirrored_copy_is_the_exact_mirror_image(frames: npt.NDArray[np.uint8]) -> None:
    assert np.array_equal(copy_frames(frames, Copy(flip=True)), frames[:, :, ::-1])
    assert np.array_equal(copy_frames(frames, Copy()), frames)


def test_a_moved_copy_is_moved_by_the_share_of_the_side(frames: npt.NDArray[np.uint8]) -> None:
    found = copy_frames(frames, Copy(right=4 / 64, down=-2 / 64))
    assert np.array_equal(found[:, :-2, 4:], frames[:, 2:, :-4])
    assert not found[:, -2:].any()


def test_a_turned_copy_turns_counter_clockwise_about_the_centre() -> None:
    frame = np.zeros((1, 65, 65), np.uint8)
    cv2.circle(frame[0], (52, 32), 2, 255, -1)  # 20 pixels right of the centre
    rows, columns = np.nonzero(copy_frames(frame, Copy(degrees=30))[0] > 100)
    assert columns.mean() - 32 == pytest.approx(20 * np.cos(np.pi / 6), abs=0.5)
    assert rows.mean() - 32 == pytest.approx(-20 * np.sin(np.pi / 6), abs=0.5)


def test_averaging_changes_nothing_of_a_model_that_does_not_care(frames: npt.NDArray[np.uint8]) -> None:
    def constant(seen: npt.NDArray[np.uint8]) -> Floats:
        return np.tile([0.2, 0.3, 0.5], (len(seen), 1))

    copies = copies_of(MitigationSettings())
    assert np.allclose(averaged(frames, copies, constant), constant(frames), rtol=0, atol=1e-15)
    mirror = (Copy(), Copy(flip=True))
    assert np.array_equal(averaged(frames, mirror, _by_brightness), _by_brightness(frames))
    assert not np.array_equal(averaged(frames, copies, _by_brightness), _by_brightness(frames))


def test_the_average_is_of_probabilities_and_takes_over_what_is_known(frames: npt.NDArray[np.uint8]) -> None:
    copies = copies_of(MitigationSettings())
    seen: list[npt.NDArray[np.uint8]] = []

    def predict(shown: npt.NDArray[np.uint8]) -> Floats:
        seen.append(shown)
        return _by_brightness(shown)

    expected = np.mean([_by_brightness(copy_frames(frames, copy)) for copy in copies], axis=0)
    assert np.allclose(averaged(frames, copies, predict, _by_brightness(frames)), expected, rtol=0, atol=1e-15)
    assert len(seen) == len(copies) - 1
    with pytest.raises(CxrError, match="No copies"):
        averaged(frames, (), predict)


def test_clahe_widens_the_film_alone_and_is_opencvs_on_it(frames: npt.NDArray[np.uint8]) -> None:
    before = frames.copy()
    found = equalised(frames, 2.0, 8)
    assert np.array_equal(frames, before)
    assert not found[:, :, :8].any()
    assert not found[:, :, 56:].any()
    film = np.ascontiguousarray(frames[0, :, 8:56])
    assert np.array_equal(found[0, :, 8:56], cv2.createCLAHE(2.0, (8, 8)).apply(film))
    assert found[:, :, 8:56].std() > frames[:, :, 8:56].std()
    black = np.zeros((1, 32, 32), np.uint8)
    assert equalised(black, 2.0, 8).shape == black.shape
