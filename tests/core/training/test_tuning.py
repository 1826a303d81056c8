from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.losses import FocalLoss
from cxr_core.settings import Settings, load_settings
from cxr_core.store import ArtefactStore
from cxr_core.training import tuning
from cxr_core.training.checkpoints import Checkpoints
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import DivergedError
from cxr_core.training.trials import COLUMNS
from cxr_core.training.tuning import read_best, stratified_rows, tune


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


def changed(settings: Settings, **tuning_section: Any) -> Settings:
    return settings.model_copy(update={"tuning": settings.tuning.model_copy(update=tuning_section)})


def epoch(number: int, val_loss: float, log_loss: float, frozen: bool = False) -> dict[str, Any]:
    return {
        "epoch": number,
        "frozen": frozen,
        "val_loss": val_loss,
        "val_log_loss": log_loss,
        "val_accuracy": 0.5,
        "val_macro_auc": 0.5,
    }


class Heard:
    """Listens to every trial of a search."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    @contextmanager
    def on_trial(self, number: int, hyper: Hyperparameters) -> Iterator["Heard"]:
        self.events.append(("begin", number, hyper))
        yield self
        self.events.append(("end", number))

    def epoch(self, row: Any) -> None:
        self.events.append(("epoch", row["epoch"]))

    def ended(self, outcome: Any) -> None:
        self.events.append(("ended", outcome))


def test_the_search_picks_the_lowest_log_loss_and_stays_in_its_space(
    settings: Settings, preprocessing: Preprocessing, blobs: Any
) -> None:
    heard = Heard()
    result = tune(blobs(30, 48, 1), blobs(12, 48, 2), preprocessing, settings, on_trial=heard.on_trial)
    table = result.trials
    assert tuple(table.columns) == COLUMNS
    assert list(table["trial"]) == [0, 1, 2, 3] == [event[1] for event in heard.events if event[0] == "begin"]
    assert set(table["state"]) == {"complete"}
    best = table.loc[table["log_loss"].idxmin()]
    assert result.log_loss == best["log_loss"]
    assert result.best.learning_rate == best["learning_rate"]
    space = settings.tuning
    assert table["freeze_epochs"].between(0, space.epochs - 1).all()
    assert set(table["batch_size"]) <= set(space.batch_size)
    for name in ("learning_rate", "weight_decay", "dropout", "focal_gamma"):
        assert table[name].between(*getattr(space, name)).all()
    outcomes = [event[1] for event in heard.events if event[0] == "ended"]
    for row, outcome in zip(table.to_dict("records"), outcomes, strict=True):
        kept = min(outcome.history, key=lambda past: past["val_loss"])
        assert (row["log_loss"], row["macro_auc"]) == (kept["val_log_loss"], kept["val_macro_auc"])
        assert row["focal_gamma"] == outcome.hyper.focal_gamma
        assert row["epochs"] == len(outcome.history) == 2


def test_a_listener_hears_each_epoch_while_the_trial_is_open(
    settings: Settings, preprocessing: Preprocessing, blobs: Any
) -> None:
    heard = Heard()
    tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, changed(settings, trials=2), on_trial=heard.on_trial)
    assert [event[0] for event in heard.events] == ["begin", "epoch", "epoch", "ended", "end"] * 2


def test_the_same_search_gives_the_same_table(settings: Settings, preprocessing: Preprocessing, blobs: Any) -> None:
    short = changed(settings, trials=2)
    first, second = (tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, short).trials for _ in range(2))
    assert first.equals(second)


def test_the_trials_are_those_of_tpe_with_the_reports_seed(preprocessing: Preprocessing, blobs: Any) -> None:
    import optuna

    from cxr_core.training.trials import space_of

    settings = load_settings({"profile": "standard"})
    assert settings.tuning.seed == 42
    assert settings.tuning.trials == 15
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=42))
    first = plain.ask(space_of(settings.tuning)).params
    small = {"network.backbone": "test_efficientnet", "network.weights": "none", "tuning.trials": 1}
    quick = load_settings({"profile": "standard", **small, "tuning.max_images": 6})
    ours = tune(blobs(6, 32, 1), blobs(6, 32, 2), preprocessing, quick).trials.iloc[0]
    assert {name: ours[name] for name in first} == first


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
    tune(blobs(30, 48, 1), blobs(12, 48, 2), preprocessing, changed(settings, trials=1))
    assert seen == [(32, 32, [6, 6, 6], 12)]


def test_each_trial_has_a_folder_of_its_own_that_goes_when_it_is_finished(
    settings: Settings, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders: list[Path] = []

    def scripted(*args: Any, on_epoch: Any, **kwargs: Any) -> None:
        checkpoints = next(arg for arg in args if isinstance(arg, Checkpoints))
        assert not checkpoints.folder.exists()
        checkpoints.save({}, {"trial": len(folders)})
        assert all(not earlier.exists() for earlier in folders)
        folders.append(checkpoints.folder)
        on_epoch(epoch(1, 1.0, 1.0))

    monkeypatch.setattr(tuning, "train", scripted)
    tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, settings, studies=tmp_path)
    assert len(set(folders)) == 4
    assert not any(folder.exists() for folder in folders)


def test_the_trial_is_chosen_by_log_loss_where_the_focal_loss_would_choose_another(
    settings: Settings, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRAPS 5: a larger gamma makes the focal loss of the very same predictions smaller."""
    labels = torch.arange(9) % 3
    said: list[tuple[float, float, float]] = []

    def scripted(*args: Any, on_epoch: Any, **kwargs: Any) -> None:
        gamma = args[4].hyper.focal_gamma
        logits = torch.eye(3)[labels] * (2.0 - 0.1 * gamma)  # the larger gamma, the worse the predictions
        focal = float(FocalLoss(0.25, gamma)(logits, labels))
        log_loss = float(torch.nn.functional.cross_entropy(logits, labels))
        said.append((gamma, focal, log_loss))
        on_epoch(epoch(1, focal, log_loss))

    monkeypatch.setattr(tuning, "train", scripted)
    result = tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, settings)
    gammas, focal, log_loss = zip(*said, strict=True)
    assert result.best.focal_gamma == min(gammas) == gammas[np.argmin(log_loss)]
    assert gammas[np.argmin(focal)] == max(gammas)


def test_a_diverged_trial_does_not_end_the_search(
    settings: Settings, preprocessing: Preprocessing, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = tuning.train, iter(range(10))

    def first_diverges(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 0:
            kwargs["on_epoch"](epoch(1, 0.001, 0.001))  # good while it lasted
            raise DivergedError("The loss is no longer a number.")
        return real(*args, **kwargs)

    monkeypatch.setattr(tuning, "train", first_diverges)
    result = tune(blobs(18, 48, 1), blobs(9, 48, 2), preprocessing, changed(settings, trials=2))
    assert result.trials["state"].tolist() == ["diverged", "complete"]
    assert result.trials["log_loss"].isna().tolist() == [True, False]
    assert result.trials["epochs"].tolist() == [1, 2]
    assert result.log_loss == result.trials["log_loss"][1]


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


def test_the_best_point_is_read_back_from_the_store(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    best = Hyperparameters(1e-4, 1e-5, 0.5, 16, 2, 2.0)
    search = store.write_report("tuned_hyperparameters", tuning.REPORT_FILE, {"best": best.to_dict()}, {})
    assert read_best(store, search) == best
    other = store.write_report("tuned_hyperparameters", "another.json", {}, {})
    with pytest.raises(CxrError, match="materialise tuned_hyperparameters again"):
        read_best(store, other)
