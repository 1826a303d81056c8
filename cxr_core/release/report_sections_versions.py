"""Versions of what made the numbers: those that a stored report of the environment names, else those installed here."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from cxr_core.release.document_numbers import NOT_AVAILABLE
from cxr_core.release.report_sections_common import names_of, said, token
from cxr_core.release.report_sources import Sources

__all__ = ["PACKAGES", "python_version", "version_of", "versions"]

_ENVIRONMENT = "environment"

# What a number can depend on; requirements.lock pins these and all the others.
PACKAGES: tuple[str, ...] = (
    "albumentations",
    "grad-cam",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "optuna",
    "pandas",
    "pillow",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)


def python_version(sources: Sources) -> str:
    """Of the environment that is stored, else of this one."""
    return said(sources, _ENVIRONMENT, "/python") if sources.digest(_ENVIRONMENT) else platform.python_version()


def version_of(sources: Sources, name: str) -> str:
    """Version of a package, or ``not available: reason``."""
    if sources.digest(_ENVIRONMENT):
        return said(sources, _ENVIRONMENT, f"/packages/{token(name)}")
    try:
        return version(name)
    except PackageNotFoundError:
        return f"{NOT_AVAILABLE}it is not installed where this was written"


def versions(sources: Sources) -> list[tuple[str, str]]:
    """Each package with its version."""
    return [(name, version_of(sources, name)) for name in names_of(sources, _ENVIRONMENT, "/packages") or PACKAGES]
