"""The asset embedding_shift over small stored tables: what it reads, what it leaves, what it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from cxr_core.store import Artefact, ArtefactStore

FILMS = 24


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A store with embeddings and predictions of a model, and its answers under two severities and two presets."""
    from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource
    from cxr_assets.robustness import conditions, shift

    monkeypatch.setattr("cxr_core.plotting.png_bytes", lambda figure: str(figure.get_suptitle()).encode())
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    settings = SettingsResource(
        overrides={"evaluation.resamples": 100, "shift.permutations": 99, "shift.halves": 40, "shift.matched_halves": 5}
    )
    store = ArtefactStore(tmp_path / "store")
    trained = store.write_json("trained_model", {"weights": "none"})
    rng = np.random.default_rng(0)
    films = pd.DataFrame(
        {
            "image_id": [f"{k:016x}" for k in range(FILMS)],
            "split": "test",
            "label_index": np.arange(FILMS) % 3,
            "source": "north",
            "group_id": [f"g{k // 2}" for k in range(FILMS)],
            "trained_model": trained.digest,
        }
    )
    logits = {f"l_{k}": (np.arange(FILMS) % 3 == k).astype(np.float32) for k in range(3)}
    clean = rng.normal(1, 1, (FILMS, 6)).astype(np.float32)

    def swept(condition: str, severity: int, moved: float) -> pd.DataFrame:
        rows = films.drop(columns="split").assign(**logits, condition=condition, severity=severity)
        return rows.assign(embedding=list(clean + np.float32(moved)))

    partitions = {
        "clinical": swept("clinical", 0, 1.0),
        "gamma": pd.concat([swept("gamma-1", 1, 0.0), swept("gamma-2", 2, 3.0)], ignore_index=True),
    }
    shelf = StoreResource(settings=settings)
    resources = {"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)}
    parts = dg.StaticPartitionsDefinition(sorted(partitions))
    monkeypatch.setattr(conditions, "CONDITIONS", parts)

    def run(of: str = trained.digest) -> Any:
        @dg.asset
        def trained_model() -> Artefact:
            return trained

        @dg.asset
        def embeddings() -> Artefact:
            return store.write_table("embeddings", films.assign(embedding=list(clean)))

        @dg.asset
        def predictions() -> Artefact:
            return store.write_table("predictions", films.assign(**logits))

        @dg.asset(partitions_def=parts)
        def robustness_conditions(context: dg.AssetExecutionContext) -> Artefact:
            table = partitions[context.partition_key].assign(trained_model=of)
            return store.write_table("robustness_conditions", table)

        assets = [trained_model, embeddings, predictions, robustness_conditions, *shift.ASSETS]
        instance = dg.DagsterInstance.ephemeral()
        for key in sorted(partitions):
            dg.materialize(
                assets, resources=resources, instance=instance, partition_key=key, selection=[robustness_conditions]
            )
        names = ["trained_model", "embeddings", "predictions", "embedding_shift"]
        return dg.materialize(assets, resources=resources, instance=instance, selection=names, raise_on_error=False)

    return SimpleNamespace(run=run, store=store, trained=trained, shelf=shelf)


def test_the_asset_reads_every_partition_and_keeps_report_figures_and_table(site: SimpleNamespace) -> None:
    assert site.run().success
    folder = site.store.local_tree(site.store.get_ref("embedding_shift"))
    assert {path.name for path in folder.iterdir()} == {
        "embedding_shift.json", "distances.parquet", "ladders.png", "frechet.png", "first_seen.png"
    }  # fmt: skip
    report = json.loads((folder / "embedding_shift.json").read_text())
    assert report["trained_model"] == site.trained.digest
    assert list(report["conditions"]) == ["clinical", "gamma-1", "gamma-2"]
    assert report["drawn"] == {"films": FILMS, "groups": FILMS // 2}
    assert report["conditions"]["gamma-1"]["distances"]["mmd"]["value"] == 0
    assert report["conditions"]["gamma-2"]["distances"]["c2st"]["value"] == 1
    assert [row["condition"] for row in report["report_table"]] == ["clinical"]
    first = site.store.get_ref("embedding_shift").digest
    assert site.run().success
    assert site.store.get_ref("embedding_shift").digest == first


def test_conditions_of_another_model_are_refused(site: SimpleNamespace) -> None:
    result = site.run(of="f" * 64)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "of another model" in failure.step_failure_data.error.to_string()
