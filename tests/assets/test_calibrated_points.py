"""The assets of calibration and of operating points over a made-up predictions table: what each may look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from cxr_core.store import Artefact, ArtefactStore

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
SPLITS = ("val", "calibration", "test")
MODEL = "c" * 64


def table(temperature: float = 2.0, per_split: int = 240, seed: int = 0) -> pd.DataFrame:
    """Predictions whose logits are too large by ``temperature``; two films a patient."""
    rng = np.random.default_rng(seed)
    n = per_split * len(SPLITS)
    true = rng.normal(0, 2, (n, 3))
    real = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    label = (rng.random((n, 1)) > real.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    logits = (true * temperature).astype(np.float32)
    said = np.exp(logits.astype(np.float64))
    said /= said.sum(axis=1, keepdims=True)
    rows = pd.DataFrame(
        {
            "image_id": [f"{k:016x}" for k in range(n)],
            "split": np.repeat(SPLITS, per_split),
            "label_index": label,
            "source": np.where(rng.random(n) < 0.5, "north", "south"),
            "group_id": [f"g{k // 2:016x}" for k in range(n)],
            "predicted_index": said.argmax(axis=1),
            "trained_model": MODEL,
        }
    )
    return rows.assign(**{f"l_{k}": logits[:, k] for k in range(3)}, **{f"p_{k}": said[:, k] for k in range(3)})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The three assets over a store of their own; ``run(rows)`` materialises them and their checks."""
    from cxr_assets.evaluation import calibrated, points
    from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource

    def quickly(figure: Any) -> bytes:  # what is drawn is looked at elsewhere
        return str(figure.get_suptitle()).encode()

    monkeypatch.setattr("cxr_core.plotting.png_bytes", quickly)
    store = ArtefactStore(tmp_path / "store")
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    settings = SettingsResource(overrides={"evaluation.resamples": 100})
    shelf = StoreResource(settings=settings)
    resources = {"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)}
    instance = dg.DagsterInstance.ephemeral()

    def run(rows: pd.DataFrame, selection: Any = None) -> Any:
        @dg.asset
        def predictions() -> Artefact:
            return store.write_table("predictions", rows)

        assets = [predictions, *calibrated.ASSETS, *points.ASSETS, *calibrated.CHECKS, *points.CHECKS]
        return dg.materialize(assets, resources=resources, instance=instance, raise_on_error=False, selection=selection)

    def folder(name: str) -> Path:
        return store.local_tree(store.get_ref(name))

    return SimpleNamespace(run=run, folder=folder, store=store)


def checks_of(result: Any) -> dict[str, Any]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_the_temperature_is_recovered_and_the_error_falls_within_chance(site: SimpleNamespace) -> None:
    result = site.run(table(2.0))
    assert result.success
    assert {path.name for path in site.folder("calibrated_model").iterdir()} == {
        "temperature.json", "vector_scaling.json", "calibrated_model.json",
        "reliability.png", "reliability_classes.png",
    }  # fmt: skip
    report = json.loads((site.folder("calibrated_model") / "calibrated_model.json").read_text())
    assert report["trained_model"] == MODEL
    assert report["temperature"] == json.loads((site.folder("calibrated_model") / "temperature.json").read_text())
    assert report["temperature"]["low"] < 2.0 < report["temperature"]["high"]
    assert report["fitted_on"]["films"] == report["before"]["n"] == 240
    assert report["before"]["expected_calibration_error"]["value"] > report["before"]["null"]["high"]
    assert report["differences"]["after"]["log_loss"]["high"] < 0
    calibration = checks_of(result)["calibration"]
    assert calibration.passed
    assert calibration.severity == dg.AssetCheckSeverity.WARN
    assert calibration.description == report["verdict"]["sentence"]


def test_a_model_that_calibration_does_not_mend_is_told_by_the_check(site: SimpleNamespace) -> None:
    rows = table(2.0)
    columns = ["l_0", "l_1", "l_2"]
    rows.loc[rows["split"] == "test", columns] *= 3  # the test films are answered with other confidence
    result = site.run(rows)
    calibration = checks_of(result)["calibration"]
    assert not calibration.passed
    assert "above it" in calibration.description


def test_only_calibration_films_fit_the_temperature(
    site: SimpleNamespace, changed: Callable[..., pd.DataFrame]
) -> None:
    files = ("temperature.json", "vector_scaling.json")
    site.run(table())
    before = [(site.folder("calibrated_model") / name).read_bytes() for name in files]
    site.run(changed(table(), "val", "test"))
    assert [(site.folder("calibrated_model") / name).read_bytes() for name in files] == before
    site.run(changed(table(), "calibration"))
    assert [(site.folder("calibrated_model") / name).read_bytes() for name in files] != before


def test_no_test_film_moves_a_threshold(site: SimpleNamespace, changed: Callable[..., pd.DataFrame]) -> None:
    site.run(table())
    fixed = site.store.get_ref("operating_points")
    content = (site.folder("operating_points") / "operating_points.json").read_bytes()
    assert site.run(changed(table(), "test")).success
    assert site.store.get_ref("operating_points") == fixed
    assert (site.folder("operating_points") / "operating_points.json").read_bytes() == content
    site.run(changed(table(), "val"))
    assert site.store.get_ref("operating_points") != fixed


@pytest.fixture
def changed() -> Callable[..., pd.DataFrame]:
    """Every row of some splits turned into something else."""

    def change(rows: pd.DataFrame, *splits: str) -> pd.DataFrame:
        rows, other = rows.copy(), table(1.0, seed=9)
        chosen = rows["split"].isin(splits)
        columns = ["label_index", "source", "l_0", "l_1", "l_2", "p_0", "p_1", "p_2"]
        rows.loc[chosen, columns] = other.loc[chosen, columns]
        return rows

    return change


def test_the_report_judges_what_was_fixed_in_the_calibrated_scale(site: SimpleNamespace) -> None:
    rows = table()
    assert site.run(rows).success
    points = json.loads((site.folder("operating_points") / "operating_points.json").read_text())
    report = json.loads((site.folder("operating_point_report") / "operating_point_report.json").read_text())
    temperature = json.loads((site.folder("calibrated_model") / "temperature.json").read_text())["temperature"]
    assert points["temperature"] == temperature
    assert report["digest"] == points["digest"]
    assert report["trained_model"] == MODEL
    test = rows[rows["split"] == "test"]
    logits = test[["l_0", "l_1", "l_2"]].to_numpy(np.float64) / temperature
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for entry in report["points"].values():
        point = entry["point"]
        flagged = said[:, point["label_index"]] >= point["threshold"]
        positive = (test["label_index"] == point["label_index"]).to_numpy()
        assert entry["pooled"]["sensitivity"]["value"] == pytest.approx(flagged[positive].mean())
        assert entry["pooled"]["specificity"]["value"] == pytest.approx(1 - flagged[~positive].mean())
        assert set(entry["per_source"]) == {"north", "south"}
    assert {path.name for path in site.folder("operating_point_report").iterdir()} == {
        "operating_point_report.json", "operating_points.png",
    }  # fmt: skip


@pytest.mark.parametrize("file", ["operating_points.json", "threshold_analysis.png"])
def test_points_changed_after_they_were_fixed_are_refused(site: SimpleNamespace, file: str) -> None:
    rows = table()
    assert site.run(rows).success
    path = site.folder("operating_points") / file
    path.write_bytes(path.read_bytes().replace(b'"threshold": 0.', b'"threshold": 0.0') + b"\n")
    result = site.run(rows, selection="operating_point_report")
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "changed after" in failure.step_failure_data.error.to_string()


def test_points_of_another_model_are_refused(site: SimpleNamespace) -> None:
    assert site.run(table()).success
    result = site.run(table().assign(trained_model="d" * 64), selection=["predictions", "operating_point_report"])
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "of another model" in failure.step_failure_data.error.to_string()


def test_too_few_calibration_films_leave_the_probabilities_alone(site: SimpleNamespace) -> None:
    rows = table()
    kept = (rows["split"] != "calibration") | (rows["split"] == "calibration").cumsum().between(1, 3)
    assert site.run(rows[kept]).success
    record = json.loads((site.folder("calibrated_model") / "temperature.json").read_text())
    assert record["temperature"] == 1.0
    assert record["reason"] == "3 films to calibrate on; 30 or more are needed"
