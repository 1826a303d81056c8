"""The statistics of a film against values worked out by hand and a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_core.eda.statistics import HISTOGRAM, LBP, STATISTICS, film_statistics, lbp_codes, lbp_histogram
from cxr_core.imaging.preprocess import Box, Preprocessing, content_box


def of(film: np.ndarray) -> dict[str, float]:
    """Statistics of a film that fills its frame."""
    return film_statistics(film, film, Box(0, film.shape[0], 0, film.shape[1]))


def slow_code(patch: np.ndarray) -> int:
    """Code of the centre of a 3 x 3 patch by the definition, in floating point."""
    centre = float(patch[1, 1])
    bits = []
    for k in range(8):
        x, y = 1 + np.cos(k * np.pi / 4), 1 - np.sin(k * np.pi / 4)
        x0, y0 = int(min(np.floor(x + 1e-9), 1)), int(min(np.floor(y + 1e-9), 1))
        dx, dy = x - x0, y - y0
        value = (
            patch[y0, x0] * (1 - dx) * (1 - dy)
            + patch[y0, x0 + 1] * dx * (1 - dy)
            + patch[y0 + 1, x0] * (1 - dx) * dy
            + patch[y0 + 1, x0 + 1] * dx * dy
        )
        bits.append(value >= centre - 1e-6)
    changes = sum(bits[k] != bits[k - 1] for k in range(8))
    return sum(bits) if changes <= 2 else 9


def test_names_are_complete_ordered_and_unique() -> None:
    rng = np.random.default_rng(0)
    values = of(rng.integers(0, 256, (50, 60), dtype=np.uint8))
    assert tuple(values) == STATISTICS
    assert len(set(STATISTICS)) == 10 + 10 + 32
    assert all(isinstance(value, float) and np.isfinite(value) for value in values.values())


def test_a_constant_film_has_no_spread_no_edges_and_one_texture_code() -> None:
    values = of(np.full((40, 30), 200, np.uint8))
    assert (values["mean"], values["std"]) == (200.0, 0.0)
    assert values["p01"] == values["p50"] == values["p99"] == 200.0
    assert values["sharpness"] == values["edge_density"] == values["edge_strength"] == 0.0
    assert values["hist_25"] == 1.0
    assert values["lbp_8"] == 1.0


def test_a_ramp_has_the_moments_and_percentiles_of_a_uniform_variable() -> None:
    film = np.tile(np.arange(256, dtype=np.uint8), (100, 1))
    values = of(film)
    assert values["mean"] == pytest.approx(127.5, abs=1e-9)
    assert values["std"] == pytest.approx(np.sqrt((256**2 - 1) / 12), abs=1e-9)
    assert (values["p01"], values["p50"], values["p99"]) == (2.0, 127.0, 253.0)
    assert values["dark_share"] == pytest.approx(10 / 256)
    assert values["bright_share"] == pytest.approx(10 / 256)
    assert [values[name] for name in HISTOGRAM] == pytest.approx([1 / 32] * 32)
    # One level a pixel everywhere but in the first and last column, where the mirrored border has no slope.
    assert values["edge_strength"] == pytest.approx(254 / 256, rel=1e-6)
    assert values["edge_density"] == 0.0


def test_moments_and_percentiles_equal_those_of_the_pixels() -> None:
    film = np.random.default_rng(3).normal(110, 45, (311, 257)).clip(0, 255).astype(np.uint8)
    values = of(film)
    assert values["mean"] == pytest.approx(film.mean(), abs=1e-9)
    assert values["std"] == pytest.approx(film.std(), abs=1e-9)
    expected = np.percentile(film, [1, 50, 99], method="inverted_cdf")
    assert [values["p01"], values["p50"], values["p99"]] == expected.tolist()
    assert values["dark_share"] == pytest.approx((film < 10).mean())
    assert values["bright_share"] == pytest.approx((film > 245).mean())


def test_a_checkerboard_has_the_laplacian_and_the_patterns_worked_out_by_hand() -> None:
    y, x = np.mgrid[0:64, 0:64]
    film = ((x + y) % 2 * 100).astype(np.uint8)
    values = of(film)
    # The four neighbours differ by 100 each: the Laplacian is +-400 everywhere, mean 0.
    assert values["sharpness"] == pytest.approx(400.0**2, rel=1e-9)
    # Around a bright pixel the interpolated corners reach 59 of 100: nothing on the circle is as bright as the centre.
    inside = (slice(1, -1), slice(1, -1))
    assert np.array_equal(lbp_codes(film)[inside], np.where(film > 0, 0, 8)[inside])


def test_a_step_is_one_edge() -> None:
    film = np.zeros((64, 64), np.uint8)
    film[:, 32:] = 100
    values = of(film)
    assert values["edge_density"] == pytest.approx(1 / 64, rel=0.05)
    assert values["edge_strength"] == pytest.approx(2 * 400 / 8 / 64, rel=1e-6)


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ([[9, 9, 9], [9, 5, 9], [9, 9, 9]], 8),  # dark spot
        ([[1, 1, 1], [1, 5, 1], [1, 1, 1]], 0),  # bright spot
        ([[1, 1, 9], [1, 5, 9], [1, 1, 9]], 3),  # vertical edge
        ([[9, 9, 9], [9, 5, 9], [1, 1, 1]], 5),  # horizontal edge, centre on the bright side
        ([[1, 9, 1], [1, 5, 1], [1, 9, 1]], 9),  # line through: four changes
        ([[1, 9, 1], [9, 5, 9], [1, 9, 1]], 9),  # cross: eight changes
    ],
)
def test_lbp_of_hand_made_patches(patch: list[list[int]], code: int) -> None:
    assert lbp_codes(np.array(patch, np.uint8))[1, 1] == code
    assert slow_code(np.array(patch, np.uint8)) == code


def test_lbp_equals_the_definition_pixel_by_pixel() -> None:
    # Steps of ten levels keep every comparison clear of the 1/256 rounding of the weights, ties included.
    film = (np.random.default_rng(1).integers(0, 25, (24, 31)) * 10).astype(np.uint8)
    padded = np.pad(film, 1, mode="edge")
    expected = [[slow_code(padded[y : y + 3, x : x + 3]) for x in range(31)] for y in range(24)]
    agreement = (lbp_codes(film) == np.array(expected)).mean()
    assert agreement > 0.99


def test_lbp_does_not_change_when_the_film_turns_or_brightens() -> None:
    film = np.random.default_rng(2).integers(20, 200, (40, 40), dtype=np.uint8)
    assert lbp_histogram(np.rot90(film).copy()) == pytest.approx(lbp_histogram(film), abs=1e-12)
    assert np.array_equal(lbp_codes(film), lbp_codes(film + 30))
    assert lbp_histogram(film).sum() == pytest.approx(1.0)
    assert len(LBP) == 10


def test_texture_and_edges_do_not_measure_the_padding() -> None:
    preprocessing = Preprocessing(224, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
    film = np.full((300, 200), 180, np.uint8)
    values = film_statistics(film, preprocessing.frame(film), content_box(200, 300, 224))
    assert values["edge_density"] == values["edge_strength"] == values["sharpness"] == 0.0
    assert values["lbp_8"] == 1.0


def test_a_film_one_pixel_wide_in_its_frame_still_has_statistics() -> None:
    film = np.random.default_rng(4).integers(0, 256, (2000, 3), dtype=np.uint8)
    preprocessing = Preprocessing(224, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
    values = film_statistics(film, preprocessing.frame(film), content_box(3, 2000, 224))
    assert all(np.isfinite(value) for value in values.values())
