"""Pictures to try the film detector on: seeded, all different, what they are called."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxr_core.errors import CxrError
from cxr_core.trust.other_pictures import ALTERED, DRAWN, TITLES, altered_films, draw_pictures


@pytest.mark.parametrize("kind", DRAWN)
def test_pictures_are_drawn_alike_from_one_seed_and_differ_otherwise(kind: str) -> None:
    first, again, other = draw_pictures(kind, 3, 1), draw_pictures(kind, 2, 1), draw_pictures(kind, 3, 2)
    for picture, same in zip(first, again, strict=False):  # more of them change none
        np.testing.assert_array_equal(picture, same)
    drawn = [picture.tobytes() for picture in (*first, *other)]
    assert len(set(drawn)) == 6
    for picture in first:
        assert picture.dtype == np.uint8
        assert picture.ndim == 2
        assert min(picture.shape) >= 128  # what the service takes


def test_pictures_look_like_what_they_are_called() -> None:
    assert max(float(picture.std()) for picture in draw_pictures("blank", 10, 0)) < 15
    for picture in draw_pictures("checkerboard", 5, 0):
        assert len(np.unique(picture)) == 2
    for picture in draw_pictures("text", 5, 0):
        paper = float(np.median(picture))
        assert 0.5 < (np.abs(picture - paper) < 10).mean() < 0.99  # mostly paper, some ink
    for picture in draw_pictures("hand", 5, 0):
        bright = picture > picture.mean() + picture.std()
        columns = np.flatnonzero(bright.any(axis=0))
        assert 0.02 < bright.mean() < 0.35  # bones in the dark
        assert columns[-1] - columns[0] < 0.95 * picture.shape[1]
        fingers = [cv2.connectedComponents(bright[row].astype(np.uint8)[None])[0] - 1 for row in range(len(bright))]
        assert max(fingers) >= 4  # side by side


def test_altered_films_are_turned_and_inverted_and_keep_their_padding_black() -> None:
    film = np.zeros((1, 8, 8), np.uint8)
    film[0, 2:6] = np.arange(32).reshape(4, 8) + 1
    inverted = altered_films("inverted", film)
    np.testing.assert_array_equal(inverted[0, 2:6], 255 - film[0, 2:6])
    assert not inverted[0, :2].any()
    assert not inverted[0, 6:].any()
    quarter = altered_films("rotated_90", film)
    assert quarter[0, 7, 2] == film[0, 2, 0]  # the left edge is at the bottom now
    np.testing.assert_array_equal(altered_films("rotated_90", quarter), altered_films("rotated_180", film))
    np.testing.assert_array_equal(altered_films("rotated_270", quarter), film)
    np.testing.assert_array_equal(altered_films("inverted", inverted), film)
    assert film.max() == 32  # the films given are left alone
    assert altered_films("inverted", np.zeros((2, 8, 8), np.uint8)).max() == 0
    assert altered_films("rotated_90", film[:0]).shape == (0, 8, 8)


def test_unknown_kinds_are_refused_and_every_kind_has_a_title() -> None:
    with pytest.raises(CxrError, match="'cat' are drawn"):
        draw_pictures("cat", 1, 0)
    with pytest.raises(CxrError, match="not altered by 'mirrored'"):
        altered_films("mirrored", np.zeros((1, 8, 8), np.uint8))
    assert set(TITLES) == {*DRAWN, *ALTERED}
