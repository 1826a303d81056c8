"""The asset uncertainty over a small real classifier: what it reads, what it leaves, what its check says."""

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

from cxr_core.release.evidence import SAYS
from cxr_core.store import Artefact, ArtefactStore

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
SPLITS = ("train", "val", "calibration", "test")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stored classifier with embeddings of 800 films that its head is right about as often as it claims."""
    from cxr_assets.evaluation import uncertainty
    from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource, preprocessing_of
    from cxr_core.evaluation.embeddings import embedding_table
    from cxr_core.evaluation.predict import classify_embeddings, softmax
    from cxr_core.evaluation.temperature import fit_temperature
    from cxr_core.modelling.network import build_classifier
    from cxr_core.training.saved_model import save_model

    monkeypatch.setattr("cxr_core.plotting.png_bytes", lambda figure: str(figure.get_suptitle()).encode())
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    settings = SettingsResource(
        overrides={
            "network.backbone": "test_efficientnet", "network.weights": "none",
            "evaluation.resamples": 100, "uncertainty.passes": 20,
        }
    )  # fmt: skip
    now, store = settings.load(), ArtefactStore(tmp_path / "store")
    model = build_classifier(now.network, 3, 0).model
    model.head.weight.data.mul_(2)

    def fill(folder: Path) -> None:
        save_model(
            folder, model.state_dict(), backbone=now.network.backbone, dropout=now.network.dropout, labels=now.labels,
            preprocessing=preprocessing_of(now), training={},
        )  # fmt: skip

    rng = np.random.default_rng(0)
    n = 200 * len(SPLITS)
    inputs = rng.normal(0, 1, (n, model.embedding_size)).astype(np.float32)
    logits = classify_embeddings(model, inputs)
    said = softmax(logits)
    rows = pd.DataFrame(
        {
            "image_id": [f"{k:016x}" for k in range(n)],
            "split": np.repeat(SPLITS, 200),
            "label_index": (rng.random((n, 1)) > said.cumsum(axis=1)).sum(axis=1).clip(0, 2),
            "source": np.where(rng.random(n) < 0.5, "north", "south"),
            "group_id": [f"g{k // 2}" for k in range(n)],
        }
    )
    trained = store.write_tree("trained_model", fill)
    seen = embedding_table(rows, rows["image_id"].tolist(), inputs).assign(trained_model=trained.digest)
    table = rows.assign(
        **{f"l_{k}": logits[:, k] for k in range(3)}, **{f"p_{k}": said[:, k] for k in range(3)},
        predicted_index=said.argmax(axis=1), trained_model=trained.digest,
    )  # fmt: skip
    temperature = fit_temperature(logits[:200], rows["label_index"].to_numpy()[:200]).model_dump_json()
    shelf = StoreResource(settings=settings)
    resources = {"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)}
    instance = dg.DagsterInstance.ephemeral()

    def run(
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows, shuffled: bool = False, fitted_for: str = ""
    ) -> Any:
        @dg.asset
        def trained_model() -> Artefact:
            return trained

        @dg.asset
        def embeddings() -> Artefact:
            return store.write_table("embeddings", seen.sample(frac=1, random_state=1) if shuffled else seen)

        @dg.asset
        def predictions() -> Artefact:
            return store.write_table("predictions", change(table[table["split"] != "train"].reset_index(drop=True)))

        @dg.asset
        def calibrated_model() -> Artefact:
            def fill(folder: Path) -> None:
                (folder / "temperature.json").write_text(temperature)
                (folder / "calibrated_model.json").write_text(json.dumps({SAYS: fitted_for or trained.digest}))

            return store.write_tree("calibrated_model", fill)

        assets = [trained_model, embeddings, predictions, calibrated_model, *uncertainty.ASSETS, *uncertainty.CHECKS]
        return dg.materialize(assets, resources=resources, instance=instance, raise_on_error=False)

    def folder() -> Path:
        return store.local_tree(store.get_ref("uncertainty"))

    return SimpleNamespace(run=run, folder=folder, trained=trained, table=table, store=store)


def test_the_asset_keeps_sets_report_figures_and_films_and_its_check_speaks(site: SimpleNamespace) -> None:
    from cxr_core.evaluation.prediction_sets import PredictionSets, fit_prediction_sets

    result = site.run()
    assert result.success
    assert {path.name for path in site.folder().iterdir()} == {
        "prediction_sets.json", "uncertainty.json", "films.parquet", "risk_coverage.png", "coverage.png",
        "set_sizes.png", "referral.png",
    }  # fmt: skip
    report = json.loads((site.folder() / "uncertainty.json").read_text())
    assert report["trained_model"] == site.trained.digest
    kept = PredictionSets.model_validate_json((site.folder() / "prediction_sets.json").read_bytes())
    rows = site.table[site.table["split"] == "calibration"]
    said = rows[["p_0", "p_1", "p_2"]].to_numpy()
    assert kept == fit_prediction_sets(said, rows["label_index"].to_numpy(), LABELS, 0.9, rows["group_id"].tolist())
    assert kept.groups == 100
    films = pd.read_parquet(site.folder() / "films.parquet")
    assert films["image_id"].tolist() == site.table.loc[site.table["split"] == "test", "image_id"].tolist()
    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == "coverage"
    assert check.passed == report["verdict"]["passed"]
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description == report["verdict"]["sentence"]

    first = site.store.get_ref("uncertainty").digest
    assert site.run(shuffled=True).success  # embeddings are found by film, not by place
    assert site.store.get_ref("uncertainty").digest == first


def test_films_of_another_kind_leave_the_run_green_and_the_check_red(site: SimpleNamespace) -> None:
    def others(rows: pd.DataFrame) -> pd.DataFrame:
        p = rows[["p_0", "p_1", "p_2"]].to_numpy()
        return rows.assign(label_index=np.where(rows["split"] == "test", p.argmin(axis=1), rows["label_index"]))

    result = site.run(others)
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert "which the interval does not reach" in check.description


def test_predictions_of_another_model_are_refused(site: SimpleNamespace) -> None:
    result = site.run(lambda rows: rows.assign(trained_model="f" * 64))
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "of another model" in failure.step_failure_data.error.to_string()


def test_a_temperature_of_another_model_is_refused(site: SimpleNamespace) -> None:
    result = site.run(fitted_for="f" * 64)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "The temperature is of another model" in failure.step_failure_data.error.to_string()
