"""release_candidate (the packaged model and the gate's decision on it) -> bento."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from cxr_assets.gates import unpassed_gate
from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, filled, table, versioned
from cxr_assets.release.registry import register_candidate, register_champion
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model, predictions_of
from cxr_core.settings import load_settings, project_root
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_GROUP = "release"
_CANDIDATE = ("gates", "release", "labels", "preprocessing", "split")
_BENTO = ("release",)
_METRICS = ("intervals", "per_source", "calibration")  # parts of the evaluation that the package carries
_SAMPLE = 16  # films on which the exported model is compared with PyTorch


@dg.asset(
    group_name=_GROUP,
    kinds={"onnx", "mlflow"},
    **versioned(3, _SETTINGS, *_CANDIDATE),
    description="Model package: weights, ONNX, preprocessing digest, labels, metrics, data digests, and what the "
    "promotion gate decided; optional parts for heat maps and for 8-bit arithmetic. Registered in MLflow as passed or "
    "rejected.",
)
def release_candidate(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    mlflow: MlflowResource,
    trained_model: Artefact,
    predictions: Artefact,
    evaluation: Artefact,
    robustness: Artefact,
    gradcam_gallery: Artefact,
    image_index: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Export, judge, package, register."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.modelling.export import export_onnx
    from cxr_core.release.champion import record_candidate
    from cxr_core.release.comparison import compare_with_champion
    from cxr_core.release.evidence import gather_evidence
    from cxr_core.release.gate import GateFacts, evaluate_gate
    from cxr_core.release.making_parts import make_parts
    from cxr_core.release.manifest import model_digest
    from cxr_core.release.package import load_manifest, write_package

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    preprocessing, backbone = saved.preprocessing, saved.record["backbone"]
    report = json.loads((shelf.local_tree(evaluation) / "evaluation.json").read_text())
    dealt, cache = shelf.read_table(splits), pixel_cache(now)
    scored = predictions_of(shelf, trained_model, predictions)
    val, test = (labelled_frames(cache, dealt, [name]) for name in ("val", "test"))
    sample = preprocessing.tensor(val.frames.take(np.arange(min(_SAMPLE, len(val)))))
    exported = export_onnx(saved.model, sample)
    context.log.info(f"ONNX differs from PyTorch by {exported.max_abs_difference:.2g} at most on {len(sample)} films")
    parts = make_parts(
        saved.model,
        exported.data,
        val,
        test,
        dealt[dealt["split"] == "test"].sort_values("image_id")["group_id"].tolist(),
        preprocessing,
        now.labels,
        now.split.seed,
        log=context.log.info,
    )
    reports = {"evaluation": evaluation, "robustness": robustness, "gradcam_gallery": gradcam_gallery}
    facts = GateFacts(
        saved.record["preprocessing_digest"],
        preprocessing.digest,
        exported.max_abs_difference,
        comparison=compare_with_champion(
            shelf,
            model_digest(now.labels, backbone, preprocessing.digest, saved.record["weights_digest"]),
            now.labels,
            preprocessing,
            scored,
            test,
            now.split.seed,
            log=context.log.info,
        ),
        calibration=report.get("calibration"),
        evidence=gather_evidence(shelf, trained_model.digest, reports, _unpassed_above(context)),
    )
    decision = evaluate_gate(report["overall"], now.gates, facts)
    inputs = {
        "image_index": image_index, "splits": splits, "predictions": predictions, "trained_model": trained_model,
        **reports,
    }  # fmt: skip
    data = {name: artefact.digest for name, artefact in inputs.items()}

    def fill(folder: Path) -> None:
        write_package(
            folder,
            name=now.release.name,
            version=now.release.version,
            labels=now.labels,
            backbone=backbone,
            dropout=saved.record["dropout"],
            preprocessing=preprocessing,
            metrics={"test": report["overall"], **{name: report[name] for name in _METRICS if name in report}},
            data=data,
            gate=decision,
            onnx_bytes=exported.data,
            weights_bytes=saved.weights,
            export={"opset": exported.opset, "max_abs_difference": exported.max_abs_difference, **parts.export},
            parts=parts.files,
        )

    package = shelf.write_tree("release_candidate", fill)
    record_candidate(shelf, package)
    folder = shelf.local_tree(package)
    register_candidate(context, mlflow, package, folder, load_manifest(folder))
    return artefact_output(
        package,
        now,
        _CANDIDATE,
        passed=decision.passed,
        reasons=" ".join(decision.reasons) or "none",
        judged_against=decision.champion or "no champion yet",
        rules=table(pd.DataFrame([rule.model_dump() for rule in decision.rules])),
        export_difference=exported.max_abs_difference,
        parts=", ".join(sorted(parts.files)) or "none",
    )


def _unpassed_above(context: dg.AssetExecutionContext) -> list[str]:
    """A sentence for each blocking check of any asset upstream that has not passed."""
    upstream = context.job_def.asset_layer.asset_graph.get_ancestor_asset_keys(context.asset_key)
    sentences = (unpassed_gate(context.instance, key) for key in sorted(upstream))
    return [sentence for sentence in sentences if sentence]


@dg.asset(
    group_name=_GROUP,
    kinds={"bentoml"},
    **versioned(2, _SETTINGS, *_BENTO),
    description="The prediction service with the model inside, ready for `bentoml serve`. Its model is the champion, "
    "which later candidates are compared with.",
)
def bento(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    mlflow: MlflowResource,
    release_candidate: Artefact,
) -> dg.Output[Artefact]:
    """Build the bento in a process of its own: BentoML reads its store's place once, at import."""
    from cxr_core.release.champion import require_current, set_champion
    from cxr_core.release.manifest import read_manifest

    now = settings.load()
    shelf = store.open()
    require_current(shelf, release_candidate)
    assert now.bento_home is not None  # load_settings makes every path absolute
    command = [
        sys.executable, "-m", "bentoml_service.packaging",
        "--package", str(shelf.local_tree(release_candidate)),
        "--bento-home", str(now.bento_home),
        "--name", now.release.name,
        "--version", now.release.version,
    ]  # fmt: skip
    lock = project_root() / "requirements.lock"
    if lock.is_file():
        command += ["--requirements", str(lock)]
    if find_spec("bentoml_service") is None:
        raise dg.Failure(
            "The package bentoml_service is not installed: install the project with pip.", allow_retries=False
        )
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "BENTOML_DO_NOT_TRACK": "true"})
    if done.returncode:
        raise dg.Failure(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "The bento build failed.")
    built = json.loads(done.stdout.strip().splitlines()[-1])
    changed = set_champion(shelf, release_candidate)
    manifest = read_manifest(shelf.local_tree(release_candidate))
    context.log.info(f"{manifest.name} {manifest.version} {'is now' if changed else 'stays'} the champion")
    register_champion(context, mlflow, manifest, {"bento": built["tag"]})
    # The folder differs from machine to machine; what went in does not.
    artefact = shelf.write_json("bento", {"tag": built["tag"], "digest": built["digest"]})
    return artefact_output(
        artefact, now, _BENTO, **filled(Path(built["path"])), tag=built["tag"], digest=built["digest"]
    )
