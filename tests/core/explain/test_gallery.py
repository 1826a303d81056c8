from io import BytesIO

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_core import NOTICE
from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import predict_logits, softmax
from cxr_core.explain.gallery import OUTCOMES, Gallery, gradcam_gallery, select_films
from cxr_core.explain.gallery_agreement import film_agreement, gallery_agreement
from cxr_core.explain.gallery_figure import draw_gallery
from cxr_core.explain.methods import METHODS, explain
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.plotting import png_bytes
from cxr_core.settings_sections import ModelSettings
from cxr_core.settings_stress import ExplainSettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")


def _predictions(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(size=(n, 3)).astype(np.float32))
    frame = pd.DataFrame(p, columns=["p_0", "p_1", "p_2"])
    return frame.assign(
        image_id=[f"{i:016x}" for i in range(n)], label_index=np.arange(n) % 3, predicted_index=p.argmax(axis=1)
    )


def test_each_class_shows_its_surest_right_and_wrong_films_and_its_least_certain() -> None:
    predictions = _predictions()
    chosen = select_films(predictions, 3, 4)
    top = predictions.set_index("image_id")[["p_0", "p_1", "p_2"]].max(axis=1)
    for label in range(3):
        own = predictions[predictions["label_index"] == label]
        right = own[own["predicted_index"] == label]["image_id"]
        wrong = own[own["predicted_index"] != label]["image_id"]
        shown = {
            outcome: list(chosen[(chosen["label_index"] == label) & (chosen["outcome"] == outcome)]["image_id"])
            for outcome in OUTCOMES
        }
        assert shown["correct"] == list(top[right].sort_values(ascending=False).index[:4])
        assert shown["wrong"] == list(top[wrong].sort_values(ascending=False).index[:4])
        rest = own[~own["image_id"].isin([*shown["correct"], *shown["wrong"]])]["image_id"]
        assert shown["least certain"] == list(top[rest].sort_values().index[:4])
    assert chosen["image_id"].is_unique


def test_the_order_of_the_table_does_not_matter_and_ties_go_to_the_smaller_id() -> None:
    predictions = _predictions().assign(p_0=0.5, p_1=0.3, p_2=0.2, predicted_index=0)
    shuffled = predictions.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(select_films(predictions, 3, 2), select_films(shuffled, 3, 2))
    first = select_films(shuffled, 3, 2).iloc[0]
    assert first["image_id"] == predictions[predictions["label_index"] == 0]["image_id"].min()


def _films(n: int = 12) -> LabelledFrames:
    frames = np.random.default_rng(3).integers(0, 200, (n, 64, 64), dtype=np.uint8)
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in frames])
    return LabelledFrames(ArrayFrames(frames), np.arange(n) % 3, [f"{i:016x}" for i in range(n)])


@pytest.fixture(scope="module")
def shown() -> tuple[Gallery, pd.DataFrame]:
    """A small model's gallery of twelve films, and the predictions behind it."""
    data = _films()
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    preprocessing = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    p = softmax(predict_logits(model, data.frames, preprocessing))
    predictions = pd.DataFrame(p, columns=["p_0", "p_1", "p_2"]).assign(
        image_id=data.keys, label_index=data.labels, predicted_index=p.argmax(axis=1), group_id=data.keys
    )
    elsewhere = predictions.head(3).assign(image_id=["x", "y", "z"])  # predictions whose frames are not at hand
    both = pd.concat([predictions, elsewhere], ignore_index=True)
    gallery = gradcam_gallery(model, preprocessing, data, both, 3, ExplainSettings(films_per_class=2))
    for name, maps in gallery.maps.items():
        classes = gallery.table["predicted_index"].to_numpy()
        np.testing.assert_allclose(maps, explain(name, model, gallery.frames, preprocessing, classes), atol=2e-3)
    return gallery, both


def test_the_gallery_shows_each_chosen_film_beside_an_overlay_of_every_method(
    shown: tuple[Gallery, pd.DataFrame],
) -> None:
    gallery = shown[0]
    assert not {"x", "y", "z"} & set(gallery.table["image_id"])
    assert set(gallery.maps) == set(METHODS)
    figure = draw_gallery(gallery, LABELS, 2, 0.4)
    tiles = [axis for axis in figure.axes if axis.images]
    assert len(tiles) == (1 + len(METHODS)) * len(gallery.table)
    overlays = [axis for axis in tiles if len(axis.images) == 2]
    assert len(overlays) == len(METHODS) * len(gallery.table)
    assert all(axis.images[1].get_alpha() == 0.4 for axis in overlays)
    texts = [text.get_text() for text in figure.texts]
    shown_rows = set(zip(gallery.table["label_index"], gallery.table["outcome"], strict=True))
    absent = [f"{LABELS[k]} {outcome}" for k in range(3) for outcome in OUTCOMES if (k, outcome) not in shown_rows]
    assert texts[-1] == (f"No film: {', '.join(absent)}.  " if absent else "") + NOTICE
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    film = gallery.table.iloc[0]
    expected = f"true {LABELS[film['label_index']]}\npredicted {LABELS[film['predicted_index']]}"
    assert titles[0] == f"{expected} {film['probability']:.2f}"
    assert len(titles) == len(gallery.table)
    bars = [axis for axis in figure.axes if axis.get_ylabel()]
    assert len(bars) == 1
    assert "opacity 0.4" in bars[0].get_ylabel()


def test_the_agreement_of_the_methods_is_their_rank_correlation_inside_the_film(
    shown: tuple[Gallery, pd.DataFrame],
) -> None:
    from scipy.stats import spearmanr

    gallery, predictions = shown
    groups = predictions.set_index("image_id")["group_id"]
    found, table = gallery_agreement(gallery, groups, LABELS, 42, 200)
    entry = found["gradcam_occlusion"]
    values = []
    for row in range(len(gallery.table)):
        cells = [cv2.resize(gallery.maps[name][row], (28, 28), interpolation=cv2.INTER_AREA) for name in METHODS]
        values.append(spearmanr(cells[0].ravel(), cells[1].ravel()).statistic)
    np.testing.assert_allclose(table["gradcam_occlusion"], values, atol=1e-6)
    assert entry["overall"]["value"] == pytest.approx(np.nanmean(values), abs=1e-6)
    assert entry["overall"]["low"] < entry["overall"]["value"] < entry["overall"]["high"]
    assert f"{np.nanmean(values):.2f}" in entry["sentence"]


def test_padding_counts_for_no_agreement_and_a_flat_map_has_none() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(1, 256, (2, 64, 64), dtype=np.uint8)
    frames[:, :16] = 0
    a, b = rng.random((2, 64, 64), dtype=np.float32), rng.random((2, 64, 64), dtype=np.float32)
    before = film_agreement(frames, a, b)
    a[:, :16], b[:, :16] = 1, 1
    np.testing.assert_array_equal(film_agreement(frames, a, b), before)
    a[1] = 0
    assert np.isnan(film_agreement(frames, a, b)[1])
    gallery = Gallery(frames[1:], frames[1:] < 0, {"gradcam": a[1:], "occlusion": b[1:]}, pd.DataFrame(
        {"image_id": ["f"], "label_index": [0], "predicted_index": [0], "probability": [0.5], "outcome": ["correct"]}
    ))  # fmt: skip
    found, _ = gallery_agreement(gallery, pd.Series({"f": "g"}), LABELS, 42, 100)
    assert found["gradcam_occlusion"]["overall"]["value"] is None
    assert "cannot be said" in found["gradcam_occlusion"]["sentence"]


def test_equal_galleries_give_equal_pixels(shown: tuple[Gallery, pd.DataFrame]) -> None:
    whole = shown[0]
    two = Gallery(whole.frames[:2], whole.lungs[:2], {k: v[:2] for k, v in whole.maps.items()}, whole.table[:2])
    drawn = [png_bytes(draw_gallery(two, LABELS, 2, 0.4)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert Image.open(BytesIO(drawn[0])).width > 900


def test_predictions_without_frames_are_refused() -> None:
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    preprocessing = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    strangers = _predictions(6).assign(image_id=list("abcdef"))
    with pytest.raises(CxrError, match="same split"):
        gradcam_gallery(model, preprocessing, _films(), strangers, 3, ExplainSettings())
