"""shortcut_audit as an asset: whole, about the model that it names, and read by its check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from pipeline_fixtures import QUICK

from cxr_assets import gates
from cxr_core.store import Artefact, ArtefactStore

CHANGES: dict[str, Any] = {
    **QUICK,
    "split.test_fraction": 0.4,
    "shortcuts.blanked_pretrained": True,
    "shortcuts.permutations": 39,
    "shortcuts.table_permutations": 99,
    "evaluation.resamples": 100,
}
MODEL = "d" * 64


@pytest.fixture(autouse=True)
def no_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The assets given here have no checks, whatever the code location asks of those of the same name."""
    monkeypatch.setattr(gates, "_GATES", {})


@pytest.mark.parametrize("other_model", [False, True])
def test_the_report_is_of_all_films_and_the_test_films_of_the_model_and_the_check_repeats_it(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch, other_model: bool
):
    from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource
    from cxr_assets.trust import shortcuts
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.opening import pixel_cache, preprocessing_of
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.evaluation.embeddings import embedding_table
    from cxr_core.settings import load_settings

    for name, value in {"RAW_DIR": raw, "STORE": tmp_path / "store", "CACHE_DIR": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"CXR_{name}", str(value))
    now = load_settings(CHANGES)
    store, cache = ArtefactStore(tmp_path / "store"), pixel_cache(now)
    hashed = hash_files(raw, scan(raw, now.labels), tmp_path / "cache", workers=1)
    ingest(raw, hashed, cache, preprocessing_of(now), now.quality)
    index = build_index(raw, hashed, cache, now.labels, now.quality, now.duplicates)
    dealt = make_splits(index, now.split)
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(len(dealt), 6)).astype(np.float32)
    table = embedding_table(dealt, dealt["image_id"].tolist(), seen)
    p = rng.dirichlet(np.ones(3), len(dealt))
    rows = table[["image_id", "split", "label_index", "source", "group_id"]].assign(
        **{f"p_{k}": p[:, k] for k in range(3)}, predicted_index=p.argmax(axis=1), trained_model=MODEL
    )
    tables = {
        "predictions": rows[rows["split"] != "train"],
        "embeddings": table.assign(trained_model="e" * 64 if other_model else MODEL),
        "pretrained_features": table,
        "image_index": index,
        "splits": dealt,
    }

    def given(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name)
        def made() -> Artefact:
            return store.write_table(name, tables[name])

        return made

    settings = SettingsResource(overrides=CHANGES)
    shelf = StoreResource(settings=settings)
    resources = {"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*map(given, tables), *shortcuts.ASSETS, *shortcuts.CHECKS],
            resources=resources,
            instance=instance,
            raise_on_error=False,
        )
        if other_model:
            assert not result.success
            failed = next(event for event in result.all_events if event.is_step_failure)
            assert "different models" in str(failed.event_specific_data)
            return
        assert result.success
        (check,) = result.get_asset_check_evaluations()
    folder = store.local_tree(store.get_ref("shortcut_audit"))
    assert {path.name for path in folder.iterdir()} == {
        "shortcut_audit.json", "views.png", "inside_sources.png", "label_by_source.png", "marks.png",
    }  # fmt: skip
    report = json.loads((folder / "shortcut_audit.json").read_text())
    assert report["trained_model"] == MODEL
    assert report["films"] == len(dealt)
    assert report["model"]["films"] == int((dealt["split"] == "test").sum())
    assert [view["name"] for view in report["views"]] == [
        "metadata", "intensity", "marks", "border", "blanked", "blanked_pretrained", "pretrained",
    ]  # fmt: skip
    assert set(report["source"]["predicted"]["from"]) == {"the trained model's embedding", "pretrained features"}
    assert check.check_name == "shortcut"
    assert check.passed is report["verdict"]["passed"]
    assert check.description == report["verdict"]["sentence"]
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert not check.blocking
