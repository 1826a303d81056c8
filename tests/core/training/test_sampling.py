from typing import Any

import numpy as np
import pytest

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.training.batches import stream_keys
from cxr_core.training.sampling import balanced, epoch_batches, source_balanced, weights_of

# Site a: 60 normal, 20 of class 1; site b: 10 normal, 90 of class 2; site c: 30 of class 2 alone.
LABELS = np.repeat([0, 1, 0, 2, 2], [60, 20, 10, 90, 30])
SOURCES = ["a"] * 80 + ["b"] * 100 + ["c"] * 30


def _drawn(weights: Any, epochs: int = 20) -> np.ndarray:
    return np.concatenate(
        [np.concatenate(epoch_batches(len(LABELS), 16, 42, epoch, weights)) for epoch in range(1, epochs + 1)]
    )


def test_every_row_is_used_once_and_a_last_batch_of_one_is_left_out() -> None:
    assert [len(rows) for rows in epoch_batches(10, 4, 42, 1)] == [4, 4, 2]
    assert [len(rows) for rows in epoch_batches(9, 4, 42, 1)] == [4, 4]
    assert sorted(np.concatenate(epoch_batches(10, 4, 42, 1))) == list(range(10))
    assert not np.array_equal(epoch_batches(10, 10, 42, 1)[0], epoch_batches(10, 10, 42, 2)[0])


def test_a_batch_that_cannot_give_two_images_to_each_process_is_left_out() -> None:
    assert [len(rows) for rows in epoch_batches(11, 4, 42, 1, parts=2)] == [4, 4]
    assert [len(rows) for rows in epoch_batches(12, 4, 42, 1, parts=2)] == [4, 4, 4]
    assert [len(rows) for rows in epoch_batches(3, 4, 42, 1, parts=2)] == [3]  # the only batch there is


def test_balanced_sampling_draws_the_classes_equally_often() -> None:
    counts = np.bincount(LABELS[_drawn(balanced(LABELS, SOURCES))])
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.003)


def test_source_balanced_sampling_makes_label_and_source_independent_where_that_is_possible() -> None:
    drawn = _drawn(source_balanced(LABELS, SOURCES))
    sources, labels = np.array(SOURCES)[drawn], LABELS[drawn]
    for site, share in {"a": 80, "b": 100, "c": 30}.items():
        assert (sources == site).mean() == pytest.approx(share / 210, abs=0.003)  # sites keep their shares
    for site, classes in {"a": (0, 1), "b": (0, 2)}.items():
        inside = labels[sources == site]
        for label in classes:
            assert (inside == label).mean() == pytest.approx(1 / 2, abs=0.01)
    assert set(labels[sources == "c"]) == {2}
    # Between sites that have the same classes nothing of the class can be told from the site.
    both = np.repeat([0, 1, 0, 1], [50, 10, 5, 35])
    weights = source_balanced(both, ["a"] * 60 + ["b"] * 40)
    chance = {(s, c): weights[(np.arange(100) < 60) == (s == "a")][both[(np.arange(100) < 60) == (s == "a")] == c].sum()
              for s in "ab" for c in (0, 1)}  # fmt: skip
    for site in "ab":
        for label in (0, 1):
            of_site = chance[site, 0] + chance[site, 1]
            of_label = chance["a", label] + chance["b", label]
            assert chance[site, label] == pytest.approx(of_site * of_label)


def test_an_epoch_draws_each_image_floor_or_ceiling_of_its_expected_count() -> None:
    weights = source_balanced(LABELS, SOURCES)
    counts = np.bincount(np.concatenate(epoch_batches(len(LABELS), 16, 42, 3, weights)), minlength=len(LABELS))
    expected = weights * len(LABELS)
    assert (np.abs(counts - expected) < 1).all()
    assert counts.sum() == len(LABELS)


def test_source_balanced_sampling_without_sources_says_what_to_do() -> None:
    films = LabelledFrames(ArrayFrames(np.zeros((3, 32, 32), np.uint8)), np.arange(3), ["a", "b", "c"])
    with pytest.raises(CxrError, match=r"metadata\.csv"):
        weights_of(films, "source_balanced")
    assert weights_of(films, "shuffle") is None


def test_an_image_drawn_again_in_an_epoch_has_another_random_stream() -> None:
    batches = [np.array([0, 1, 0]), np.array([2, 0])]
    names = stream_keys(["x", "y", "z"], batches)
    assert names == [["x", "y", "x/1"], ["z", "x/2"]]
