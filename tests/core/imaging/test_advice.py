"""Advice speaks where there is reason to, and is silent over ordinary films."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxr_core.imaging.advice import ADVICE, Advice, border_share, image_advice
from cxr_core.imaging.decode import decode
from cxr_core.imaging.decoded import DecodedImage, Header, mean_and_deviation
from cxr_core.imaging.quality import RULES
from cxr_core.settings_sections import QualitySettings
from cxr_core.settings_service import ServiceSettings

LIMITS = QualitySettings()


def decoded(grey: np.ndarray, tint: float = 0.0, notes: tuple[str, ...] = ()) -> DecodedImage:
    return DecodedImage(grey, Header("PNG", "L", grey.shape[1], grey.shape[0], 1), tint, 8, notes)


def codes(grey: np.ndarray, **more: object) -> list[str]:
    return [advice.code for advice in image_advice(decoded(grey, **more), LIMITS)]  # type: ignore[arg-type]


def test_a_good_film_has_no_advice(film: Callable[..., np.ndarray]):
    assert codes(film(1, 300, 300)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda grey: grey // 5, "under_exposed"),
        (lambda grey: 215 + grey // 8, "over_exposed"),
        (lambda grey: 100 + grey // 8, "low_contrast"),
        (lambda grey: np.repeat(grey, 5, axis=1), "aspect"),
        (lambda grey: np.pad(grey, 60), "crop"),
        (lambda grey: np.pad(grey, 60, constant_values=255), "crop"),
    ],
)
def test_each_fault_has_its_code(film: Callable[..., np.ndarray], change: Callable, expected: str):
    assert expected in codes(change(film(1, 300, 300)).astype(np.uint8))


def test_colour_has_its_code(film: Callable[..., np.ndarray]):
    assert codes(film(1, 300, 300), tint=20.0) == ["tint"]


def test_a_single_grey_has_no_contrast_and_no_border_to_speak_of():
    assert codes(np.full((200, 200), 128, np.uint8)) == ["near_uniform"]
    assert codes(np.zeros((200, 200), np.uint8)) == ["near_uniform", "under_exposed"]


def test_the_limit_of_contrast_is_the_settings():
    grey = np.where(np.indices((200, 200)).sum(0) % 2, 100, 150).astype(np.uint8)  # deviation 25
    assert mean_and_deviation(grey) == pytest.approx((125, 25))
    assert codes(grey) == []
    assert [advice.code for advice in image_advice(decoded(grey), LIMITS, 25.1)] == ["low_contrast"]
    for std in (ServiceSettings().low_contrast_std - 0.6, ServiceSettings().low_contrast_std + 0.6):
        spread = np.where(grey == 100, 128 - round(std), 128 + round(std)).astype(np.uint8)
        assert codes(spread) == (["low_contrast"] if std < ServiceSettings().low_contrast_std else [])


def test_what_the_file_says_becomes_advice_in_its_order(film: Callable[..., np.ndarray]):
    assert codes(film(1, 300, 300), notes=("view", "burned_in")) == ["view", "burned_in"]
    said = image_advice(decoded(film(1, 300, 300), notes=tuple(ADVICE)), LIMITS)
    assert said == tuple(Advice(code=code, message=message) for code, message in ADVICE.items())
    assert all(message.endswith(".") for message in ADVICE.values())


def test_codes_are_not_given_twice():
    assert not set(ADVICE) & {rule.code for rule in RULES}


@pytest.mark.parametrize(
    ("sides", "share"),
    [
        ((0, 0, 0, 0), 0.0),
        ((50, 0, 0, 0), 0.25),
        ((0, 0, 50, 50), 0.5),
        ((50, 50, 50, 50), 0.75),
        ((10, 0, 0, 0), 0.05),
    ],
)
@pytest.mark.parametrize("level", [0, 12, 245, 255])
def test_borders_are_measured_as_a_share_of_the_area(sides: tuple[int, int, int, int], share: float, level: int):
    grey = np.full((200, 200), level, np.uint8)
    top, bottom, left, right = sides
    grey[top : 200 - bottom, left : 200 - right] = 128
    assert border_share(grey) == pytest.approx(share)


def test_specks_in_a_border_do_not_hide_it_and_dark_lungs_are_none():
    grey = np.zeros((400, 400), np.uint8)
    grey[100:300] = 128
    grey[20, 7:10] = 255
    assert border_share(grey) == pytest.approx(0.5)
    grey[20, 7:60] = 255  # a line of text: the border ends there
    assert border_share(grey) == pytest.approx((20 + 100) / 400)
    lungs = np.full((400, 400), 128, np.uint8)
    lungs[50:350, 50:180] = 0
    lungs[50:350, 220:350] = 0
    assert border_share(lungs) == 0


@pytest.mark.real_data
@pytest.mark.slow
def test_few_real_films_are_flagged(real_films: Path):
    """Measured on 1,487 films: crop 12 (0.8%), low_contrast 1, exposure 3."""
    paths = sorted(path for path in real_films.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[::5]
    limits = QualitySettings(min_side=1)
    counted = Counter(
        advice.code for path in paths for advice in image_advice(decode(path.read_bytes(), limits), limits)
    )
    assert len(paths) > 200
    for code in ("crop", "low_contrast", "under_exposed", "over_exposed"):
        assert counted[code] <= 0.02 * len(paths), code
