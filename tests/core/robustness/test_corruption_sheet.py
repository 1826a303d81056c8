"""The contact sheet shows the very films that a sweep feeds to the model."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.plotting import png_bytes
from cxr_core.robustness.corruptions import CORRUPTIONS, SEVERITIES, condition, corrupt
from cxr_core.robustness.figures_sheet import severity_sheet, strip_of

SIDE = 50


def labelled(n: int) -> LabelledFrames:
    frames = np.random.default_rng(0).integers(1, 250, (n, SIDE, SIDE), dtype=np.uint8)
    return LabelledFrames(ArrayFrames(frames), np.zeros(n, np.int64), [f"key{row}" for row in range(n)])


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_strip_holds_the_clean_film_and_its_five_severities_in_order(name: str) -> None:
    frame = labelled(1).frames.take(np.array([0]))
    strip = strip_of(frame[0], "key0", name, seed=7)
    assert strip.shape == (SIDE, 6 * SIDE + 5 * 2)
    tiles = [strip[:, start : start + SIDE] for start in range(0, strip.shape[1], SIDE + 2)]
    assert np.array_equal(tiles[0], frame[0])
    for tile, severity in zip(tiles[1:], SEVERITIES, strict=True):
        assert np.array_equal(tile, corrupt(frame, ["key0"], condition(name, severity), seed=7)[0])


def test_the_sheet_draws_every_corruption_of_the_film_asked_for_with_its_amounts() -> None:
    figure = severity_sheet(labelled(2), seed=7, row=1)
    axes = [axis for axis in figure.axes if axis.images]
    titles = {axis.get_title(loc="left"): axis for axis in axes}
    assert len(axes) == len(CORRUPTIONS)
    for name, entry in CORRUPTIONS.items():
        axis = titles[entry.title]
        film = labelled(2).frames.take(np.array([1]))[0]
        assert np.array_equal(axis.images[0].get_array(), strip_of(film, "key1", name, seed=7))
        said = [text.get_text() for text in axis.get_xticklabels()]
        assert said == ["clean", *(f"{amount:g}" for amount in entry.severities)]
    assert any("Film key1, seed 7" in text.get_text() for text in figure.texts)
    assert png_bytes(figure, dpi=40) == png_bytes(severity_sheet(labelled(2), seed=7, row=1), dpi=40)


@pytest.mark.parametrize(("films", "row"), [(0, 0), (2, 2), (2, -1)])
def test_a_film_that_is_not_there_is_refused(films: int, row: int) -> None:
    with pytest.raises(CxrError, match="No film"):
        severity_sheet(labelled(films), seed=0, row=row)
