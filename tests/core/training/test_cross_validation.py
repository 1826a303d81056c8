import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killable_crossval import PREPROCESSING, SAMPLING, films, run, said, settings

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.predict import predict_logits, softmax
from cxr_core.training import cross_validation
from cxr_core.training.loop import train

SCRIPT = Path(__file__).with_name("killable_crossval.py")


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each training was given, and the model that came of it."""
    seen: list[dict[str, Any]] = []

    def spy(
        model: Any, preprocessing: Any, train_set: LabelledFrames, val_set: LabelledFrames, recipe: Any, **rest: Any
    ):
        result = train(model, preprocessing, train_set, val_set, recipe, **rest)
        seen.append({"train": set(train_set.keys), "val": set(val_set.keys), "recipe": recipe, "model": model,
                     "result": result})  # fmt: skip
        return result

    monkeypatch.setattr(cross_validation, "train", spy)
    return seen


def test_every_film_is_scored_once_by_a_model_that_saw_none_of_its_patient(
    tmp_path: Path, training: list[dict[str, Any]]
) -> None:
    result = run(tmp_path, settings())
    data, groups = films()
    group_of = dict(zip(data.keys, groups, strict=True))
    table = result.predictions
    assert table["image_id"].tolist() == sorted(data.keys)
    assert set(table["split"]) == {"out_of_fold"}
    assert len(training) == 3
    for number, seen in enumerate(training):
        rows = table[table["fold"] == number]
        touched = {group_of[key] for key in seen["train"] | seen["val"]}
        assert touched.isdisjoint(rows["group_id"])
        assert {group_of[key] for key in seen["train"]}.isdisjoint({group_of[key] for key in seen["val"]})
        assert seen["train"] | seen["val"] | set(rows["image_id"]) == set(data.keys)
        assert seen["recipe"].training.sampling == SAMPLING
        places = np.array([data.keys.index(key) for key in rows["image_id"]])
        logits = predict_logits(seen["model"], data.subset(places).frames, PREPROCESSING)
        np.testing.assert_allclose(rows[["p_0", "p_1", "p_2"]].to_numpy(), softmax(logits), atol=1e-6)
        fold = result.folds[number]
        assert fold.films == {"train": len(seen["train"]), "val": len(seen["val"]), "test": len(rows)}
        assert (fold.history, fold.best_epoch) == (seen["result"].history, seen["result"].best_epoch)
    assert (table["predicted_index"] == table[["p_0", "p_1", "p_2"]].to_numpy().argmax(axis=1)).all()
    assert table["source"].tolist() == [data.sources[data.keys.index(key)] for key in table["image_id"]]
    assert table["group_id"].tolist() == [group_of[key] for key in table["image_id"]]


def test_a_finished_fold_is_found_again_and_not_trained_twice(tmp_path: Path, training: list[dict[str, Any]]) -> None:
    class StopError(Exception):
        pass

    def stop(fold: cross_validation.Fold) -> None:
        if fold.fold == 1:
            raise StopError

    with pytest.raises(StopError):
        run(tmp_path, settings(), on_fold=stop)
    assert len(training) == 2
    told: list[int] = []
    again = run(tmp_path, settings(), on_fold=lambda fold: told.append(fold.fold))
    assert len(training) == 3
    assert told == [0, 1, 2]
    assert said(again) == said(run(tmp_path / "other", settings()))
    again.clear()
    assert [path for path in tmp_path.rglob("*.pt") if "other" not in path.parts] == []


@pytest.mark.parametrize("change", [{"training.max_epochs": 2}, {"crossval.seed": 7}, {"loss.gamma": 1.0}])
def test_nothing_of_other_settings_is_taken_up(
    tmp_path: Path, training: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    run(tmp_path, settings(**{"crossval.folds": 2, "training.max_epochs": 1}))
    run(tmp_path, settings(**{"crossval.folds": 2, "training.max_epochs": 1, **change}))
    assert len(training) == 4


def test_nothing_of_the_tuning_is_used(tmp_path: Path, training: list[dict[str, Any]]) -> None:
    run(tmp_path, settings(**{"training.learning_rate": 3e-3, "loss.gamma": 1.25, "crossval.folds": 2}))
    assert {seen["recipe"].hyper.learning_rate for seen in training} == {3e-3}
    assert {seen["recipe"].hyper.focal_gamma for seen in training} == {1.25}


def test_groups_have_to_match_the_films(tmp_path: Path) -> None:
    data, groups = films()
    with pytest.raises(CxrError, match="72 films and 71 patient groups"):
        cross_validation.cross_validate(data, groups[1:], PREPROCESSING, settings(), "shuffle", tmp_path)


def start(folder: Path, out: Path) -> subprocess.Popen[str]:
    path = f"{SCRIPT.parents[3]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(out)], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def kill_at(process: subprocess.Popen[str], there: Callable[[str], bool]) -> None:
    """Kill a process, at once and without warning, as it says something."""
    for line in process.stderr:
        if there(line):
            break
    else:
        raise AssertionError("it ended before it could be killed")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_cross_validation_killed_between_and_inside_folds_gives_the_same_table(tmp_path: Path) -> None:
    folder, out = tmp_path / "killed", tmp_path / "killed.json"
    kill_at(start(folder, out), lambda line: "fold 1/3: epoch 1/2: " in line)
    kill_at(start(folder, out), lambda line: "fold 2/3: " in line)
    kill_at(start(folder, out), lambda line: "fold 3/3: epoch 1/2: " in line)
    last = start(folder, out)
    lines = last.stderr.read()
    assert last.wait() == 0, lines
    assert "fold 1/3: found finished" in lines
    assert "fold 3/3: resumed in epoch" in lines
    whole = start(tmp_path / "whole", tmp_path / "whole.json")
    assert whole.wait() == 0
    assert out.read_text() == (tmp_path / "whole.json").read_text()
