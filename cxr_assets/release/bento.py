"""release_candidate -> bento: the promoted model as a service."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import dagster as dg

from cxr_assets.mlflow import MlflowResource
from cxr_assets.outputs import artefact_output, filled, versioned
from cxr_assets.release.registry import register_champion
from cxr_assets.resources import SettingsResource, StoreResource
from cxr_core.settings import load_settings, project_root
from cxr_core.store import Artefact

_BENTO = ("release",)


@dg.asset(
    group_name="release",
    kinds={"bentoml"},
    **versioned(2, load_settings(), *_BENTO),
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
