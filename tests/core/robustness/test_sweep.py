"""The sweep shows the model every film once a condition, from the frames given, and keeps what it said in order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.embeddings import embedding_matrix
from cxr_core.evaluation.metrics import logits_of
from cxr_core.evaluation.predict import embed_frames, predict_logits
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.robustness.corruptions import CORRUPTIONS, CorruptedFrames, corrupt
from cxr_core.robustness.sweep import PARTITIONS, ConditionFrames, conditions_in, sweep
from cxr_core.settings_sections import ModelSettings
from cxr_core.settings_stress import RobustnessSettings

SIDE = 64
PREPROCESSING = Preprocessing(SIDE, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
SETTINGS = RobustnessSettings()


class Counting:
    """Frames that count how often each is taken."""

    def __init__(self, array: npt.NDArray[np.uint8]) -> None:
        self.array, self.taken = array, np.zeros(len(array), int)
        self.side = array.shape[1]

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        np.add.at(self.taken, rows, 1)
        return self.array[rows]


@pytest.fixture(scope="module")
def model() -> Classifier:
    return build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 0).model


@pytest.fixture
def frames() -> Counting:
    return Counting(np.random.default_rng(0).integers(1, 256, (9, SIDE, SIDE), np.uint8))


def films(frames: Counting) -> LabelledFrames:
    n = len(frames)
    return LabelledFrames(frames, np.arange(n) % 3, [f"{row:016x}" for row in range(n)], ["north", "south", ""] * 3)


def test_the_partitions_are_every_corruption_and_the_two_presets() -> None:
    assert list(PARTITIONS) == sorted([*CORRUPTIONS, "clinical", "severe"])
    assert len(PARTITIONS) == 16
    assert [(one.preset.name, one.severity) for one in conditions_in("gamma", SETTINGS)] == [
        (f"gamma-{severity}", severity) for severity in range(1, 6)
    ]
    assert [(one.preset.name, one.severity) for one in conditions_in("severe", SETTINGS)] == [("severe", 0)]
    with pytest.raises(CxrError, match="'fog'"):
        conditions_in("fog", SETTINGS)


def test_every_film_goes_through_the_model_once_a_condition(
    model: Classifier, frames: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    embed = model.embed

    def counting(batch: torch.Tensor) -> torch.Tensor:
        shown.append(len(batch))
        return embed(batch)

    monkeypatch.setattr(model, "embed", counting)
    conditions = [*conditions_in("gaussian_noise", SETTINGS), *conditions_in("clinical", SETTINGS)]
    table = sweep(conditions, films(frames), ["g"] * 9, model, PREPROCESSING, 42)
    assert sum(shown) == 9 * 6
    assert frames.taken.tolist() == [6] * 9
    assert len(table) == 54
    assert list(table.columns) == ["image_id", "label_index", "source", "group_id", "condition", "severity",
                                   "l_0", "l_1", "l_2", "embedding"]  # fmt: skip
    assert table["condition"].drop_duplicates().tolist() == [one.preset.name for one in conditions]
    assert table.groupby("condition")["severity"].first().to_dict() == {
        one.preset.name: one.severity for one in conditions
    }
    assert table["l_0"].dtype == np.float32


def test_what_is_kept_is_what_the_model_says_of_the_corrupted_film(model: Classifier, frames: Counting) -> None:
    labelled = films(frames)
    conditions = conditions_in("contrast", SETTINGS)
    table = sweep(conditions, labelled, [f"g{row}" for row in range(9)], model, PREPROCESSING, 7)
    for one in conditions:
        part = table[table["condition"] == one.preset.name]
        corrupted = CorruptedFrames(ArrayFrames(frames.array), labelled.keys, one.preset, 7)
        assert part["image_id"].tolist() == list(labelled.keys)
        assert part["label_index"].tolist() == labelled.labels.tolist()
        assert part["source"].tolist() == list(labelled.sources)
        assert part["group_id"].tolist() == [f"g{row}" for row in range(9)]
        assert np.allclose(logits_of(part, 3), predict_logits(model, corrupted, PREPROCESSING), atol=1e-4)
        assert np.allclose(embedding_matrix(part), embed_frames(model, corrupted, PREPROCESSING), atol=1e-4)
    again = sweep(conditions, labelled, [f"g{row}" for row in range(9)], model, PREPROCESSING, 7)
    assert np.array_equal(embedding_matrix(again), embedding_matrix(table))
    other = sweep(conditions, labelled, ["g"] * 9, model, PREPROCESSING, 8)
    assert not np.array_equal(embedding_matrix(other), embedding_matrix(table))


def test_rows_of_several_conditions_are_taken_in_one_batch_in_any_order(frames: Counting) -> None:
    presets = [one.preset for one in conditions_in("jpeg", SETTINGS)]
    keys = [f"k{row}" for row in range(9)]
    rows = np.array([44, 3, 12, 3, 30])
    found = ConditionFrames(frames, keys, presets, 5).take(rows)
    for frame, row in zip(found, rows.tolist(), strict=True):
        place, film = divmod(row, 9)
        assert np.array_equal(frame, corrupt(frames.array[[film]], [keys[film]], presets[place], 5)[0])


def test_no_films_and_missing_groups_are_refused(model: Classifier, frames: Counting) -> None:
    conditions, labelled = conditions_in("clinical", SETTINGS), films(frames)
    with pytest.raises(CxrError, match="No films"):
        sweep(conditions, labelled.subset(np.arange(0)), [], model, PREPROCESSING, 0)
    with pytest.raises(CxrError, match="groups"):
        sweep(conditions, labelled, ["g"], model, PREPROCESSING, 0)
