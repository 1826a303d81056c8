"""faithfulness as an asset: whole, about the model that it names, and read by its check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from pipeline_fixtures import QUICK, PointedInputs

from cxr_core.store import ArtefactStore

CHANGES = {
    **QUICK, "split.test_fraction": 0.3, "explain.occlusion_stride": 0.25, "training.max_epochs": 2,
    "training.freeze_epochs": 1, "faithfulness.second_epochs": 1,
}  # fmt: skip
UPSTREAM = [
    dg.AssetSpec(name)
    for name in (
        "trained_model", "tuned_hyperparameters", "calibrated_model", "predictions", "splits", "image_index",
        "pixel_cache",
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A store with phantoms and an untrained model, a second one trained in its process, and the trial of both."""
    from cxr_assets.explain import faithfulness, second
    from cxr_assets.resources import SettingsResource, StoreResource
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.manifest import frame_manifest, labelled_frames
    from cxr_core.dataset.opening import pixel_cache, preprocessing_of
    from cxr_core.dataset.phantom import PhantomSpec, generate_phantoms
    from cxr_core.dataset.phantom.spec import DEFECTS
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.evaluation.calibration_study import REPORT_FILE
    from cxr_core.evaluation.predict import predict_logits, softmax
    from cxr_core.evaluation.temperature import fit_temperature
    from cxr_core.modelling.network import build_classifier
    from cxr_core.settings import load_settings
    from cxr_core.training.hyperparameters import Hyperparameters
    from cxr_core.training.recipe import Recipe
    from cxr_core.training.saved_model import save_model

    home = tmp_path_factory.mktemp("faithfulness")
    raw = home / "raw"
    generate_phantoms(raw, PhantomSpec(patients_per_class=8, **dict.fromkeys(DEFECTS, 0)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAW_DIR": raw, "STORE": home / "store", "CACHE_DIR": home / "cache"}.items():
            patch.setenv(f"CXR_{name}", str(value))
        now = load_settings(CHANGES)
        store, preprocessing, cache = ArtefactStore(home / "store"), preprocessing_of(now), pixel_cache(now)
        hashed = hash_files(raw, scan(raw, now.labels), home / "cache", workers=1)
        ingest(raw, hashed, cache, preprocessing, now.quality)
        index = build_index(raw, hashed, cache, now.labels, now.quality, now.duplicates)
        dealt = make_splits(index, now.split)
        hyper = Hyperparameters.from_settings(now)
        model = build_classifier(now.network, len(now.labels), now.training.seed).model.eval()

        def fill(folder: Path) -> None:
            save_model(folder, model.state_dict(), backbone=now.network.backbone, dropout=now.network.dropout,
                       labels=now.labels, preprocessing=preprocessing,
                       training=Recipe.from_settings(now, hyper).describe())  # fmt: skip

        def tuned(folder: Path) -> None:
            (folder / "tuning.json").write_text(json.dumps({"best": hyper.to_dict()}))

        store.set_ref("trained_model", store.write_tree("trained_model", fill))
        store.set_ref("tuned_hyperparameters", store.write_tree("tuned_hyperparameters", tuned))
        test = labelled_frames(cache, dealt, ["test"])
        logits = predict_logits(model, test.frames, preprocessing)
        trained = store.get_ref("trained_model")
        rows = dealt.set_index("image_id").loc[list(test.keys)].reset_index()
        p = softmax(logits)
        table = rows[["image_id", "split", "label_index", "source", "group_id"]].assign(
            **{f"l_{k}": logits[:, k] for k in range(3)},
            **{f"p_{k}": p[:, k] for k in range(3)},
            predicted_index=p.argmax(axis=1),
            trained_model=trained.digest,
        )

        def calibrate(folder: Path) -> None:
            scaling = fit_temperature(logits.astype(np.float64), rows["label_index"].to_numpy(np.int64))
            (folder / "temperature.json").write_text(scaling.model_dump_json())
            (folder / REPORT_FILE).write_text(json.dumps({"trained_model": trained.digest}))

        store.set_ref("calibrated_model", store.write_tree("calibrated_model", calibrate))
        for name, frame in {
            "predictions": table, "image_index": index, "splits": dealt, "pixel_cache": frame_manifest(cache, index),
        }.items():  # fmt: skip
            store.set_ref(name, store.write_table(name, frame))
        resource = SettingsResource(overrides=CHANGES)
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                [*UPSTREAM, *second.ASSETS, *faithfulness.ASSETS, *faithfulness.CHECKS],
                resources={
                    "settings": resource,
                    "store": StoreResource(settings=resource),
                    "io_manager": dg.IOManagerDefinition.hardcoded_io_manager(PointedInputs(store)),
                },
                instance=instance,
            )
            folder = store.local_tree(store.get_ref("faithfulness"))
            report = json.loads((folder / "faithfulness.json").read_text())
            yield SimpleNamespace(
                result=result, store=store, folder=folder, report=report, trained=trained, table=table
            )


def test_the_report_is_whole_and_names_both_models(made: SimpleNamespace) -> None:
    assert made.result.success
    assert {path.name for path in made.folder.iterdir()} == {
        "faithfulness.json", "curves.parquet", "films.parquet", "scores.parquet", "deletion_insertion.png",
        "randomisation.png", "energy.png", "lesions.png", "two_seeds.png",
    }  # fmt: skip
    report = made.report
    assert report["trained_model"] == made.trained.digest
    second = report["second_model"]
    assert second["digest"] == made.store.get_ref("second_model").digest
    assert (second["seed"], second["epochs"], second["first_epochs"], second["shortened"]) == (43, 1, 2, True)
    assert second["first_seed"] == 42
    record = json.loads((made.store.local_tree(made.store.get_ref("second_model")) / "training.json").read_text())
    assert len(record["training"]["history"]) == 1
    assert record["training"]["hyperparameters"]["freeze_epochs"] == 0
    assert set(report["methods"]) == {"gradcam", "occlusion"}
    assert report["agreement"]["same_class"]["overall"]["films"] == len(made.table)
    assert report["sentences"]


def test_films_of_each_class_are_explained_and_their_lesions_known(made: SimpleNamespace) -> None:
    films = pd.read_parquet(made.folder / "films.parquet")
    own = films[films["method"] == "gradcam"]
    assert set(own["image_id"]) <= set(made.table["image_id"])
    assert own.groupby("label_index").size().to_dict() == {0: 2, 1: 2, 2: 2}
    assert films[films["method"] == "occlusion"].groupby("label_index").size().to_dict() == {0: 1, 1: 1, 2: 1}
    lesions = made.report["methods"]["gradcam"]["regions"]["lesions"]
    assert lesions["films"] == 4  # a normal film has none
    assert lesions["pointing"]["map"]["per_class"]["Normal"]["value"] is None


def test_the_scores_of_the_table_are_those_of_the_report(made: SimpleNamespace) -> None:
    scores = pd.read_parquet(made.folder / "scores.parquet").set_index(["method", "measure", "what", "of"])
    part = made.report["methods"]["gradcam"]
    for measure, entry in {
        "deletion": part["deletion"],
        "energy in border": part["regions"]["border"],
        "two seeds, ssim": part["repeatability"]["ssim"],
    }.items():
        for what, found in entry.items():
            if isinstance(found, dict):
                assert scores.loc[("gradcam", measure, what, "all"), "value"] == pytest.approx(
                    found["overall"]["value"]
                )
    curves = pd.read_parquet(made.folder / "curves.parquet")
    own = curves[(curves["method"] == "gradcam") & (curves["mode"] == "deletion") & (curves["map"] == "map")]
    area = np.trapezoid(own["value"], own["share"])
    assert area == pytest.approx(part["deletion"]["map"]["overall"]["value"], abs=1e-9)


def test_the_check_repeats_the_verdict_as_a_warning(made: SimpleNamespace) -> None:
    (check,) = made.result.get_asset_check_evaluations()
    assert check.check_name == "lung_attention"
    assert check.passed is made.report["verdict"]["passed"]
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description == made.report["verdict"]["sentence"]
    assert not check.blocking
