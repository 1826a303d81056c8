"""A refresh makes what is missing or out of date, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pandas as pd
import pytest

from cxr_assets.staleness import Graph, next_wave

EVERYTHING = {
    "image_index", "quarantine", "pixel_cache", "splits", "eda_class_distribution", "eda_image_properties",
    "eda_pixel_intensities", "eda_texture", "eda_edges", "eda_exposure", "eda_quality_table", "eda_samples",
    "eda_duplicates_found", "eda_source_by_class",
}  # fmt: skip


def index_of(pipeline: SimpleNamespace) -> pd.DataFrame:
    return pipeline.store.read_table(pipeline.store.get_ref("image_index"))


def decoded_now(pipeline: SimpleNamespace) -> int:
    event = pipeline.instance.get_latest_materialization_event(dg.AssetKey("image_index"))
    return event.asset_materialization.metadata["decoded_now"].value


def test_everything_once_then_nothing(pipeline: SimpleNamespace):
    first = pipeline.refresh()
    assert (set(first.made), first.fresh, first.problem) == (EVERYTHING, 0, "")
    assert decoded_now(pipeline) == 60
    again = pipeline.refresh()
    assert (again.made, again.fresh, again.problem) == ({}, len(EVERYTHING), "")


def test_ten_new_films_decode_ten_and_redo_what_depends_on_them(pipeline: SimpleNamespace, film, encode):
    pipeline.refresh()
    for number in range(10):
        (pipeline.raw / f"Normal/new{number}.png").write_bytes(encode(film(500 + number)))
    second = pipeline.refresh()
    assert second.problem == ""
    assert decoded_now(pipeline) == 10
    assert len(index_of(pipeline)) == 70
    assert "quarantine" in second.made
    assert second.made["image_index"] == "raw_images changed"


def test_a_change_that_changes_no_content_stops_there(pipeline: SimpleNamespace):
    pipeline.refresh()
    film = pipeline.raw / "Normal/film00.png"
    film.rename(pipeline.raw / "Normal/renamed.png")  # the sidecar no longer knows its patient and source
    shutil.copy(pipeline.raw / "Normal/renamed.png", film)  # and now it does again, with a copy beside
    (pipeline.raw / "Normal/renamed.png").unlink()
    assert pipeline.refresh().made == {}


def test_only_what_reads_a_setting_is_redone(pipeline: SimpleNamespace):
    pipeline.refresh()
    changed = pipeline.refresh({"split.seed": 7})
    assert "image_index" not in changed.made
    assert changed.made["splits"] == "its settings changed"
    assert pipeline.refresh({"split.seed": 7}).made == {}


def test_an_artefact_that_is_gone_is_made_again(pipeline: SimpleNamespace):
    pipeline.refresh()
    ref = pipeline.store.get_ref("quarantine")
    (pipeline.store.root / ref.path).unlink()
    assert pipeline.refresh().made == {"quarantine": "its content is not in the store"}


def test_a_deleted_pixel_cache_costs_one_pass_and_nothing_else(pipeline: SimpleNamespace):
    (pipeline.raw / "Normal/film00.png").rename(pipeline.raw.parent / "later.png")
    pipeline.refresh()
    (pipeline.raw.parent / "later.png").rename(pipeline.raw / "Normal/film00.png")
    assert pipeline.refresh().problem == ""  # the cache has two shards now; built anew it will have one
    shutil.rmtree(pipeline.raw.parent / "home/cache/pixels")
    again = pipeline.refresh()
    assert (set(again.made), again.problem) == ({"image_index", "pixel_cache"}, "")
    assert decoded_now(pipeline) == 60
    assert pipeline.refresh().made == {}


def test_a_failing_gate_stops_everything_downstream_and_says_why(pipeline: SimpleNamespace):
    stopped = pipeline.refresh({"gates.min_images_per_class": 21})
    assert "image_index failed its check images_per_class" in stopped.problem
    assert "observed 20" in stopped.problem
    assert set(stopped.made) == {"image_index"}
    for name in EVERYTHING - {"image_index"}:
        assert pipeline.instance.get_latest_materialization_event(dg.AssetKey(name)) is None
    assert pipeline.refresh().problem == ""  # the limit is right again: it goes on


def test_a_gate_cannot_be_walked_around_by_selection(pipeline: SimpleNamespace):
    pipeline.refresh({"gates.min_images_per_class": 21})
    result = pipeline.materialise("splits")
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "failed its check images_per_class" in failure.step_failure_data.error.to_string()


def test_an_unchecked_new_version_is_not_relied_on(pipeline: SimpleNamespace):
    pipeline.refresh()
    job = dg.define_asset_job("unchecked", selection=dg.AssetSelection.assets("image_index").without_checks())
    unchecked = dg.Definitions.merge(pipeline.defs, dg.Definitions(jobs=[job])).resolve_job_def("unchecked")
    assert unchecked.execute_in_process(instance=pipeline.instance).success
    result = pipeline.materialise("splits")
    assert not result.success
    assert pipeline.refresh().problem == ""


def test_a_warning_does_not_stop(pipeline: SimpleNamespace):
    done = pipeline.refresh({"quality.under_exposed_mean": 255.0, "gates.max_exposure_share": 0.1})
    assert done.problem == ""
    key = dg.AssetCheckKey(dg.AssetKey("image_index"), "exposure_share")
    record = pipeline.instance.get_latest_asset_check_evaluation_record(key)
    assert not record.evaluation.passed
    assert record.evaluation.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda raw: shutil.rmtree(raw), "is not there: set CXR_RAW_DIR"),
        (lambda raw: shutil.rmtree(raw / "Tuberculosis"), "CXR_LABELS=Normal,Pneumonia"),
        (lambda raw: shutil.copytree(raw / "Normal", raw / "Covid"), "in the folder Covid, which is no class"),
        (lambda raw: (raw / "metadata.csv").write_text("a,b\n1,2\n"), "has no column 'file'"),
    ],
)
def test_bad_input_is_one_sentence(pipeline: SimpleNamespace, change, sentence: str):
    change(pipeline.raw)
    stopped = pipeline.refresh()
    problem = stopped.problem
    assert stopped.made == {}
    assert "Error" not in problem
    assert sentence in problem
    assert "\n" not in problem


def test_two_classes_run_when_they_are_named(pipeline: SimpleNamespace):
    shutil.rmtree(pipeline.raw / "Tuberculosis")
    sidecar = pipeline.raw / "metadata.csv"
    sidecar.write_text("\n".join(row for row in sidecar.read_text().splitlines() if "Tuberculosis" not in row))
    assert pipeline.refresh({"labels": ["Normal", "Pneumonia"]}).problem == ""
    assert set(index_of(pipeline)["label"]) == {"Normal", "Pneumonia"}


def test_data_versions_are_content_digests(pipeline: SimpleNamespace):
    pipeline.refresh()
    for name in EVERYTHING:
        event = pipeline.instance.get_latest_materialization_event(dg.AssetKey(name))
        assert event.asset_materialization.tags["dagster/data_version"] == pipeline.store.get_ref(name).digest


def test_patients_reach_no_artefact_and_no_event(pipeline: SimpleNamespace):
    sidecar = pipeline.raw / "metadata.csv"
    sidecar.write_text(re.sub(r",P(\d)", r",CANARY-DOE-\1", sidecar.read_text()))
    assert pipeline.refresh().problem == ""
    written = [path for path in pipeline.raw.parent.joinpath("home").rglob("*") if path.is_file()]
    assert len(written) > 30
    assert [path for path in written if b"CANARY" in path.read_bytes() or "CANARY" in str(path)] == []
    tables = [
        pipeline.store.read_table(pipeline.store.get_ref(name)) for name in ("image_index", "splits", "pixel_cache")
    ]
    assert not any("CANARY" in table.to_csv() for table in tables)


A, B, C, D = (dg.AssetKey(name) for name in "abcd")


@pytest.mark.parametrize(
    ("stale", "wave"),
    [
        ({A, B, C, D}, [A, B, C, D]),
        ({A}, [A]),
        ({A, C}, [A]),  # b stands between: whether c's input changes is not known yet
        ({B, D}, [B]),  # c stands between b and d
        ({D}, [D]),
    ],
)
def test_a_wave_holds_what_can_be_made_now(stale: set[dg.AssetKey], wave: list[dg.AssetKey]):
    chain = {A: frozenset(), B: frozenset({A}), C: frozenset({B}), D: frozenset({C})}
    graph = Graph(chain, dict.fromkeys(chain, "1"), dict.fromkeys(chain, ""))
    assert next_wave(graph, dict.fromkeys(stale, "x")) == wave


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["whole"], indirect=True)
def test_weights_that_cannot_be_had_are_one_sentence_that_names_the_setting(pipeline: SimpleNamespace, tmp_path: Path):
    stopped = pipeline.refresh({"network.weights": str(tmp_path / "nowhere.pt")})
    assert stopped.problem.startswith("pretrained_features: ")  # the first that needs them
    assert "nowhere.pt" in stopped.problem
    assert "CXR_NETWORK__WEIGHTS" in stopped.problem
    assert "\n" not in stopped.problem
    assert "splits" in stopped.made
    assert "tuned_hyperparameters" not in stopped.made
