"""Building a bento, and what must not start."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from serving import environment, run_to_its_end

from bentoml_service.contents import pinned_requirements, service_modules
from cxr_core.digests import digest_file
from cxr_core.errors import CxrError
from cxr_core.release.package import MANIFEST, ONNX, load_manifest

Build = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_bento_holds_the_model_and_its_code(bento: dict[str, str], package: Path) -> None:
    source = Path(bento["path"]) / "src"
    assert load_manifest(source / "model") == load_manifest(package)
    assert (source / "bentoml_service/service.py").is_file()
    assert (source / "cxr_core/release/predictor.py").is_file()
    assert not (source / "cxr_core/training").exists()
    assert (Path(bento["path"]) / "README.md").read_text() == "# What the model is for\n"  # bentoml shows the card
    assert bento["tag"] == f"cxr:1.0.0-{bento['digest'][:12]}"
    requirements = (Path(bento["path"]) / "env/python/requirements.txt").read_text().splitlines()
    assert any(line.startswith("onnxruntime==") for line in requirements)
    assert not any(line.startswith(("torch==", "dagster==")) for line in requirements)


def test_the_same_content_is_the_same_bento(bento: dict[str, str], package: Path, build_command: Build) -> None:
    before = (Path(bento["path"]) / "bento.yaml").read_bytes()
    again = build_command(package, Path(bento["home"]))
    assert json.loads(again.stdout) == {name: bento[name] for name in ("tag", "path", "digest")}
    assert again.stdout.count("\n") == 1
    assert (Path(bento["path"]) / "bento.yaml").read_bytes() == before  # not built twice


def test_a_damaged_bento_is_built_again(tmp_path: Path, package: Path, build_command: Build) -> None:
    built = json.loads(build_command(package, tmp_path / "home").stdout)
    model = Path(built["path"]) / "src/model" / ONNX
    good = digest_file(model)
    model.write_bytes(b"interrupted")
    assert json.loads(build_command(package, tmp_path / "home").stdout) == built
    assert digest_file(model) == good


@pytest.mark.slow
def test_a_bento_survives_export_and_import_into_another_store(bento: dict[str, str], tmp_path: Path) -> None:
    archive = tmp_path / "cxr.bento"
    for home, arguments in ((bento["home"], ["export", bento["tag"]]), (tmp_path / "other", ["import"])):
        command = [sys.executable, "-m", "bentoml", *arguments, str(archive)]
        subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment(BENTOML_HOME=str(home)))
    moved = tmp_path / "other/bentos" / bento["tag"].replace(":", "/") / "src"
    original = Path(bento["path"]) / "src"
    files = [path for path in original.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) > 20
    for path in files:
        assert digest_file(moved / path.relative_to(original)) == digest_file(path)


def test_a_model_that_did_not_pass_the_gate_is_not_packed(
    tmp_path: Path, write_tiny_package: Callable[..., Any], build_command: Build
) -> None:
    write_tiny_package(tmp_path / "model", macro_f1=0.74)
    result = build_command(tmp_path / "model", tmp_path / "home")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "did not pass the promotion gate: Macro F1 on test is 0.74" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("home/bentos/cxr/*"))


@pytest.mark.parametrize("damage", ["altered", "no package", "no folder"])
def test_a_damaged_package_is_not_packed(
    tmp_path: Path, write_tiny_package: Callable[..., Any], build_command: Build, damage: str
) -> None:
    folder = tmp_path / "model"
    if damage == "altered":
        write_tiny_package(folder)
        (folder / ONNX).write_bytes(b"altered")
    elif damage == "no package":
        folder.mkdir()
    result = build_command(folder, tmp_path / "home")
    assert result.returncode == 1
    assert str(folder) in result.stderr
    assert result.stderr.count("\n") == 1


def test_modules_reached_inside_functions_are_packed_and_no_others() -> None:
    modules = service_modules()
    assert "cxr_core/store.py" in modules  # imported inside a function of security.py
    assert "cxr_core/dataset/phantom/spec.py" in modules  # imported by the settings
    assert all(path.is_file() for path in modules.values())
    assert not [
        name for name in modules if name.startswith(("cxr_assets", "cxr_core/training", "bentoml_service/pack"))
    ]


def outside_imports(path: Path) -> set[str]:
    """Top-level names of the libraries that a module imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"cxr_core", "bentoml_service"}


def test_every_library_that_a_packed_module_imports_is_required() -> None:
    distributions = packages_distributions()
    required = {line.partition("==")[0] for line in pinned_requirements()}
    modules = [path for path in service_modules().values() if path.suffix == ".py"]
    imported = {name for path in modules for name in outside_imports(path)}
    missing = {name for name in imported if not {canonicalize_name(d) for d in distributions[name]} & required}
    assert missing == set()


def test_requirements_follow_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# pins\nClick==0.0.1 ; python_version >= '3.11'  # via x\nunused==9\n--hash=sha256:00\n")
    assert pinned_requirements(lock, ["click"]) == ["click==0.0.1"]
    with pytest.raises(CxrError, match="no pin of fastapi"):
        pinned_requirements(lock, ["fastapi"])
    with pytest.raises(CxrError, match=r"missing\.lock"):
        pinned_requirements(tmp_path / "missing.lock", ["click"])


def serve_from_source(tmp_path: Path, package: Path, keys: Path) -> subprocess.CompletedProcess[str]:
    changes = {"CXR_MODEL": str(package), "CXR_API_KEYS": str(keys)}
    return run_to_its_end("bentoml_service.service:CXR", tmp_path, changes)


def test_the_service_does_not_start_without_a_key(tmp_path: Path, package: Path) -> None:
    result = serve_from_source(tmp_path, package, tmp_path / "none.json")
    assert result.returncode != 0
    assert f"No API key is configured in {tmp_path / 'none.json'}: create one with" in result.stdout
    assert "Traceback" not in result.stdout


def test_the_service_does_not_start_with_an_altered_package(
    tmp_path: Path, write_tiny_package: Callable[..., Any], key: str, key_path: Path
) -> None:
    write_tiny_package(tmp_path / "model")
    manifest = (tmp_path / "model" / MANIFEST).read_text()
    (tmp_path / "model" / MANIFEST).write_text(manifest.replace('"clahe": false', '"clahe": true'))
    result = serve_from_source(tmp_path, tmp_path / "model", key_path)
    assert result.returncode != 0
    assert "was made with preprocessing" in result.stdout
    assert "Traceback" not in result.stdout


def test_the_service_does_not_start_without_a_model(tmp_path: Path, key: str, key_path: Path) -> None:
    changes = {"CXR_API_KEYS": str(key_path)}
    result = run_to_its_end("bentoml_service.service:CXR", tmp_path, changes)
    assert result.returncode != 0
    assert "No model to serve" in result.stdout


def test_the_service_loads_no_training_library() -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'pandas', 'dagster', 'mlflow', 'albumentations', 'matplotlib'}"
    code = f"import sys, bentoml_service.service, cxr_core.release.predictor; print({heavy} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=environment()
    )
    assert result.stdout.strip() == "set()"
