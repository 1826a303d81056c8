"""robustness_conditions and robustness as assets: a partition a run, one pass a condition, nothing decoded again."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pipeline_fixtures import QUICK

from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource
from cxr_core.errors import CxrError
from cxr_core.robustness.sweep import PARTITIONS, conditions_in, sweep
from cxr_core.store import Artefact, ArtefactStore

CHANGES: dict[str, Any] = {**QUICK, "split.test_fraction": 0.4}
UPSTREAM = ("trained_model", "splits", "predictions", "calibrated_model")


@pytest.fixture
def site(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A store with splits, an untrained model, its predictions and its temperature; ``run`` makes assets of them."""
    from cxr_assets.robustness import assets, conditions
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.dataset.opening import pixel_cache, preprocessing_of
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.evaluation.predict import predict_logits
    from cxr_core.evaluation.temperature import TemperatureScaling
    from cxr_core.modelling.network import build_classifier
    from cxr_core.settings import load_settings
    from cxr_core.training.saved_model import save_model

    monkeypatch.setattr("cxr_assets.gates._GATES", {})  # these inputs stand alone: nothing has checked them
    for name, value in {"RAW_DIR": raw, "STORE": tmp_path / "store", "CACHE_DIR": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"CXR_{name}", str(value))
    now = load_settings(CHANGES)
    store, preprocessing, cache = ArtefactStore(tmp_path / "store"), preprocessing_of(now), pixel_cache(now)
    hashed = hash_files(raw, scan(raw, now.labels), tmp_path / "cache", workers=1)
    ingest(raw, hashed, cache, preprocessing, now.quality)
    index = build_index(raw, hashed, cache, now.labels, now.quality, now.duplicates)
    dealt = make_splits(index, now.split)
    model = build_classifier(now.network, len(now.labels), 0).model.eval()
    model.head.weight.data.mul_(5)

    def fill(folder: Path) -> None:
        save_model(folder, model.state_dict(), backbone=now.network.backbone, dropout=now.network.dropout,
                   labels=now.labels, preprocessing=preprocessing, training={})  # fmt: skip

    trained = store.write_tree("trained_model", fill)
    test = labelled_frames(cache, dealt, ["test"])
    groups = dealt.set_index("image_id")["group_id"].loc[list(test.keys)].tolist()
    logits = predict_logits(model, test.frames, preprocessing)
    rows = dealt.set_index("image_id").loc[list(test.keys)].reset_index()
    predictions = rows[["image_id", "split", "label_index", "source", "group_id"]].assign(
        **{f"l_{k}": logits[:, k] for k in range(3)}, trained_model=trained.digest
    )
    record = TemperatureScaling(temperature=2.0, films=30, groups=30).model_dump_json().encode()
    study = {"trained_model": trained.digest}
    made = {
        "trained_model": trained,
        "splits": store.write_table("splits", dealt),
        "predictions": store.write_table("predictions", predictions),
        "calibrated_model": store.write_report(
            "calibrated_model", "calibrated_model.json", study, {}, files={"temperature.json": record}
        ),
    }
    for name, artefact in made.items():
        store.set_ref(name, artefact)
    settings = SettingsResource(overrides=CHANGES)
    shelf = StoreResource(settings=settings)
    resources = {"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)}
    known = [*(dg.AssetSpec(name) for name in (*UPSTREAM, "pixel_cache")), *conditions.ASSETS, *assets.ASSETS]

    def swept(partition: str) -> pd.DataFrame:
        found = conditions_in(partition, now.robustness)
        return sweep(found, test, groups, model, preprocessing, now.robustness.seed)

    with dg.DagsterInstance.ephemeral() as instance:

        def run(name: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
            return dg.materialize(
                [*known, *assets.CHECKS], resources=resources, instance=instance, partition_key=partition,
                selection=dg.AssetSelection.assets(name), raise_on_error=False,
            )  # fmt: skip

        yield SimpleNamespace(run=run, store=store, test=test, trained=trained, swept=swept, raw=raw)


def test_two_partitions_are_swept_in_runs_of_their_own_without_decoding_and_then_judged_with_the_rest(
    site: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_core.modelling.network import Classifier

    shown: list[int] = []
    embed = Classifier.embed

    def counting(self: Classifier, batch: Any) -> Any:
        shown.append(len(batch))
        return embed(self, batch)

    decoded: list[Any] = []

    def noting(file: Any, *_: Any, **__: Any) -> None:
        decoded.append(file)
        raise OSError("no film is decoded here")

    monkeypatch.setattr(Classifier, "embed", counting)
    monkeypatch.setattr(Image, "open", noting)
    shutil.rmtree(site.raw)  # what is not there cannot be read again
    n = len(site.test)
    for partition, conditions in {"gamma": 5, "clinical": 1}.items():
        shown.clear()
        result = site.run("robustness_conditions", partition)
        assert result.success
        assert sum(shown) == n * conditions  # one pass of the model a condition
        table = site.store.read_table(site.store.get_ref(f"robustness_conditions/{partition}"))
        assert len(table) == n * conditions
        assert table["trained_model"].unique().tolist() == [site.trained.digest]
        expected = site.swept(partition)
        assert table["condition"].tolist() == expected["condition"].tolist()
        assert np.array_equal(table["l_0"].to_numpy(), expected["l_0"].to_numpy())
        (event,) = result.asset_materializations_for_node("robustness_conditions")
        assert event.partition == partition

    assert decoded == []
    lacking = site.run("robustness")
    assert not lacking.success  # the other partitions have not been swept
    for partition in set(PARTITIONS) - {"gamma", "clinical"}:
        made = site.swept(partition).assign(trained_model=site.trained.digest)
        site.store.set_ref(f"robustness_conditions/{partition}", site.store.write_table("robustness_conditions", made))
    shown.clear()
    result = site.run("robustness")
    assert result.success
    assert shown == []  # the report passes nothing through the model
    folder = site.store.local_tree(site.store.get_ref("robustness"))
    assert {path.name for path in folder.iterdir()} == {
        "robustness.json", "conditions.parquet", "scores.png", "confidence.png", "degradation.png",
        "accuracy_loss.png", "corrupted_films.png", "severities.png",
    }  # fmt: skip
    report = json.loads((folder / "robustness.json").read_text())
    assert report["trained_model"] == site.trained.digest
    assert len(report["conditions"]) == 1 + 2 + 14 * 5
    assert set(report["corruptions"]) == set(PARTITIONS) - {"clinical", "severe"}
    clean = report["conditions"]["clean"]
    answered = pd.read_parquet(folder / "conditions.parquet").set_index("condition")
    assert answered.loc["clean", "accuracy"] == pytest.approx(clean["accuracy"])
    logits = site.store.read_table(site.store.get_ref("predictions"))[["l_0", "l_1", "l_2"]].to_numpy(np.float64)
    powers = np.exp(logits / 2 - (logits / 2).max(axis=1, keepdims=True))
    cooled = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1).mean()
    assert clean["mean_confidence"] == pytest.approx(cooled)  # of the calibrated probabilities
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.blocking) == ("robustness", report["verdict"]["passed"], False)
    assert check.description == report["verdict"]["sentence"]


def test_conditions_are_read_together_and_those_of_another_model_are_refused(site: SimpleNamespace) -> None:
    from cxr_assets.robustness.conditions import conditions_of

    artefacts = {
        name: site.store.write_table(
            "robustness_conditions", site.swept(name).assign(trained_model=site.trained.digest)
        )
        for name in ("severe", "clinical")
    }
    whole = conditions_of(site.store, site.trained, artefacts)
    assert whole["condition"].drop_duplicates().tolist() == ["clinical", "severe"]
    assert len(whole) == 2 * len(site.test)
    few = conditions_of(site.store, site.trained, artefacts, ["image_id", "condition"])
    assert set(few.columns) == {"image_id", "condition", "trained_model"}
    old = site.store.write_table("robustness_conditions", site.swept("severe").assign(trained_model="f" * 64))
    with pytest.raises(CxrError, match="Partition severe"):
        conditions_of(site.store, site.trained, {**artefacts, "severe": old})
    with pytest.raises(CxrError, match="no partition"):
        conditions_of(site.store, site.trained, {})


def test_an_asset_over_several_partitions_is_given_each_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    parts = dg.StaticPartitionsDefinition(["b", "a"])
    given: list[Any] = []

    @dg.asset(partitions_def=parts)
    def spread(context: dg.AssetExecutionContext, store: StoreResource) -> Artefact:
        return store.open().write_json("spread", {"partition": context.partition_key})

    @dg.asset(partitions_def=parts)
    def beside(spread: Artefact) -> Artefact:
        given.append(spread)
        return spread

    @dg.asset(ins={"spread": dg.AssetIn(partition_mapping=dg.AllPartitionMapping())})
    def gathered(spread: dict[str, Artefact]) -> Artefact:
        given.append(spread)
        return spread["a"]

    settings = SettingsResource()
    shelf = StoreResource(settings=settings)
    resources = {"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)}
    every = [spread, beside, gathered]
    with dg.DagsterInstance.ephemeral() as instance:
        for key in ("a", "b"):
            assert dg.materialize([spread, beside], resources=resources, instance=instance, partition_key=key).success
        assert dg.materialize(every, resources=resources, instance=instance, selection=[gathered]).success
    store = shelf.open()
    assert [store.read_json(artefact)["partition"] for artefact in given[:2]] == ["a", "b"]  # one partition to one
    assert list(given[2]) == ["a", "b"]
    assert [store.read_json(artefact)["partition"] for artefact in given[2].values()] == ["a", "b"]
