"""Every report about a model -> release_candidate: the packaged model and the gate's decision on it."""

import json
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from cxr_assets.gates import unpassed_gate
from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, table, versioned
from cxr_assets.release.registry import register_candidate
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model, predictions_of
from cxr_core.release.evidence import MODEL_CARD, RECORDS, REPORTS
from cxr_core.settings import load_settings
from cxr_core.store import Artefact, ArtefactStore

_SETTINGS = load_settings()
_GROUP = "release"
_CANDIDATE = ("gates", "release", "labels", "preprocessing", "split")
_METRICS = (
    "intervals",
    "per_source",
    "macro_over_sources",
    "calibration",
)  # parts of the evaluation that the package carries
_SAMPLE = 16  # films on which the exported model is compared with PyTorch
_EVIDENCE = tuple(dict.fromkeys((*REPORTS, *RECORDS)))


@dg.asset(
    group_name=_GROUP,
    ins={name: dg.AssetIn(name) for name in _EVIDENCE},
    kinds={"onnx", "mlflow"},
    **versioned(5, _SETTINGS, *_CANDIDATE),
    description="Model package: weights, ONNX, preprocessing digest, labels, metrics, data digests, and what the "
    "promotion gate decided, and the model card; optional parts: calibration, operating points, prediction sets, film "
    "detector, heat maps, 8-bit arithmetic. Registered in MLflow as passed or rejected.",
)
def release_candidate(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    mlflow: MlflowResource,
    trained_model: Artefact,
    predictions: Artefact,
    image_index: Artefact,
    splits: Artefact,
    **evidence: Artefact,
) -> dg.Output[Artefact]:
    """Export, judge, package, register."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.modelling.export import export_onnx
    from cxr_core.release.champion import record_candidate
    from cxr_core.release.comparison import compare_with_champion
    from cxr_core.release.evidence import gather_evidence, gather_verdicts
    from cxr_core.release.gate import GateFacts, evaluate_gate
    from cxr_core.release.making_parts import make_parts
    from cxr_core.release.manifest import model_digest
    from cxr_core.release.package import load_manifest, write_package

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    preprocessing, backbone = saved.preprocessing, saved.record["backbone"]
    report = json.loads((shelf.local_tree(evidence["evaluation"]) / REPORTS["evaluation"]).read_text())
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
        records=_records(shelf, evidence),
    )
    reports = {name: evidence[name] for name in REPORTS}
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
        verdicts=gather_verdicts(shelf, reports),
    )
    decision = evaluate_gate(report["overall"], now.gates, facts)
    inputs = {
        "image_index": image_index, "splits": splits, "predictions": predictions, "trained_model": trained_model,
        **evidence,
    }  # fmt: skip
    data = {name: artefact.digest for name, artefact in inputs.items()}
    written = shelf.local_tree(evidence["model_card"])
    card = {name: (written / name).read_bytes() for name in MODEL_CARD}

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
            documents=card,
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


def _records(store: ArtefactStore, evidence: dict[str, Artefact]) -> dict[str, bytes]:
    """Files that the artefacts of :data:`RECORDS` hold for the optional parts of the package, by name."""
    from cxr_core.release.parts import PARTS

    wanted = [file for part in PARTS.values() for file in (part.file, *part.recorded)]
    folders = [store.local_tree(evidence[name]) for name in RECORDS]
    return {file: (folder / file).read_bytes() for folder in folders for file in wanted if (folder / file).is_file()}
