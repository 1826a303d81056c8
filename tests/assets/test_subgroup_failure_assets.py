"""subgroup_report and failure_report as assets: whole, about the model that they name, and read by their check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from pipeline_fixtures import QUICK, PointedInputs

from cxr_core.store import ArtefactStore

CHANGES: dict[str, Any] = {
    **QUICK,
    "split.test_fraction": 0.5,
    "subgroups.permutations": 199,
    "subgroups.min_films": 6,
    "subgroups.min_groups": 4,
    "subgroups.min_class_films": 1,
    "evaluation.resamples": 100,
}
UPSTREAM = [dg.AssetSpec(name) for name in ("trained_model", "predictions", "image_index", "splits", "pixel_cache")]


@pytest.fixture
def made(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A store with index, splits, an untrained model and its predictions, and the two assets made from them."""
    from cxr_assets.resources import SettingsResource, StoreResource
    from cxr_assets.trust import failures, subgroups
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.dataset.opening import pixel_cache, preprocessing_of
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.evaluation.predict import predict_logits, softmax
    from cxr_core.modelling.network import build_classifier
    from cxr_core.settings import load_settings
    from cxr_core.training.saved_model import save_model

    for name, value in {"RAW_DIR": raw, "STORE": tmp_path / "store", "CACHE_DIR": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"CXR_{name}", str(value))
    now = load_settings(CHANGES)
    store, preprocessing, cache = ArtefactStore(tmp_path / "store"), preprocessing_of(now), pixel_cache(now)
    hashed = hash_files(raw, scan(raw, now.labels), tmp_path / "cache", workers=1)
    ingest(raw, hashed, cache, preprocessing, now.quality)
    index = build_index(raw, hashed, cache, now.labels, now.quality, now.duplicates)
    dealt = make_splits(index, now.split)
    model = build_classifier(now.network, len(now.labels), 0).model.eval()

    def fill(folder: Path) -> None:
        save_model(folder, model.state_dict(), backbone=now.network.backbone, dropout=now.network.dropout,
                   labels=now.labels, preprocessing=preprocessing, training={})  # fmt: skip

    trained = store.write_tree("trained_model", fill)
    test = labelled_frames(cache, dealt, ["test"])
    logits = predict_logits(model, test.frames, preprocessing)
    p = softmax(logits)
    rows = dealt.set_index("image_id").loc[list(test.keys)].reset_index()
    table = rows[["image_id", "split", "label_index", "source", "group_id"]].assign(
        **{f"l_{k}": logits[:, k] for k in range(3)},
        **{f"p_{k}": p[:, k] for k in range(3)},
        predicted_index=p.argmax(axis=1),
        trained_model=trained.digest,
    )
    store.set_ref("trained_model", trained)
    for name, made_table in {"predictions": table, "image_index": index, "splits": dealt}.items():
        store.set_ref(name, store.write_table(name, made_table))
    resource = SettingsResource(overrides=CHANGES)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*UPSTREAM, *subgroups.ASSETS, *failures.ASSETS, *subgroups.CHECKS, *failures.CHECKS],
            resources={
                "settings": resource,
                "store": StoreResource(settings=resource),
                "io_manager": dg.IOManagerDefinition.hardcoded_io_manager(PointedInputs(store)),
            },
            instance=instance,
        )
        yield SimpleNamespace(result=result, store=store, table=table, trained=trained)


def report_of(made: SimpleNamespace, name: str) -> tuple[dict[str, Any], Path]:
    folder = made.store.local_tree(made.store.get_ref(name))
    return json.loads((folder / f"{name}.json").read_text()), folder


def test_both_reports_are_made_of_the_test_films_and_the_check_repeats_the_verdict(made: SimpleNamespace) -> None:
    assert made.result.success
    subgroups, folder = report_of(made, "subgroup_report")
    names = {path.name for path in folder.iterdir()}
    assert names == {"subgroup_report.json", "strata.parquet", "gaps.png", "class_sizes.png", "crop_sensitivity.png",
                     "framed_films.png"}  # fmt: skip
    assert subgroups["trained_model"] == made.trained.digest
    assert subgroups["n"] == len(made.table)
    assert {entry["dimension"] for entry in subgroups["strata"]} >= {"source", "sharpness", "mean_grey"}
    assert len(pd.read_parquet(folder / "strata.parquet")) == len(subgroups["strata"])
    trained = subgroups["class_imbalance"]["classes"]
    assert sum(entry["training_films"] for entry in trained.values()) > 0
    conditions = subgroups["crop_sensitivity"]["conditions"]
    assert len(conditions) == 4
    assert all(entry["probability_change"]["value"] > 0 for entry in conditions.values())

    failures, folder = report_of(made, "failure_report")
    names = {path.name for path in folder.iterdir()}
    assert names == {"failure_report.json", "worst_films.parquet", "associations.parquet", "confusion_pairs.png",
                     "worst_films.png", "associations.png"}  # fmt: skip
    wrong = made.table["predicted_index"] != made.table["label_index"]
    assert failures["counts"]["errors"] == int(np.count_nonzero(wrong))
    assert {film["image_id"] for film in failures["worst"]} <= set(made.table["image_id"][wrong])

    (check,) = made.result.get_asset_check_evaluations()
    assert check.check_name == "subgroup_gap"
    assert check.passed is subgroups["verdict"]["passed"]
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description == subgroups["verdict"]["sentence"]
    assert not check.blocking
