"""From a judged candidate to the model in service, in the store and in MLflow's registry, passed and rejected."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from cxr_assets.gates import _GATES, register_gates
from cxr_core.release.champion import get_champion, judged, models, past_champions, record_candidate, set_champion
from cxr_core.release.manifest import PackageManifest, read_manifest
from cxr_core.store import Artefact

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("pipeline", ["whole"], indirect=True)]

OTHER_MODEL = {"training.seed": 7}


def registry() -> Any:
    from mlflow import MlflowClient

    from cxr_core.settings import load_settings

    return MlflowClient(load_settings().mlflow_uri)


def versions() -> list[Any]:
    return sorted(registry().search_model_versions("name = 'cxr'"), key=lambda version: int(version.version))


def aliases() -> dict[str, int]:
    """Version of each alias."""
    return {name: int(version) for name, version in registry().get_registered_model("cxr").aliases.items()}


def candidate(pipeline: SimpleNamespace) -> tuple[Artefact, PackageManifest]:
    artefact = pipeline.store.get_ref("release_candidate")
    return artefact, read_manifest(pipeline.store.local_tree(artefact))


def test_a_rejected_candidate_is_packaged_and_registered_with_its_reasons_and_builds_no_bento(
    pipeline: SimpleNamespace,
):
    stopped = pipeline.refresh({"gates.min_macro_f1": 0.99})
    artefact, manifest = candidate(pipeline)
    (reason,) = manifest.decision.reasons
    assert stopped.problem == f"release_candidate failed its check promotion_gate: {reason}"
    assert reason.startswith("Macro F1 on test is 0.")

    (version,) = versions()
    run_id = pipeline.instance.get_latest_materialization_event(dg.AssetKey("release_candidate")).run_id
    assert version.tags == {
        "semantic_version": "1.0.0",
        "package_digest": manifest.digest,
        "asset_data_version": artefact.digest,
        "dagster_run_id": run_id,
        "gate": "rejected",
        "reasons": reason,
    }
    assert aliases() == {}
    files = {file.path for file in registry().list_artifacts(version.run_id, "package")}
    assert "package/manifest.json" in files
    assert "package/model.onnx" in files

    assert get_champion(pipeline.store) is None
    assert [row["state"] for row in models(pipeline.store)] == ["rejected"]
    assert not pipeline.materialise("bento").success
    assert not (pipeline.store.root / "objects/bento").exists()


def test_a_passed_candidate_becomes_champion_with_its_bento_and_the_next_one_is_compared_with_it(
    pipeline: SimpleNamespace,
):
    assert pipeline.refresh().problem == ""
    first, manifest = candidate(pipeline)
    rules = {rule.name: rule for rule in manifest.decision.rules}
    assert set(rules) == {
        "macro_f1",
        "export_difference",
        "preprocessing",
        "champion",
        "calibration",
        "shortcut",
        "evidence",
    }
    assert not rules["champion"].needed
    assert rules["calibration"].value == manifest.metrics["calibration"]["expected_calibration_error"]["value"]
    assert get_champion(pipeline.store) == first
    assert aliases() == {"challenger": 1, "champion": 1}

    # Made again, it is the champion itself: its decision stands to the byte, and nothing in service changes.
    assert pipeline.materialise("release_candidate", "bento").success
    assert candidate(pipeline)[0] == first
    assert past_champions(pipeline.store) == judged(pipeline.store) == [first]
    assert len(versions()) == 1

    done = pipeline.refresh(OTHER_MODEL)
    second, other = candidate(pipeline)
    assert other.model != manifest.model
    assert other.decision.champion == first.digest
    compared = next(rule for rule in other.decision.rules if rule.name == "champion")
    assert compared.needed
    assert compared.low is not None
    assert compared.low <= compared.value <= compared.high
    assert compared.passed is (compared.high >= 0)
    assert f"({first.digest[:12]})" in compared.sentence
    serves = second if other.decision.passed else first
    assert (done.problem == "") is other.decision.passed
    assert get_champion(pipeline.store) == serves
    assert aliases()["champion"] == (2 if other.decision.passed else 1)
    assert [version.tags["gate"] for version in versions()][1] == ("passed" if other.decision.passed else "rejected")


def test_reports_of_another_model_and_unpassed_checks_upstream_are_no_evidence(
    pipeline: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    assert pipeline.refresh().problem == ""
    # Another model, with new predictions and evaluation, but the robustness of the old one and a check never run.
    new = {name for name in made_before_bento(pipeline) if "trained_model" in ancestors(pipeline, name)}
    new = {"trained_model", *new} - {"robustness", "release_candidate", "evidence_report"}
    assert pipeline.materialise(*new, changes=OTHER_MODEL).success
    spec = dg.AssetCheckSpec("honest_search", asset="tuned_hyperparameters", blocking=True)
    monkeypatch.setitem(_GATES, spec.asset_key, [])
    register_gates(spec)
    assert not pipeline.materialise("release_candidate", changes=OTHER_MODEL).success
    _, manifest = candidate(pipeline)
    result = next(rule for rule in manifest.decision.rules if rule.name == "evidence")
    assert not result.passed
    assert "robustness was made from another model" in result.sentence
    assert "tuned_hyperparameters has not been through its check honest_search" in result.sentence


def test_a_candidate_judged_before_the_champion_changed_builds_no_bento(pipeline: SimpleNamespace, tmp_path: Any):
    assert pipeline.materialise(*made_before_bento(pipeline)).success
    first, manifest = candidate(pipeline)

    # Somebody else's model goes into service meanwhile.
    def fill(folder: Any) -> None:
        for path in pipeline.store.local_tree(first).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        values = {**json.loads(manifest.content), "backbone": "another"}
        (folder / "manifest.json").write_text(json.dumps(values))

    other = pipeline.store.write_tree("release_candidate", fill)
    record_candidate(pipeline.store, other)
    set_champion(pipeline.store, other)
    assert not pipeline.materialise("bento").success
    assert get_champion(pipeline.store) == other


def ancestors(pipeline: SimpleNamespace, name: str) -> set[str]:
    graph = pipeline.defs.resolve_asset_graph()
    return {key.to_user_string() for key in graph.get_ancestor_asset_keys(dg.AssetKey(name))}


def made_before_bento(pipeline: SimpleNamespace) -> list[str]:
    graph = pipeline.defs.resolve_asset_graph()
    return [
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).is_materializable and key.to_user_string() not in ("bento", "evidence_report", "out_of_fold")
    ]


def test_a_rejection_is_kept_in_the_store_when_mlflow_is_away(
    pipeline: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CXR_MLFLOW_URI", "http://127.0.0.1:9")  # nothing listens there
    stopped = pipeline.refresh({"gates.min_macro_f1": 0.99})
    assert stopped.problem.startswith("release_candidate failed its check promotion_gate: Macro F1 on test is 0.")
    (row,) = models(pipeline.store)
    assert row["state"] == "rejected"
    assert row["reasons"][0] in stopped.problem
