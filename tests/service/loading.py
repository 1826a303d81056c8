"""Helpers of other test folders, which are no packages: loaded by their path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

_TESTS = Path(__file__).parents[1]


def load(path: str) -> ModuleType:
    """The module at ``path`` below the folder of the tests."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, _TESTS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
