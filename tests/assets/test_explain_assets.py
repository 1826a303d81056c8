"""gradcam_gallery and lung_segmentation as assets: whole, about the films that they name, and read by their check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from pipeline_fixtures import QUICK, PointedInputs

from cxr_core.store import ArtefactStore

CHANGES: dict[str, Any] = {**QUICK, "split.test_fraction": 0.4, "evaluation.resamples": 100}
UPSTREAM = [dg.AssetSpec(name) for name in ("trained_model", "predictions", "splits", "pixel_cache")]


def test_maps_and_masks_of_test_films_are_stored_with_what_they_are_worth(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
):
    from cxr_assets.explain import assets, lungs
    from cxr_assets.resources import SettingsResource, StoreResource
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.dataset.opening import pixel_cache, preprocessing_of
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.evaluation.predict import predict_logits, softmax
    from cxr_core.modelling.network import build_classifier
    from cxr_core.release.evidence import REPORTS, SAYS
    from cxr_core.settings import load_settings
    from cxr_core.training.saved_model import save_model

    for name, value in {"RAW_DIR": raw, "STORE": tmp_path / "store", "CACHE_DIR": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"CXR_{name}", str(value))
    now = load_settings(CHANGES)
    store, preprocessing, cache = ArtefactStore(tmp_path / "store"), preprocessing_of(now), pixel_cache(now)
    hashed = hash_files(raw, scan(raw, now.labels), tmp_path / "cache", workers=1)
    ingest(raw, hashed, cache, preprocessing, now.quality)
    dealt = make_splits(build_index(raw, hashed, cache, now.labels, now.quality, now.duplicates), now.split)
    model = build_classifier(now.network, len(now.labels), 0).model.eval()

    def fill(folder: Path) -> None:
        save_model(folder, model.state_dict(), backbone=now.network.backbone, dropout=now.network.dropout,
                   labels=now.labels, preprocessing=preprocessing, training={})  # fmt: skip

    trained = store.write_tree("trained_model", fill)
    test = labelled_frames(cache, dealt, ["test"])
    p = softmax(predict_logits(model, test.frames, preprocessing))
    rows = dealt.set_index("image_id").loc[list(test.keys)].reset_index()
    table = rows[["image_id", "split", "label_index", "source", "group_id"]].assign(
        **{f"p_{k}": p[:, k] for k in range(3)}, predicted_index=p.argmax(axis=1), trained_model=trained.digest
    )
    store.set_ref("trained_model", trained)
    store.set_ref("predictions", store.write_table("predictions", table))
    store.set_ref("splits", store.write_table("splits", dealt))
    resource = SettingsResource(overrides=CHANGES)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*UPSTREAM, assets.gradcam_gallery, *lungs.ASSETS, *lungs.CHECKS],
            resources={
                "settings": resource,
                "store": StoreResource(settings=resource),
                "io_manager": dg.IOManagerDefinition.hardcoded_io_manager(PointedInputs(store)),
            },
            instance=instance,
        )
    assert result.success

    folder = store.local_tree(store.get_ref("gradcam_gallery"))
    assert {path.name for path in folder.iterdir()} == {"gallery.json", "gallery.png", "films.csv"}
    gallery = json.loads((folder / REPORTS["gradcam_gallery"]).read_bytes())
    films = pd.read_csv(folder / "films.csv")
    assert gallery[SAYS] == trained.digest
    assert gallery["films"] == len(films)
    assert set(films["image_id"]) <= set(test.keys)
    assert set(gallery["methods"]) == {"gradcam", "occlusion"}
    agreement = gallery["agreement"]["gradcam_occlusion"]
    assert (agreement["overall"]["value"] is None) == films["gradcam_occlusion"].isna().all()

    folder = store.local_tree(store.get_ref("lung_segmentation"))
    names = {"lung_segmentation.json", "overlap.png", "outlines.png", "masks.parquet", "phantoms.parquet"}
    assert {path.name for path in folder.iterdir()} == names
    report = json.loads((folder / "lung_segmentation.json").read_bytes())
    masks = pd.read_parquet(folder / "masks.parquet")
    assert masks["image_id"].tolist() == list(test.keys)
    assert report["test_films"]["overall"]["found"]["count"] == int(masks["found"].sum())
    assert report["phantoms"] == len(pd.read_parquet(folder / "phantoms.parquet")) == 3 * 5
    assert SAYS not in report  # it is about no model

    (check,) = result.get_asset_check_evaluations()
    assert check.passed is report["verdict"]["passed"]
    assert check.description == report["verdict"]["sentence"]
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert not check.blocking
