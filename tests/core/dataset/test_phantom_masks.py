"""True masks of a phantom folder lie where the preprocessing puts the films."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_core.dataset.phantom import DEFECTS, PhantomSpec, ensure_phantoms
from cxr_core.dataset.phantom.masks import framed_mask, truth_masks
from cxr_core.dataset.phantom.truth import PhantomTruth
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing, content_box

SIDE = 64
NONE = dict.fromkeys((name for name in DEFECTS if name != "wrong_labels"), 0)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    spec = PhantomSpec(patients_per_class=2, films_per_patient=(1, 1), seed=5, **{**NONE, "corrupt": 1})
    return ensure_phantoms(tmp_path_factory.mktemp("phantoms") / "raw", spec)


def test_masks_follow_the_films_in_the_order_asked_for(truth: PhantomTruth):
    files = truth.table["file"].tolist()
    masks = truth_masks(truth.root, files, SIDE)
    assert masks is not None
    lung, lesion = masks
    assert lung.shape == lesion.shape == (len(files), SIDE, SIDE)
    assert lung.dtype == lesion.dtype == np.bool_
    for row, film in truth.table.reset_index().iterrows():
        assert lung[row].any() == bool(film["lung_mask"])
        assert lesion[row].any() == (bool(film["lesion_mask"]) and film["true_label"] != "Normal")
    np.testing.assert_array_equal(masks.known, (truth.table["lung_mask"] != "").to_numpy())
    backwards = truth_masks(truth.root, files[::-1], SIDE)
    assert backwards is not None
    np.testing.assert_array_equal(backwards.lung[::-1], lung)


@pytest.mark.parametrize("shape", [(300, 200), (97, 311), (40, 30), (128, 128)])
def test_a_mask_is_resampled_as_the_preprocessing_resamples_the_film(shape: tuple[int, int]):
    """A film that is white inside the mask: where the frame is more than half white, the mask is."""
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (shape[1] // 3, shape[0] // 2), (shape[1] // 5, shape[0] // 3), 20, 0, 360, 255, -1)
    frame = Preprocessing(SIDE, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3).frame(mask)
    np.testing.assert_array_equal(framed_mask(mask, SIDE), frame >= 128)
    box = content_box(shape[1], shape[0], SIDE)
    outside = framed_mask(np.full(shape, 255, np.uint8), SIDE)
    assert outside[box.top : box.bottom, box.left : box.right].all()
    assert outside.sum() == (box.bottom - box.top) * (box.right - box.left)


def test_a_folder_without_truth_has_none_and_a_film_that_it_does_not_name_has_empty_masks(
    truth: PhantomTruth, tmp_path: Path
):
    assert truth_masks(tmp_path, ["Normal/a.png"], SIDE) is None
    masks = truth_masks(truth.root, ["Normal/stranger.png"], SIDE)
    assert masks is not None
    assert not masks.lung.any()
    assert not masks.known.any()


def test_an_unfinished_truth_or_a_lost_mask_is_named(truth: PhantomTruth, tmp_path: Path):
    (tmp_path / ".truth").mkdir()
    (tmp_path / ".truth" / "truth.csv").write_text("file\n")
    with pytest.raises(CxrError, match="no finished phantom data set"):
        truth_masks(tmp_path, [], SIDE)
    film = truth.table[truth.table["lung_mask"] != ""].iloc[0]
    path = truth.root / film["lung_mask"]
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(CxrError, match="cannot be read"):
            truth_masks(truth.root, [film["file"]], SIDE)
    finally:
        path.write_bytes(kept)
