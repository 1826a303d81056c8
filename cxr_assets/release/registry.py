"""MLflow's model registry as a mirror of what the store says of candidates and the champion."""

from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from cxr_assets.mlflow import MlflowResource
from cxr_core.release.manifest import PackageManifest
from cxr_core.store import Artefact

__all__ = ["register_candidate", "register_champion"]

_CHALLENGER = "challenger"  # alias: the latest model that passed the gate
_CHAMPION = "champion"  # alias: the model in service


def register_candidate(
    context: dg.AssetExecutionContext,
    mlflow: MlflowResource,
    package: Artefact,
    folder: Path,
    manifest: PackageManifest,
) -> None:
    """Register a package as a version of its model: passed, or rejected with the reasons.

    Args:
        context: of the asset.
        mlflow: where to.
        package: the package.
        folder: its local folder.
        manifest: what it says of itself.
    """
    decision = manifest.decision
    verdict = "passed" if decision.passed else "rejected"
    tags = {
        "semantic_version": manifest.version,
        "package_digest": manifest.digest,
        "asset_data_version": package.digest,
        "dagster_run_id": context.run.run_id,
        "gate": verdict,
        "reasons": " ".join(decision.reasons),
    }
    with mlflow.run(context, "release_candidate", {"package_digest": manifest.digest, "gate": verdict}) as (_, run):
        run.metrics({f"gate.{rule.name}": rule.value for rule in decision.rules})
        run.folder(folder, "package")
        run.register(manifest.name, "package", tags, (_CHALLENGER,) if decision.passed else ())


def register_champion(
    context: dg.AssetExecutionContext, mlflow: MlflowResource, manifest: PackageManifest, tags: Mapping[str, str]
) -> None:
    """Point the registry's alias at the model that has just gone into service.

    Args:
        context: of the asset.
        mlflow: where to.
        manifest: of its package, which was registered as a candidate.
        tags: of the MLflow run, for example the bento's name.
    """
    with mlflow.run(context, "bento", {"package_digest": manifest.digest, **tags}) as (_, run):
        run.alias(manifest.name, manifest.digest, _CHAMPION)
