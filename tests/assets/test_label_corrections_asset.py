"""Labels that readers gave reach the pipeline as a source of their own, and what follows from them is made again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from pipeline_fixtures import QUICK

# Imported here, where no setting is: the code location that other tests share must not have these labels.
from cxr_assets.dataset import assets, checks
from cxr_assets.definitions import OBSERVE_JOB, PIPELINE_JOB
from cxr_assets.definitions import defs as whole
from cxr_assets.refresh import Refresh, refresh
from cxr_assets.resources import dump_overrides
from cxr_core.dataset.label_corrections import write_corrections
from cxr_core.digests import digest_bytes, digest_file
from cxr_core.settings import load_settings
from cxr_core.store import ArtefactStore

CANARY = "DOE-JANE-19560412"
FILE = "Normal/film00.png"


def read_by(raw: Path, label: str, *files: str) -> list[dict[str, str]]:
    return [
        {
            "content_digest": digest_file(raw / file),
            "label": label,
            "action": "correct",
            "reviewer": "reader-anna",
            "decided": "2026-11-24T12:00:00.000+00:00",
            "model_digest": "a" * 64,
        }
        for file in files
    ]


def module_with(settings: str) -> ModuleType:
    """The assets of the data set as a code location has them that is loaded under the present environment."""
    spec = importlib.util.spec_from_file_location(f"assets_{settings}", str(assets.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXR_LABEL_CORRECTIONS", str(tmp_path / "labels"))
    return tmp_path / "labels"


@pytest.fixture
def corrected(labels: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The data part of a code location whose settings name labels of readers."""
    home = tmp_path / "home"
    for name, value in {"CXR_RAW_DIR": raw, "CXR_STORE": home / "store", "CXR_CACHE_DIR": home / "cache"}.items():
        monkeypatch.setenv(name, str(value))
    data = module_with("corrected")
    sources = [data.raw_images, *data.label_sources]
    defs = dg.Definitions(
        assets=[*sources, data.image_index, data.quarantine, data.splits],
        asset_checks=[checks.image_index_checks, checks.splits_checks],
        resources=whole.resources,
        jobs=[
            dg.define_asset_job(OBSERVE_JOB, selection=sources),
            dg.define_asset_job(
                PIPELINE_JOB,
                selection=dg.AssetSelection.all() - dg.AssetSelection.assets(*(source.key for source in sources)),
            ),
        ],
        executor=dg.in_process_executor,
    )
    store = ArtefactStore(home / "store")
    (home / "dagster").mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(home / "dagster"), overrides={"telemetry": {"enabled": False}}) as instance:

        def run(changes: dict[str, Any] | None = None) -> Refresh:
            overrides = {**QUICK, **(changes or {})}
            config = dump_overrides(overrides)
            return refresh(defs, instance, store, load_settings(overrides), OBSERVE_JOB, PIPELINE_JOB, config)

        def index() -> pd.DataFrame:
            return store.read_table(store.get_ref("image_index")).set_index("file")

        def said_of(name: str) -> dict[str, Any]:
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None
            assert event.asset_materialization is not None
            return {key: value.value for key, value in event.asset_materialization.metadata.items()}

        yield SimpleNamespace(defs=defs, refresh=run, index=index, said_of=said_of, raw=raw, store=store, home=home)


@pytest.mark.slow
def test_a_new_version_of_the_labels_remakes_what_follows_and_the_same_version_nothing(
    corrected: SimpleNamespace, labels: Path
) -> None:
    write_corrections(labels, read_by(corrected.raw, "Normal", FILE))
    first = corrected.refresh()
    assert first.problem == ""
    assert corrected.said_of("image_index")["labels_by_reader"] == 1
    assert corrected.said_of("image_index")["labels_changed"] == 0
    before = corrected.store.get_ref("image_index").digest
    assert corrected.refresh().made == {}

    rows = read_by(corrected.raw, "Tuberculosis", FILE, "Pneumonia/film01.png")
    elsewhere = [{**rows[0], "content_digest": digest_bytes(b"a film that is not here")}]
    written = write_corrections(labels, [*rows, *elsewhere])
    second = corrected.refresh()
    assert second.problem == ""
    assert second.made["image_index"] == "review_labels changed"
    assert "splits" in second.made
    assert corrected.store.get_ref("image_index").digest != before
    assert corrected.index().loc[FILE, ["label", "original_label", "label_source"]].tolist() == [
        "Tuberculosis",
        "Normal",
        "review",
    ]
    said = corrected.said_of("image_index")
    assert (said["labels_by_reader"], said["labels_changed"], said["reader_labels_without_film"]) == (2, 2, 1)
    assert said["label_table"] == f"{written.path.name} ({written.version})"
    assert said["decoded_now"] == 0
    dealt = corrected.store.read_table(corrected.store.get_ref("splits"))
    assert dealt.loc[dealt["sha256"] == digest_file(corrected.raw / FILE), "label"].tolist() == ["Tuberculosis"]
    assert corrected.refresh().made == {}


def test_labels_that_are_malformed_stop_the_pipeline_with_one_sentence_and_make_nothing(
    corrected: SimpleNamespace, labels: Path
) -> None:
    stopped = corrected.refresh()
    assert (stopped.made, "is not there" in stopped.problem) == ({}, True)
    write_corrections(labels, read_by(corrected.raw, CANARY, FILE))
    stopped = corrected.refresh()
    assert stopped.made == {}
    assert "line 2: the label is no class, correct it or name the classes by CXR_LABELS." in stopped.problem
    assert "\n" not in stopped.problem
    assert "Error" not in stopped.problem
    written = [path for path in corrected.home.rglob("*") if path.is_file()]
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_a_run_without_the_labels_is_as_if_there_were_none(corrected: SimpleNamespace, labels: Path) -> None:
    write_corrections(labels, read_by(corrected.raw, "Tuberculosis", FILE))
    corrected.refresh()
    back = corrected.refresh({"label_corrections": ""})
    assert back.made["image_index"] == "its settings changed"
    assert corrected.index().at[FILE, "label"] == "Normal"
    assert "label_source" not in corrected.index().columns


def test_labels_for_one_run_alone_are_refused_because_the_graph_does_not_show_them(
    pipeline: SimpleNamespace, tmp_path: Path
) -> None:
    write_corrections(tmp_path / "labels", read_by(pipeline.raw, "Tuberculosis", FILE))
    stopped = pipeline.refresh({"label_corrections": str(tmp_path / "labels")})
    assert stopped.made == {}
    assert "Set CXR_LABEL_CORRECTIONS in the environment" in stopped.problem


def test_the_version_of_the_index_s_code_is_unchanged_where_no_labels_are_set(labels: Path) -> None:
    def code_version(module: ModuleType) -> str | None:
        return module.image_index.get_asset_spec(dg.AssetKey("image_index")).code_version  # type: ignore[no-any-return]

    with_labels = code_version(module_with("with"))
    del os.environ["CXR_LABEL_CORRECTIONS"]
    without = module_with("without")
    known = load_settings().section_digest("labels", "preprocessing", "quality", "duplicates")[:12]
    assert code_version(without) == f"1-{known}"
    assert with_labels != code_version(without)
    assert without.label_sources == []


_GRAPH = """
import json
from cxr_assets.definitions import CROSS_VALIDATION_JOB, OBSERVE_JOB, PIPELINE_JOB, defs
import dagster as dg
dg.Definitions.validate_loadable(defs)
graph = defs.resolve_asset_graph()
def keys(job):
    layer = defs.resolve_job_def(job).asset_layer
    return sorted(key.to_user_string() for key in layer.selected_asset_keys)
print(json.dumps({
    "parents": sorted(key.to_user_string() for key in graph.get(dg.AssetKey("image_index")).parent_keys),
    "observed": keys(OBSERVE_JOB), "made": keys(PIPELINE_JOB), "folds": keys(CROSS_VALIDATION_JOB)}))
"""


def test_the_code_location_shows_the_labels_and_makes_as_many_assets_as_without(labels: Path) -> None:
    found = subprocess.run([sys.executable, "-c", _GRAPH], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    graph = json.loads(found.stdout)
    assert graph["parents"] == ["raw_images", "review_labels"]
    assert graph["observed"] == ["raw_images", "review_labels"]
    assert len(graph["made"]) == 40  # and the partitions, by a job of their own
    assert graph["folds"] == ["image_index", "out_of_fold", "pixel_cache", "splits"]
