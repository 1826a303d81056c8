"""Build a bento that holds everything it serves: the model package, the code, the pinned requirements.

``python -m bentoml_service.packaging --package DIR --bento-home DIR --name cxr --version 1.0.0`` prints one JSON line.
The tag carries a digest of the content, so the same content is the same bento and is built once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bentoml_service.contents import pinned_requirements, service_modules
from bentoml_service.inference import BUNDLED, require_promoted
from cxr_core.digests import digest_file, digest_json
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.release.package import MANIFEST, PackageManifest, load_manifest

__all__ = ["BuiltBento", "build_bento", "main"]

_SERVICE = "bentoml_service.service:CXR"
_CARD = "model_card.md"  # of the package: what bentoml shows as the bento's description
_PYTHON = "3.11"  # of a container built from the bento; requires-python of the project
_TAG_DIGITS = 12  # of the digest in the tag: 48 bits among the bentos of one version


@dataclass(frozen=True)
class BuiltBento:
    """A bento in its store.

    Attributes:
        tag: ``name:version-digest``, as ``bentoml serve`` takes it.
        path: its folder.
        digest: SHA-256 of what went into it, 64 hexadecimal digits.
    """

    tag: str
    path: str
    digest: str


def build_bento(
    package_folder: Path,
    bento_home: Path,
    name: str,
    version: str,
    requirements: Path | None = None,
    labels: Mapping[str, str] | None = None,
) -> BuiltBento:
    """Build the bento of a model package, or return the one that is there already.

    Args:
        package_folder: a package that passed the promotion gate.
        bento_home: BentoML's store; made if it is not there.
        name, version: of the bento; the tag is ``name:version-digest``.
        requirements: file of pins; the installed versions otherwise.
        labels: further labels of the bento.

    Raises:
        CxrError: the package is damaged or was not promoted, or BentoML refuses.
    """
    manifest = load_manifest(package_folder)
    require_promoted(package_folder, manifest)
    _use_home(bento_home)
    pins = pinned_requirements(requirements)
    all_labels = {"model": manifest.name, "model_version": manifest.version, **(labels or {})}
    with tempfile.TemporaryDirectory(prefix="cxr-bento-") as scratch:
        context = Path(scratch)
        files = _fill(context, package_folder, manifest)
        digest = digest_json({"files": files, "requirements": pins, "labels": all_labels})
        return _build_once(context, files, name.lower(), f"{version}-{digest[:_TAG_DIGITS]}", pins, all_labels, digest)


def _use_home(bento_home: Path) -> None:
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"  # before the import; BentoML takes no other value for yes
    os.environ["BENTOML_HOME"] = str(bento_home)
    with explain_os_errors(bento_home, "making the bento store"):
        bento_home.mkdir(parents=True, exist_ok=True)
    from bentoml._internal.configuration.containers import BentoMLContainer  # there is no public way to ask

    if Path(BentoMLContainer.bentoml_home.get()).resolve() != bento_home.resolve():
        raise CxrError(f"BentoML was loaded with another store than {bento_home}: build in a process of its own.")


def _fill(context: Path, package_folder: Path, manifest: PackageManifest) -> dict[str, str]:
    """Lay out the bento's files; returns their digests by relative path."""
    sources = {f"{BUNDLED.name}/{name}": package_folder / name for name in (MANIFEST, *manifest.files)}
    sources |= service_modules()
    for relative, source in sources.items():
        with explain_os_errors(source, "copying into the bento"):
            (context / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, context / relative)
    return {relative: digest_file(context / relative) for relative in sorted(sources)}


def _build_once(
    context: Path,
    files: Mapping[str, str],
    name: str,
    version: str,
    pins: Sequence[str],
    labels: Mapping[str, str],
    digest: str,
) -> BuiltBento:
    import bentoml
    from bentoml.exceptions import BentoMLException, NotFound

    tag = f"{name}:{version}"
    try:
        with contextlib.suppress(NotFound):
            there = bentoml.bentos.get(tag)
            if _holds(Path(there.path) / "src", files):
                return BuiltBento(tag, there.path, digest)
            bentoml.bentos.delete(tag)  # an interrupted build, or altered since
        card = context / BUNDLED.name / _CARD
        bento = bentoml.build(
            _SERVICE,
            description=card.read_text() if card.is_file() else None,
            name=name,
            version=version,
            labels=dict(labels),
            build_ctx=str(context),
            python={"packages": list(pins), "lock_packages": False},
            docker={"python_version": _PYTHON, "env": {"BENTOML_DO_NOT_TRACK": "true"}},
        )
    except BentoMLException as error:
        raise CxrError(f"BentoML cannot build {tag}: {error}.") from error
    if not _holds(Path(bento.path) / "src", files):
        raise CxrError(
            f"{bento.path} lacks files that were given to BentoML: see that no .bentoignore leaves them out."
        )
    return BuiltBento(tag, bento.path, digest)


def _holds(folder: Path, files: Mapping[str, str]) -> bool:
    return all((folder / name).is_file() and digest_file(folder / name) == digest for name, digest in files.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: one JSON line with tag, path and digest, or one sentence on standard error and status 1."""
    parser = argparse.ArgumentParser(prog="python -m bentoml_service.packaging", description="Build a bento.")
    parser.add_argument("--package", type=Path, required=True, help="folder of a model package that passed the gate")
    parser.add_argument("--bento-home", type=Path, required=True, help="BentoML's store")
    parser.add_argument("--name", default="cxr", help="name of the bento")
    parser.add_argument("--version", required=True, help="MAJOR.MINOR.PATCH")
    parser.add_argument("--requirements", type=Path, help="file of pins; default: the installed versions")
    given = parser.parse_args(arguments)
    home = given.bento_home.expanduser().resolve()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # BentoML talks on standard output
            built = build_bento(given.package, home, given.name, given.version, given.requirements)
    except CxrError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(built)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
