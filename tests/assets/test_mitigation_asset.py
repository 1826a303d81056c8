"""The asset mitigation over a small data set: whole, about the model that it names, the same bytes again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from pipeline_fixtures import QUICK, PointedInputs

from cxr_core.store import ArtefactStore

CHANGES: dict[str, Any] = {**QUICK, "split.test_fraction": 0.4}
UPSTREAM = [
    dg.AssetSpec(name)
    for name in ("trained_model", "splits", "calibrated_model", "tuned_hyperparameters", "pixel_cache")
]


def test_the_report_is_about_its_model_keeps_no_time_and_is_the_same_again(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_assets.resources import SettingsResource, StoreResource
    from cxr_assets.robustness import mitigation
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.opening import pixel_cache, preprocessing_of
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.evaluation.temperature import TemperatureScaling
    from cxr_core.modelling.network import build_classifier
    from cxr_core.settings import load_settings
    from cxr_core.training.hyperparameters import Hyperparameters
    from cxr_core.training.saved_model import save_model

    places = {"RAW_DIR": raw, "STORE": tmp_path / "store", "CACHE_DIR": tmp_path / "cache",
              "CHECKPOINT_DIR": tmp_path / "checkpoints"}  # fmt: skip
    # What is drawn is tested with the figures; here its time is spared.
    monkeypatch.setattr("cxr_core.plotting.png_bytes", lambda figure: str(figure.get_suptitle()).encode())
    for name, value in places.items():
        monkeypatch.setenv(f"CXR_{name}", str(value))
    now = load_settings(CHANGES)
    store, preprocessing, cache = ArtefactStore(tmp_path / "store"), preprocessing_of(now), pixel_cache(now)
    hashed = hash_files(raw, scan(raw, now.labels), tmp_path / "cache", workers=1)
    ingest(raw, hashed, cache, preprocessing, now.quality)
    dealt = make_splits(build_index(raw, hashed, cache, now.labels, now.quality, now.duplicates), now.split)
    model = build_classifier(now.network, len(now.labels), 0).model

    def fill(folder: Path) -> None:
        save_model(
            folder, model.state_dict(), backbone=now.network.backbone, dropout=now.network.dropout, labels=now.labels,
            preprocessing=preprocessing, training={"augmentation": now.augmentation.model_dump(mode="json")},
        )  # fmt: skip

    trained = store.write_tree("trained_model", fill)
    scaling = TemperatureScaling(temperature=1.5, films=0, groups=0).model_dump_json().encode()
    best = {"best": Hyperparameters.from_settings(now).to_dict()}
    made = {
        "trained_model": trained,
        "splits": store.write_table("splits", dealt),
        "calibrated_model": store.write_report(
            "calibrated_model", "calibrated_model.json", {"trained_model": trained.digest}, {},
            files={"temperature.json": scaling},
        ),
        "tuned_hyperparameters": store.write_report("tuned_hyperparameters", "tuning.json", best, {}),
    }  # fmt: skip
    for name, artefact in made.items():
        store.set_ref(name, artefact)
    resource = SettingsResource(overrides=CHANGES)

    def run() -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [*UPSTREAM, *mitigation.ASSETS, *mitigation.CHECKS],
                resources={
                    "settings": resource,
                    "store": StoreResource(settings=resource),
                    "io_manager": dg.IOManagerDefinition.hardcoded_io_manager(PointedInputs(store)),
                },
                instance=instance,
            )

    result = run()
    assert result.success
    first = store.get_ref("mitigation")
    folder = store.local_tree(first)
    assert {path.name for path in folder.iterdir()} == {
        "mitigation.json", "gains.parquet", "gains.png", "abstention.png"
    }  # fmt: skip
    report = json.loads((folder / "mitigation.json").read_text())
    assert report["trained_model"] == trained.digest
    assert report["films"] == int((dealt["split"] == "test").sum())
    assert [*report["conditions"]] == ["clean", "jpeg-3", "severe"]  # keys are sorted
    assert set(report["arms"]) == {
        "unmitigated", "test_time_augmentation", "clahe", "further_training", "corruption_training"
    }  # fmt: skip
    assert report["training"]["training_passes"] == int((dealt["split"] == "train").sum())
    assert "seconds" not in json.dumps(report)
    assert set(pd.read_parquet(folder / "gains.parquet")["arm"]) == set(report["arms"]) - {"unmitigated"}
    (event,) = result.asset_materializations_for_node("mitigation")
    assert event.metadata["time_over_unmitigated"].value["unmitigated"] == 1.0
    assert report["conclusion"] == event.metadata["conclusion"].value
    assert not list((tmp_path / "checkpoints").rglob("checkpoint.pt"))

    assert run().success
    assert store.get_ref("mitigation").digest == first.digest
