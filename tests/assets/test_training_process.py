import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from cxr_core.settings import load_settings

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("pipeline", ["whole"], indirect=True)]

_BEFORE = ("image_index", "pixel_cache", "splits", "tuned_hyperparameters")
_SLOWLY = {"training.max_epochs": 30, "training.patience": 30}  # long enough to be killed in the midst


def _digest(pipeline: SimpleNamespace) -> str:
    return pipeline.store.get_ref("trained_model").digest


def _observations(pipeline: SimpleNamespace) -> list[Any]:
    key = dg.AssetKey("trained_model")
    return list(reversed(pipeline.instance.fetch_observations(key, limit=100).records))


def test_epochs_arrive_in_dagster_while_the_model_is_trained(pipeline: SimpleNamespace) -> None:
    changes = {"training.max_epochs": 3}
    done = pipeline.materialise(*_BEFORE, "trained_model", changes=changes)
    assert done.success
    seen = _observations(pipeline)
    epochs = [record.asset_observation.metadata["epoch"].value for record in seen]
    assert epochs == [1, 2, 3]
    made = pipeline.instance.get_latest_materialization_event(dg.AssetKey("trained_model"))
    assert all(record.timestamp < made.timestamp for record in seen)
    record = json.loads(
        (pipeline.store.local_tree(pipeline.store.get_ref("trained_model")) / "training.json").read_text()
    )
    losses = [row["val_loss"] for row in record["training"]["history"]]
    assert [entry.asset_observation.metadata["val_loss"].value for entry in seen] == losses
    lines = [entry.user_message for entry in pipeline.instance.all_logs(done.run_id) if entry.user_message]
    assert any("epoch 2/3" in line and "images/s" in line for line in lines)
    assert not list((load_settings().checkpoint_dir / "trained_model").iterdir())  # nothing is left once it is stored
    # A version of the model is what it was made of: to observe its epochs makes nothing downstream out of date.
    assert pipeline.materialise("embeddings", "predictions", changes=changes).success


def test_a_killed_training_process_fails_the_run_and_the_next_run_goes_on_from_its_checkpoint(
    pipeline: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_core.training import checkpoints

    assert pipeline.materialise(*_BEFORE, "trained_model", changes=_SLOWLY).success
    whole = _digest(pipeline)
    heard: list[int] = []
    real = pipeline.instance.handle_new_event

    def kill_in_the_third_epoch(entry: Any, **more: Any) -> Any:
        if entry.is_dagster_event and entry.dagster_event.event_type_value == "ASSET_OBSERVATION":
            heard.append(1)
            if len(heard) == 3:
                (child,) = _children("cxr_assets.training.worker")
                os.kill(child, signal.SIGKILL)
        return real(entry, **more)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.instance, "handle_new_event", kill_in_the_third_epoch)
        failed = pipeline.materialise("trained_model", changes=_SLOWLY)
    assert not failed.success
    assert "checkpoint is kept" in _error(failed)
    (folder,) = (load_settings().checkpoint_dir / "trained_model").iterdir()
    assert checkpoints.Checkpoints(folder).path.is_file()

    again = pipeline.materialise("trained_model", changes=_SLOWLY)
    assert again.success
    lines = [entry.user_message for entry in pipeline.instance.all_logs(again.run_id) if entry.user_message]
    assert any("resumed in epoch" in line for line in lines)
    assert _digest(pipeline) == whole


def test_an_error_of_the_training_process_is_told_in_its_own_sentence(pipeline: SimpleNamespace) -> None:
    assert pipeline.materialise(*_BEFORE).success
    failed = pipeline.materialise("trained_model", changes={"loss.alpha": [0.5, 0.5]})
    assert "loss.alpha has 2 values for 3 classes" in _error(failed)


def test_two_processes_train_the_model_together(pipeline: SimpleNamespace) -> None:
    assert pipeline.materialise(*_BEFORE, "trained_model", changes={"training.processes": 2}).success
    folder = pipeline.store.local_tree(pipeline.store.get_ref("trained_model"))
    assert json.loads((folder / "training.json").read_text())["training"]["processes"] == 2
    assert [record.asset_observation.metadata["epoch"].value for record in _observations(pipeline)] == [1]


def _error(failed: dg.ExecuteInProcessResult) -> str:
    (step,) = [event for event in failed.all_events if event.event_type_value == "STEP_FAILURE"]
    return str(step.event_specific_data.error_display_string) + str(step.event_specific_data.user_failure_data)


def _children(name: str) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = next(line for line in status.read_text().splitlines() if line.startswith("PPid:"))
            command = (status.parent / "cmdline").read_bytes().decode()
        except (OSError, StopIteration):
            continue
        if int(parent.split()[1]) == os.getpid() and name in command:
            found.append(int(status.parent.name))
    return found
