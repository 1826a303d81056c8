"""The search as an asset: its artefact, its MLflow runs, and its going on."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from cxr_core.settings import load_settings

SEARCH = {"tuning.trials": 2, "tuning.startup_trials": 1, "tuning.epochs": 2}
UPSTREAM = ("image_index", "quarantine", "pixel_cache", "splits")


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=load_settings().mlflow_uri)


def runs() -> list[Any]:
    """All MLflow runs, the oldest first."""
    kept = client()
    found = kept.search_runs([kept.get_experiment_by_name("cxr").experiment_id])
    return sorted(found, key=lambda run: run.info.start_time)


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["whole"], indirect=True)
def test_a_search_is_told_live_kept_whole_and_continued(pipeline: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    from cxr_core.training import tuning

    seen: list[tuple[str, list[int]]] = []
    real = tuning.train

    def watched(*args: Any, on_epoch: Any, **kwargs: Any) -> Any:
        def told(row: dict[str, Any]) -> None:
            on_epoch(row)
            running = [run for run in runs() if run.info.status == "RUNNING" and "trial" in run.data.tags]
            steps = [client().get_metric_history(run.info.run_id, "val_log_loss") for run in running]
            seen.extend((run.info.run_name, [m.step for m in past]) for run, past in zip(running, steps, strict=True))

        return real(*args, on_epoch=told, **kwargs)

    monkeypatch.setattr(tuning, "train", watched)
    assert pipeline.materialise(*UPSTREAM, "tuned_hyperparameters", changes=SEARCH).success
    assert seen == [("trial-0", [1]), ("trial-0", [1, 2]), ("trial-1", [1]), ("trial-1", [1, 2])]

    artefact = pipeline.store.get_ref("tuned_hyperparameters")
    assert artefact.kind == "tree"
    folder = pipeline.store.local_tree(artefact)
    files = {"tuning.json", "history.png", "importance.png", "parallel_coordinate.png", "slice.png"}
    assert {path.name for path in folder.iterdir()} == files
    report = json.loads((folder / "tuning.json").read_text())
    assert report["proxy"]  # frames of 32 pixels for a network of 64
    assert [trial["state"] for trial in report["trials"]] == ["complete", "complete"]
    assert "too few" in report["importance"]

    (study,) = [run for run in runs() if run.info.run_name == "tuned_hyperparameters"]
    trials = [run for run in runs() if run.data.tags.get("mlflow.parentRunId") == study.info.run_id]
    assert [(run.info.run_name, run.data.tags["state"]) for run in trials] == [
        ("trial-0", "complete"),
        ("trial-1", "complete"),
    ]
    for run, row in zip(trials, report["trials"], strict=True):
        assert run.data.metrics["log_loss"] == row["log_loss"]
        assert float(run.data.params["learning_rate"]) == row["learning_rate"]
    assert {path.path for path in client().list_artifacts(study.info.run_id, "tuning")} == {
        f"tuning/{name}" for name in files
    }

    first, before = report["trials"], len(seen)
    more = pipeline.materialise("tuned_hyperparameters", changes={**SEARCH, "tuning.trials": 3})
    assert more.success
    assert [name for name, _ in seen[before:]] == ["trial-2"] * 2  # the others were read back
    report = json.loads(
        (pipeline.store.local_tree(pipeline.store.get_ref("tuned_hyperparameters")) / "tuning.json").read_text()
    )
    assert report["trials"][:2] == first
    parent = max(
        (run for run in runs() if run.info.run_name == "tuned_hyperparameters"), key=lambda r: r.info.start_time
    )
    nested = [run for run in runs() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in nested) == ["trial-0", "trial-1", "trial-2"]

    metadata = more.asset_materializations_for_node("tuned_hyperparameters")[0].metadata
    assert {"history", "importance", "parallel_coordinate", "slice", "trials", "best", "proxy"} <= set(metadata)
    assert len(list((load_settings().checkpoint_dir / "studies").iterdir())) == 1
