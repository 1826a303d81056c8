"""Three packages, one direction; and nothing heavy at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "cxr_core": {"dagster", "bentoml", "cxr_assets", "bentoml_service", "dagster_mlflow"},
    "cxr_assets": {"bentoml", "bentoml_service"},
    "bentoml_service": {"dagster", "cxr_assets", "dagster_mlflow"},
}
HEAVY = {"torch", "torchvision", "timm", "mlflow", "dagster_mlflow", "great_expectations", "albumentations"}


def imports(path: Path, module_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if module_level else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package: str):
    wrong = {str(path.relative_to(ROOT)): hit for path in (ROOT / package).rglob("*.py")
             if (hit := imports(path) & FORBIDDEN[package])}  # fmt: skip
    assert wrong == {}


def test_assets_import_nothing_heavy_at_module_level():
    files = (ROOT / "cxr_assets").rglob("*.py")
    assert {str(path): hit for path in files if (hit := imports(path, module_level=True) & HEAVY)} == {}


@pytest.mark.parametrize("module", ["cxr_assets.definitions", "cxr_core.cli", "bentoml_service.service"])
def test_entry_points_load_without_heavy_libraries(module: str, tmp_path: Path):
    code = f"import sys, {module}; print(*sorted({sorted(HEAVY)!r} & sys.modules.keys()))".replace(
        f"{sorted(HEAVY)!r} &", f"set({sorted(HEAVY)!r}) &"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_modules_stay_small():
    sizes = {
        path: len(path.read_text().splitlines()) for package in FORBIDDEN for path in (ROOT / package).rglob("*.py")
    }
    assert {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > 280} == {}
