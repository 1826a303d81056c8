"""MLflow's model registry: one version for each model package, found again by the digest of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["PACKAGE_DIGEST", "Refused", "point_alias", "register_version"]

PACKAGE_DIGEST = "package_digest"  # tag of a model version


class Refused(Exception):
    """MLflow is there, but what it is told to do cannot be done; trying again would not help."""


def register_version(
    client: Any, run_id: str, model: str, folder: str, tags: Mapping[str, str], aliases: Sequence[str]
) -> str:
    """Register a folder of a run's artefacts as a version of a model.

    A package that is registered already keeps its version, whose tags are brought up to date.

    Args:
        client: an ``MlflowClient``.
        run_id: MLflow's.
        model: name of the registered model; made where it is missing.
        folder: of the run's artefacts.
        tags: of the version; ``package_digest`` among them.
        aliases: to point at the version.

    Returns:
        The version.

    Raises:
        Refused: the tags name no package.
    """
    from mlflow.exceptions import MlflowException

    if not tags.get(PACKAGE_DIGEST):
        raise Refused(f"A version of {model} needs the tag {PACKAGE_DIGEST}.")
    version = _version_of(client, model, tags[PACKAGE_DIGEST])
    if version is None:
        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
        made = client.create_model_version(model, source, run_id, tags=dict(tags), await_creation_for=0)
        version = str(made.version)
    else:
        for name, value in tags.items():
            client.set_model_version_tag(model, version, name, value)
    for alias in aliases:
        client.set_registered_model_alias(model, alias, version)
    return version


def point_alias(client: Any, model: str, package_digest: str, alias: str) -> None:
    """Point an alias at the version of a package.

    Raises:
        Refused: no version of the model has that package.
    """
    version = _version_of(client, model, package_digest)
    if version is None:
        raise Refused(f"The registered model {model} has no version of package {package_digest[:16]}.")
    client.set_registered_model_alias(model, alias, version)


def _version_of(client: Any, model: str, package_digest: str) -> str | None:
    """The oldest version with that package."""
    quoted = model.replace("'", "''")
    page, found = None, []
    while True:
        versions = client.search_model_versions(f"name = '{quoted}'", page_token=page)
        found += [int(one.version) for one in versions if one.tags.get(PACKAGE_DIGEST) == package_digest]
        page = versions.token
        if not page:
            return str(min(found)) if found else None
