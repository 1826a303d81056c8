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

from cxr_assets.outputs import artefact_output, filled, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model
from cxr_core.settings import load_settings, project_root
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_GROUP = "release"
_CANDIDATE = ("gates", "release", "labels", "preprocessing")
_BENTO = ("release",)
_SAMPLE = 16  # films on which the exported model is compared with PyTorch


@dg.asset(
    group_name=_GROUP,
    deps=["robustness", "gradcam_gallery"],
    kinds={"onnx"},
    **versioned(1, _SETTINGS, *_CANDIDATE),
    description="Model package: weights, ONNX, preprocessing digest, labels, metrics, data digests, and what the "
    "promotion gate decided.",
)
def release_candidate(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    evaluation: Artefact,
    image_index: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Export, judge, package."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.modelling.export import export_onnx
    from cxr_core.release.gate import GateFacts, evaluate_gate
    from cxr_core.release.package import write_package

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    preprocessing = saved.preprocessing
    report = json.loads((shelf.local_tree(evaluation) / "evaluation.json").read_text())
    val = labelled_frames(pixel_cache(now), shelf.read_table(splits), ["val"])
    sample = preprocessing.tensor(val.frames.take(np.arange(min(_SAMPLE, len(val)))))
    exported = export_onnx(saved.model, sample)
    context.log.info(f"ONNX differs from PyTorch by {exported.max_abs_difference:.2g} at most on {len(sample)} films")
    facts = GateFacts(saved.record["preprocessing_digest"], preprocessing.digest, exported.max_abs_difference)
    decision = evaluate_gate(report["overall"], now.gates, facts)
    inputs = {"image_index": image_index, "splits": splits, "evaluation": evaluation, "trained_model": trained_model}
    data = {name: artefact.digest for name, artefact in inputs.items()}

    def fill(folder: Path) -> None:
        write_package(
            folder,
            name=now.release.name,
            version=now.release.version,
            labels=now.labels,
            backbone=saved.record["backbone"],
            dropout=saved.record["dropout"],
            preprocessing=preprocessing,
            metrics={"test": report["overall"], "intervals": report["intervals"], "per_source": report["per_source"]},
            data=data,
            gate=decision,
            onnx_bytes=exported.data,
            weights_bytes=saved.weights,
            export={"opset": exported.opset, "max_abs_difference": exported.max_abs_difference},
        )

    return artefact_output(
        shelf.write_tree("release_candidate", fill),
        now,
        _CANDIDATE,
        passed=decision.passed,
        rules=table(pd.DataFrame([rule.model_dump() for rule in decision.rules])),
        export_difference=exported.max_abs_difference,
    )


@dg.asset(
    group_name=_GROUP,
    kinds={"bentoml"},
    **versioned(1, _SETTINGS, *_BENTO),
    description="The prediction service with the model inside, ready for `bentoml serve`.",
)
def bento(settings: SettingsResource, store: StoreResource, release_candidate: Artefact) -> dg.Output[Artefact]:
    """Build the bento in a process of its own: BentoML reads its store's place once, at import."""
    now = settings.load()
    shelf = store.open()
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
    # The folder differs from machine to machine; what went in does not.
    artefact = shelf.write_json("bento", {"tag": built["tag"], "digest": built["digest"]})
    return artefact_output(
        artefact, now, _BENTO, **filled(Path(built["path"])), tag=built["tag"], digest=built["digest"]
    )
