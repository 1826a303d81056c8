"""label_audit as an asset: whole, about the model that it names, its queue in a form that is handed back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from pipeline_fixtures import QUICK, PointedInputs

from cxr_core.store import ArtefactStore

CHANGES: dict[str, Any] = {**QUICK, "label_audit.min_films": 8, "label_audit.resamples": 100, "label_audit.shown": 8}
UPSTREAM = [dg.AssetSpec(name) for name in ("predictions", "image_index", "splits", "pixel_cache")]


def test_the_audit_is_made_of_every_accepted_film_and_its_queue_is_a_table_of_corrections(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_assets.resources import SettingsResource, StoreResource
    from cxr_assets.trust import labels
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.label_corrections import read_corrections
    from cxr_core.dataset.opening import pixel_cache, preprocessing_of
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.settings import load_settings

    for name, value in {"RAW_DIR": raw, "STORE": tmp_path / "store", "CACHE_DIR": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"CXR_{name}", str(value))
    shutil.copy(raw / "Normal/film00.png", raw / "Tuberculosis/again.png")
    now = load_settings(CHANGES)
    store, cache = ArtefactStore(tmp_path / "store"), pixel_cache(now)
    hashed = hash_files(raw, scan(raw, now.labels), tmp_path / "cache", workers=1)
    ingest(raw, hashed, cache, preprocessing_of(now), now.quality)
    index = build_index(raw, hashed, cache, now.labels, now.quality, now.duplicates)
    dealt = make_splits(index, now.split)
    test = dealt[dealt["split"] == "test"]
    predictions = test.assign(predicted_index=0, trained_model="m" * 64)
    for name, table in {"predictions": predictions, "image_index": index, "splits": dealt}.items():
        store.set_ref(name, store.write_table(name, table))
    resource = SettingsResource(overrides=CHANGES)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*UPSTREAM, *labels.ASSETS, *labels.CHECKS],
            resources={
                "settings": resource,
                "store": StoreResource(settings=resource),
                "io_manager": dg.IOManagerDefinition.hardcoded_io_manager(PointedInputs(store)),
            },
            instance=instance,
        )
    assert result.success
    folder = store.local_tree(store.get_ref("label_audit"))
    assert {path.name for path in folder.iterdir()} == {
        "label_audit.json", "relabel_queue.csv", "relabel_queue.parquet", "films.parquet", "contact_sheet.png",
        "noise.png", "ranking.png",
    }  # fmt: skip
    report = json.loads((folder / "label_audit.json").read_text())
    assert report["trained_model"] == "m" * 64
    assert report["films"] == len(dealt) == len(pd.read_parquet(folder / "films.parquet"))
    assert report["contradictions"] == {"contents": 1, "files": 2}
    assert report["classes"]["Normal"]["model_recall"]["value"] == 1.0
    queue = pd.read_parquet(folder / "relabel_queue.parquet")
    assert queue.columns.tolist() == ["image_id", "sha256", "label", "suggested", "score", "kind", "source", "rank"]
    assert queue["kind"].iloc[0] == "contradiction"
    assert np.array_equal(queue["rank"], np.arange(1, len(queue) + 1))
    assert len(pd.read_csv(folder / "relabel_queue.csv")) == len(queue) == report["queue"]["films"]
    assert read_corrections(folder / "relabel_queue.csv", now.labels).labels == {}

    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == "label_noise"
    assert check.passed is report["verdict"]["passed"]
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description == report["verdict"]["sentence"]
    assert not check.blocking
