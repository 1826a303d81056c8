"""The out-of-fold evidence as an asset: beside the pipeline, whole, and found again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from pipeline_fixtures import QUICK

FOLDS = {"crossval.folds": 2, "training.max_epochs": 2, "crossval.source_groups": {"both": ["north", "south"]}}

pytestmark = pytest.mark.slow


def set_options(changes: dict) -> list[str]:
    return [part for name, value in changes.items() for part in ("--set", f"{name}={json.dumps(value)}")]


@pytest.mark.parametrize("pipeline", ["whole"], indirect=True)
def test_the_command_scores_every_film_out_of_fold_once_and_then_finds_it_done(
    pipeline: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from cxr_assets.cli import crossval
    from cxr_core.evaluation.metrics import classification_metrics

    (tmp_path / "dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    first = CliRunner().invoke(crossval, set_options({**QUICK, **FOLDS}), catch_exceptions=False)
    assert first.exit_code == 0, first.output
    assert "4 assets made, 0 were up to date" in first.output
    folder = pipeline.store.local_tree(pipeline.store.get_ref("out_of_fold"))
    assert {path.name for path in folder.iterdir()} == {
        "out_of_fold.json", "predictions_shuffle.parquet", "predictions_source_balanced.parquet", "inside_sources.png",
        "losses.png",
    }  # fmt: skip
    report = json.loads((folder / "out_of_fold.json").read_text())
    splits = pipeline.store.read_table(pipeline.store.get_ref("splits"))
    for way in ("shuffle", "source_balanced"):
        table = pd.read_parquet(folder / f"predictions_{way}.parquet")
        assert table["image_id"].tolist() == sorted(splits["image_id"])
        assert table.groupby("group_id")["fold"].nunique().max() == 1
        assert sorted(table["fold"].unique()) == [0, 1]
        p = table[["p_0", "p_1", "p_2"]].to_numpy()
        direct = classification_metrics(table["label_index"].to_numpy(), p, report["ways"][way]["overall"]["labels"])
        assert report["ways"][way]["overall"] == json.loads(json.dumps(direct))
        assert [len(fold["history"]) for fold in report["folds"][way]] == [2, 2]
        assert set(report["ways"][way]["inside"]) == {"north", "south", "both", "mean of the sources"}
        assert np.isclose(report["ways"][way]["inside"]["both"]["films"], len(table))
        assert f"{report['ways'][way]['inside']['both']['value']:.3f}" in first.output
    assert report["differences"][0]["minus"] == "shuffle"
    kept = tmp_path / "home/data/checkpoints/folds"
    assert kept.is_dir()
    assert list(kept.iterdir()) == []

    again = CliRunner().invoke(crossval, set_options({**QUICK, **FOLDS}), catch_exceptions=False)
    assert "0 assets made, 4 were up to date" in again.output


@pytest.mark.parametrize("pipeline", ["whole"], indirect=True)
def test_a_group_of_sources_that_does_not_exist_is_refused_before_any_training(pipeline: SimpleNamespace):
    from cxr_assets.definitions import CROSS_VALIDATION_JOB
    from cxr_assets.resources import dump_overrides

    wrong = {**QUICK, **FOLDS, "crossval.source_groups": {"both": ["north", "sooth"]}}
    result = pipeline.defs.resolve_job_def(CROSS_VALIDATION_JOB).execute_in_process(
        instance=pipeline.instance, run_config=dump_overrides(wrong), raise_on_error=False
    )
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert failure.step_key == "out_of_fold"
    assert "no film comes from 'sooth'; there are north, south" in failure.step_failure_data.error.to_string()
    assert pipeline.instance.get_latest_materialization_event(dg.AssetKey("out_of_fold")) is None
