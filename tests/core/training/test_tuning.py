from typing import Any

import numpy as np
import pytest

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import Settings, load_settings
from cxr_core.training import tuning
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import DivergedError
from cxr_core.training.tuning import stratified_rows, tune


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(
        {
            "network.backbone": "test_efficientnet",
            "network.weights": "none",
            "tuning.trials": 4,
            "tuning.epochs": 2,
            "tuning.image_side": 32,
            "tuning.max_images": 18,
            "tuning.batch_size": [4, 8],
        }
    )


def test_the_search_picks_the_lowest_log_loss_and_stays_in_its_space(
    settings: Settings, preprocessing: Preprocessing, blobs: Any
) -> None:
    seen: list[tuple[int, Hyperparameters, dict[str, Any], list[dict[str, Any]]]] = []
    result = tune(blobs(30, 48, 1), blobs(12, 48, 2), preprocessing, settings, on_trial=lambda *args: seen.append(args))
    table = result.trials
    assert list(table.columns) == ["trial", *Hyperparameters.__dataclass_fields__, "log_loss", "macro_auc"]
    assert list(table["trial"]) == [0, 1, 2, 3] == [number for number, *_ in seen]
    best = table.loc[table["log_loss"].idxmin()]
    assert result.log_loss == best["log_loss"]
    assert result.best.learning_rate == best["learning_rate"]
    space = settings.tuning
    assert table["freeze_epochs"].between(0, space.epochs - 1).all()
    assert set(table["batch_size"]) <= set(space.batch_size)
    for name in ("learning_rate", "weight_decay", "dropout", "focal_gamma"):
        assert table[name].between(*getattr(space, name)).all()
    for number, hyper, values, history in seen:
        chosen = min(history, key=lambda row: row["val_loss"])
        assert values == {"log_loss": chosen["val_log_loss"], "macro_auc": chosen["val_macro_auc"]}
        assert table.loc[number, "log_loss"] == values["log_loss"]
        assert table.loc[number, "focal_gamma"] == hyper.focal_gamma


def test_the_same_search_gives_the_same_table(settings: Settings, preprocessing: Preprocessing, blobs: Any) -> None:
    short = settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"trials": 2})})
    first, second = (tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, short).trials for _ in range(2))
    assert first.equals(second)


def test_trials_see_small_frames_and_a_stratified_share_of_the_training_images(
    settings: Settings, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, list[int], int]] = []
    real = tuning.train

    def spy(model: Any, pre: Any, train_set: Any, val_set: Any, *args: Any, **kwargs: Any) -> Any:
        counts = np.bincount(train_set.labels, minlength=3).tolist()
        seen.append((train_set.frames.side, val_set.frames.side, counts, len(val_set)))
        return real(model, pre, train_set, val_set, *args, **kwargs)

    monkeypatch.setattr(tuning, "train", spy)
    short = settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"trials": 1})})
    tune(blobs(30, 48, 1), blobs(12, 48, 2), preprocessing, short)
    assert seen == [(32, 32, [6, 6, 6], 12)]


def test_a_diverged_trial_does_not_end_the_search(
    settings: Settings, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = tuning.train, iter(range(10))

    def first_diverges(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 0:
            raise DivergedError("The loss is no longer a number.")
        return real(*args, **kwargs)

    monkeypatch.setattr(tuning, "train", first_diverges)
    short = settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"trials": 2})})
    table = tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, short).trials
    assert table["log_loss"].isna().tolist() == [True, False]


def test_a_search_in_which_every_trial_diverges_says_so(
    settings: Settings, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*args: Any, **kwargs: Any) -> Any:
        raise DivergedError("The loss is no longer a number.")

    monkeypatch.setattr(tuning, "train", diverges)
    with pytest.raises(CxrError, match=r"tuning\.learning_rate"):
        tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, settings)


def test_subsets_keep_class_shares_and_every_class() -> None:
    labels = np.repeat([0, 1, 2], [700, 290, 10])
    rows = stratified_rows(labels, 100, 42)
    assert np.bincount(labels[rows]).tolist() == [70, 29, 1]
    assert len(np.unique(rows)) == 100
    assert np.bincount(labels[stratified_rows(labels, 3, 42)]).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(rows, stratified_rows(labels, 100, 42))
    assert not np.array_equal(rows, stratified_rows(labels, 100, 43))
    np.testing.assert_array_equal(stratified_rows(labels, 5000, 42), np.arange(1000))
