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
from cxr_core.explain.gallery import OUTCOMES, draw_gallery, gradcam_gallery, select_films
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import build_classifier
from cxr_core.settings_sections import ExplainSettings, ModelSettings

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


def test_the_gallery_shows_each_chosen_film_beside_its_overlay() -> None:
    data = _films()
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    preprocessing = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    p = softmax(predict_logits(model, data.frames, preprocessing))
    predictions = pd.DataFrame(p, columns=["p_0", "p_1", "p_2"]).assign(
        image_id=data.keys, label_index=data.labels, predicted_index=p.argmax(axis=1)
    )
    elsewhere = predictions.head(3).assign(image_id=["x", "y", "z"])  # predictions whose frames are not at hand
    both = pd.concat([predictions, elsewhere], ignore_index=True)
    gallery = gradcam_gallery(model, preprocessing, data, both, LABELS, ExplainSettings(films_per_class=2))

    assert set(gallery.table["image_id"]) <= set(data.keys)
    images = [image for axis in gallery.figure.axes for image in axis.images]
    assert len(images) == 3 * len(gallery.table)  # film, film under the overlay, overlay
    texts = [text.get_text() for text in gallery.figure.texts]
    shown = set(zip(gallery.table["label_index"], gallery.table["outcome"], strict=True))
    absent = [f"{LABELS[k]} {outcome}" for k in range(3) for outcome in OUTCOMES if (k, outcome) not in shown]
    assert texts[-1] == (f"No film: {', '.join(absent)}.  " if absent else "") + NOTICE
    titles = [axis.get_title(loc="left") for axis in gallery.figure.axes if axis.get_title(loc="left")]
    film = gallery.table.iloc[0]
    expected = f"true {LABELS[film['label_index']]}\npredicted {LABELS[film['predicted_index']]}"
    assert titles[0] == f"{expected} {film['probability']:.2f}"
    assert len(titles) == len(gallery.table)


def test_equal_galleries_give_equal_pixels() -> None:
    predictions = _predictions(30)
    table = select_films(predictions, 3, 2)
    frames = np.random.default_rng(0).integers(0, 256, (len(table), 64, 64), dtype=np.uint8)
    maps = np.random.default_rng(1).random((len(table), 64, 64), dtype=np.float32)
    drawn = []
    for _ in range(2):
        buffer = BytesIO()
        draw_gallery(table, frames, maps, LABELS, ExplainSettings(films_per_class=2)).savefig(buffer, format="png")
        drawn.append(buffer.getvalue())
    assert drawn[0] == drawn[1]
    assert Image.open(BytesIO(drawn[0])).width > 900


def test_predictions_without_frames_are_refused() -> None:
    model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
    preprocessing = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    strangers = _predictions(6).assign(image_id=list("abcdef"))
    with pytest.raises(CxrError, match="same split"):
        gradcam_gallery(model, preprocessing, _films(), strangers, LABELS, ExplainSettings())
