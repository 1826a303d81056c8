"""Every corruption does to the pixels what its amount says, measured without its own code."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import cv2
import numpy as np
import pytest

from cxr_core.robustness.corruption_blur import line_kernel
from cxr_core.robustness.corruptions import CORRUPTIONS, SEVERITIES, Preset, Step, condition, corrupt

SIDE = 128
KEYS = [hashlib.sha256(f"measure {row}".encode()).hexdigest()[:16] for row in range(200)]
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)


def under(name: str, amount: float, frames: np.ndarray) -> np.ndarray:
    return corrupt(frames, KEYS[: len(frames)], Preset("one", (Step(name, amount),)), seed=0)


def copies(frame: np.ndarray, n: int) -> np.ndarray:
    return np.repeat(frame[None].astype(np.uint8), n, axis=0)


def texture() -> np.ndarray:
    rng = np.random.default_rng(3)
    return cv2.resize(rng.integers(60, 200, (16, 16)).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def point_response(name: str, amount: float, key: int = 0) -> np.ndarray:
    """What a point of weight 1 becomes, as floats."""
    film = np.zeros((SIDE, SIDE), np.float32)
    film[SIDE // 2, SIDE // 2] = 1
    return CORRUPTIONS[name].act(film, amount, np.random.default_rng(key)).astype(float)


def moments(response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroid (row, column) and covariance of a response."""
    weight = response / response.sum()
    centre = np.array([(weight * Y).sum(), (weight * X).sum()])
    down, right = Y - centre[0], X - centre[1]
    mixed = (weight * down * right).sum()
    return centre, np.array([[(weight * down**2).sum(), mixed], [mixed, (weight * right**2).sum()]])


@pytest.mark.parametrize("amount", [1.22, 2.2])
def test_gamma_is_the_exponent_of_a_straight_line_in_logarithms(amount: float) -> None:
    ramp = np.tile(np.linspace(40, 250, SIDE).round(), (SIDE, 1))
    changed = under("gamma", amount, copies(ramp, 200))[:, 0].astype(float)
    kept = (changed > 20) & (changed < 255)
    slopes = np.array([
        np.polyfit(np.log(ramp[0, ok] / 255), np.log(row[ok] / 255), 1)[0]
        for row, ok in zip(changed, kept, strict=True)
    ])  # fmt: skip
    darker = slopes > 1
    assert slopes[darker] == pytest.approx(amount, rel=0.01)
    assert slopes[~darker] == pytest.approx(1 / amount, rel=0.01)
    assert 0.4 < darker.mean() < 0.6


@pytest.mark.parametrize(("amount", "first"), [(0.2, 204), (0.6, 102), (1.0, 0)])
def test_inversion_turns_the_upper_share_of_the_greys_and_leaves_the_rest(amount: float, first: int) -> None:
    greys = np.roll(np.arange(256), 128)  # black within the film, not at its edge, where it would be padding
    turned = under("inversion", amount, np.tile(greys.astype(np.uint8), (256, 1))[None])[0, 0]
    assert np.array_equal(turned, np.where(greys >= first, 255 - greys, greys))


@pytest.mark.parametrize(("kernel", "sigma"), [(3, 0.7071), (5, 1.0), (11, 2.0), (17, 2.9), (25, 4.1)])
def test_gaussian_blur_widens_a_point_and_damps_a_wave_as_its_sigma_says(kernel: int, sigma: float) -> None:
    centre, spread = moments(point_response("gaussian_blur", kernel))
    assert centre == pytest.approx([SIDE // 2] * 2, abs=1e-4)
    assert np.sqrt(np.diag(spread)) == pytest.approx(sigma, rel=0.03)  # the kernels are cut off
    period = 32
    wave = (128 + 80 * np.cos(2 * np.pi * X / period)).astype(np.float32)
    blurred = CORRUPTIONS["gaussian_blur"].act(wave, kernel, np.random.default_rng(0))[SIDE // 2]
    contrast = 2 * abs(np.fft.rfft(blurred)[SIDE // period]) / SIDE / 80
    assert contrast == pytest.approx(np.exp(-2 * (np.pi * sigma / period) ** 2), abs=0.01)


@pytest.mark.parametrize("length", [2, 7, 15])
def test_motion_blur_is_an_even_line_of_its_length_about_the_point(length: int) -> None:
    for key in range(20):
        response = point_response("motion_blur", length, key)
        centre, spread = moments(response)
        assert response.sum() == pytest.approx(1, abs=1e-5)
        assert centre == pytest.approx([SIDE // 2] * 2, abs=1e-3)
        across, along = np.linalg.eigvalsh(spread)
        assert across < 0.26  # sharing a point among its neighbours: a quarter at most
        assert length**2 / 12 - 0.26 <= along - across <= length**2 / 12 + 0.26


def test_a_line_along_the_rows_is_the_mean_of_neighbours_in_a_row() -> None:
    kernel = line_kernel(4, 0.0)
    assert kernel.shape == (5, 5)
    assert kernel[2] == pytest.approx([0.125, 0.25, 0.25, 0.25, 0.125], abs=1e-6)
    assert not kernel[[0, 1, 3, 4]].any()
    assert line_kernel(4, np.pi / 2) == pytest.approx(kernel.T, abs=1e-6)


def test_motion_goes_in_every_direction_and_in_the_same_one_at_every_severity() -> None:
    def direction(length: float, key: int) -> float:
        vectors = np.linalg.eigh(moments(point_response("motion_blur", length, key))[1])[1]
        return float(np.arctan2(vectors[0, 1], vectors[1, 1]) % np.pi)

    found = np.array([direction(15, key) for key in range(60)])
    assert abs(np.exp(2j * found).mean()) < 0.3
    for key in range(5):
        assert abs(np.exp(2j * direction(7, key)) - np.exp(2j * found[key])) < 0.1


@pytest.mark.parametrize("share", [0.5, 0.125, 1 / 32])
def test_poisson_noise_has_the_variance_of_quanta_that_were_left_out(share: float) -> None:
    rng = np.random.default_rng(5)
    variances = []
    for grey in (20, 60, 100, 140):
        noise = under("poisson_noise", share, np.full((4, SIDE, SIDE), grey, np.uint8)).astype(float)
        quanta = round(grey / 255 * 2500)
        thinned = rng.binomial(quanta, share, noise.shape) / share * 255 / 2500  # the very process, drawn apart
        rounded = np.clip(np.rint(thinned), 0, 255)
        assert noise.mean() == pytest.approx(grey, abs=0.25)
        assert noise.std() == pytest.approx(rounded.std(), rel=0.02)
        assert np.quantile(noise, [0.05, 0.25, 0.5, 0.75, 0.95]) == pytest.approx(
            np.quantile(rounded, [0.05, 0.25, 0.5, 0.75, 0.95]),
            abs=1 + 255 / 2500 / share / 2,  # rounding of both, and half the grey of a quantum
        )
        variances.append(noise.var() - 1 / 12)
    assert np.array(variances) / [20, 60, 100, 140] == pytest.approx(255 / 2500 * (1 / share - 1), rel=0.05)


def test_poisson_noise_leaves_black_as_it_is_and_differs_from_pixel_to_pixel() -> None:
    film = np.full((1, SIDE, SIDE), 120, np.uint8)
    film[0, 40:60, 40:60] = 0
    noisy = under("poisson_noise", 0.25, film)[0].astype(float)
    assert not noisy[40:60, 40:60].any()
    assert abs(np.corrcoef(noisy[:40, 1:].ravel(), noisy[:40, :-1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("quality", [25, 7])
def test_jpeg_is_a_round_trip_through_a_file_of_the_film_alone(quality: int) -> None:
    frame = np.zeros((SIDE, SIDE), np.uint8)
    frame[:, 20:109] = texture()[:, 20:109]
    done = under("jpeg", quality, frame[None])[0]
    data = cv2.imencode(".jpg", np.ascontiguousarray(frame[:, 20:109]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    assert np.array_equal(done[:, 20:109], cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    assert not done[:, :20].any()
    assert not done[:, 109:].any()


@pytest.mark.parametrize("amount", [2, 10, 20])
def test_rotation_turns_by_its_angle_about_the_centre_either_way(amount: float) -> None:
    def blob(frame: np.ndarray, left: bool) -> np.ndarray:
        weight = frame.astype(float) * ((X < SIDE / 2) == left) * (frame > 60)
        return np.array([(weight * Y).sum(), (weight * X).sum()]) / weight.sum()

    film = np.full((SIDE, SIDE), 40.0)
    for x in (34, 93):
        film += 180 * np.exp(-((X - x) ** 2 + (Y - 63.5) ** 2) / 18)
    angles, middles = [], []
    for turned in under("rotation", amount, copies(film, 40)):
        left, right = blob(turned, True), blob(turned, False)
        angles.append(np.degrees(np.arctan2(*(right - left))))
        middles.append((left + right) / 2)
    assert np.abs(angles) == pytest.approx(amount, abs=0.15)
    assert {-1.0, 1.0} == set(np.sign(angles))
    assert np.array(middles) == pytest.approx(63.5, abs=0.2)
    assert turned[0, 0] == 0  # what enters is black


@pytest.mark.parametrize("amount", [0.02, 0.1, 0.2])
def test_shift_moves_by_its_share_of_the_sides_in_every_direction(amount: float) -> None:
    blob = 10 + 200 * np.exp(-((X - 64) ** 2 + (Y - 64) ** 2) / 50)
    angles = []
    for moved in under("shift", amount, copies(blob, 40)):
        weight = np.where(moved > 20, moved.astype(float), 0)
        by = np.array([(weight * Y).sum(), (weight * X).sum()]) / weight.sum() - 64
        assert np.hypot(*by) == pytest.approx(amount * SIDE, abs=0.72)  # whole pixels
        angles.append(np.arctan2(*by))
    assert abs(np.exp(1j * np.array(angles)).mean()) < 0.4


def test_shift_is_found_by_phase_correlation_and_what_enters_is_black() -> None:
    film = texture()
    moved = under("shift", 0.1, film[None])[0]
    window = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_64F)
    (right, down), _ = cv2.phaseCorrelate(film.astype(float), moved.astype(float), window)
    rows, columns = round(down), round(right)
    assert np.hypot(rows, columns) == pytest.approx(0.1 * SIDE, abs=0.72)
    inside = np.roll(film, (rows, columns), (0, 1))
    entered = np.zeros((SIDE, SIDE), bool)
    entered[: max(rows, 0)] = entered[SIDE + min(rows, 0) :] = True
    entered[:, : max(columns, 0)] = entered[:, SIDE + min(columns, 0) :] = True
    assert not moved[entered].any()
    assert np.array_equal(moved[~entered], inside[~entered])


@pytest.mark.parametrize("amount", CORRUPTIONS["marker"].severities)
def test_a_marker_is_one_white_box_of_its_share_of_the_area_anywhere_on_the_film(amount: float) -> None:
    film = np.zeros((SIDE, SIDE), np.uint8)
    film[:, 24:104] = 100  # 128 x 80
    middles = []
    for marked in under("marker", amount, copies(film, 60)):
        rows, columns = np.nonzero(marked == 255)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height * width == len(rows)
        assert height == pytest.approx(np.sqrt(amount) * 128, abs=1)
        assert width == pytest.approx(np.sqrt(amount) * 80, abs=1)
        assert np.array_equal(marked[marked != 255], film[marked != 255])
        assert columns.min() >= 24
        assert columns.max() < 104
        middles.append([rows.mean() / 128, (columns.mean() - 24) / 80])
    room = 1 - np.sqrt(amount)
    assert np.std(middles, axis=0) == pytest.approx(room / np.sqrt(12), rel=0.25)


@pytest.mark.parametrize("amount", CORRUPTIONS["collimation"].severities)
def test_collimation_leaves_its_field_untouched_and_the_rest_black(amount: float) -> None:
    film = np.zeros((SIDE, SIDE), np.uint8)
    film[:, 24:104] = texture()[:, 24:104]
    above = []
    for shut in under("collimation", amount, copies(film, 40)):
        rows, columns = np.flatnonzero(shut.any(axis=1)), np.flatnonzero(shut.any(axis=0))
        assert len(rows) == pytest.approx((1 - amount) * 128, abs=1)
        assert len(columns) == pytest.approx((1 - amount) * 80, abs=1)
        field = np.ix_(rows, columns)
        assert np.array_equal(shut[field], film[field])
        assert np.count_nonzero(shut) == shut[field].size
        above.append(rows[0] / (amount * 128))
    assert min(above) < 0.25
    assert max(above) > 0.75


@pytest.mark.parametrize("name", ["marker", "collimation"])
def test_what_is_hidden_at_one_severity_is_hidden_at_the_next(name: str) -> None:
    film = copies(texture(), 50)
    hidden = [corrupt(film, KEYS[:50], condition(name, s), seed=0) != film for s in SEVERITIES]
    for weaker, stronger in pairwise(hidden):
        assert not (weaker & ~stronger).any()
