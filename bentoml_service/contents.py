"""What a bento is made of: the modules that the service reaches, its pages, and the pinned packages they need."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bentoml_service.pages.routes import FOLDER, PAGE_FILES
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["DEPENDENCIES", "pinned_requirements", "service_modules"]

# What the modules below import from outside; their own dependencies follow from the installed metadata.
DEPENDENCIES = (
    "bentoml",
    "click",
    "cryptography",
    "fastapi",
    "httptools",  # uvicorn speaks HTTP with it where it is there: the same server everywhere
    "limits",
    "numpy",
    "onnxruntime",
    "openvino",  # faster than ONNX Runtime for some networks: DenseNet-121 here; the service measures
    "opencv-python-headless",
    "pandas",
    "pillow",
    "prometheus-client",
    "pyarrow",
    "pydantic",
    "pydantic-settings",
    "pydicom",
    "python-multipart",
    "universal-pathlib",
    "uvloop",
)

_ENTRIES = (
    "bentoml_service.service",
    "bentoml_service.keys",
    "bentoml_service.audit_commands",
    "bentoml_service.review.commands",
)
_OURS = ("bentoml_service", "cxr_core")
_PAGES = "bentoml_service.pages.routes"  # the module that serves the files beside it
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")


def service_modules(entries: Iterable[str] = _ENTRIES) -> dict[str, Path]:
    """Modules of ours that the entries import, directly or not, at the top or inside a function; with the pages' files.

    Returns:
        Path inside a bento (``cxr_core/errors.py``) to source file, sorted.
    """
    found: dict[str, Path] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        spec = find_spec(name) if name not in found else None
        if spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin)
        waiting.append(name.rpartition(".")[0] or name)
        waiting.extend(module for module in _imports(found[name]) if module.split(".")[0] in _OURS)
    files = {_inside(name, path): path for name, path in found.items()}
    if _PAGES in found:
        files |= {f"bentoml_service/pages/{name}": FOLDER / name for name, _ in PAGE_FILES.values()}
    return dict(sorted(files.items()))


def _imports(path: Path) -> Iterator[str]:
    waiting: list[ast.AST] = [ast.parse(path.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue  # never runs
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if _is_module(node.module, alias.name))


def _is_module(package: str, name: str) -> bool:
    if package.split(".")[0] not in _OURS:
        return False
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return any((Path(folder) / f"{name}.py").is_file() or (Path(folder) / name).is_dir() for folder in folders or ())


def _inside(name: str, path: Path) -> str:
    return f"{name.replace('.', '/')}/__init__.py" if path.name == "__init__.py" else f"{name.replace('.', '/')}.py"


def pinned_requirements(lock: Path | None = None, names: Iterable[str] = DEPENDENCIES) -> list[str]:
    """The packages that the service needs, with their dependencies, as ``name==version`` lines, sorted.

    Args:
        lock: a requirements file of pins to take the versions from; the installed versions otherwise.

    Raises:
        CxrError: a package is not installed, or the lock has no pin of it.
    """
    locked = _read_lock(lock) if lock else None
    pins: dict[str, str] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise CxrError(f"{name} is not installed but the service needs it: install requirements.lock.") from error
        if name not in pins:
            if locked is not None and name not in locked:
                raise CxrError(f"{lock} has no pin of {name}, which the service needs: lock the requirements again.")
            pins[name] = locked[name] if locked is not None else distribution.version
        elif not wanted.extras:
            continue
        for line in distribution.requires or ():
            needed = Requirement(line)
            extras = ("", *wanted.extras)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _read_lock(lock: Path) -> dict[str, str]:
    with explain_os_errors(lock, "reading the locked requirements"):
        lines = lock.read_text().splitlines()
    return {canonicalize_name(match[1]): match[2] for line in lines if (match := _PIN.match(line.strip()))}
