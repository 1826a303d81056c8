"""Synthetic frontal chest films with known truth: anatomy, lesions and their masks, sites, planted defects.

Names are imported on first use: the settings need the spec alone, and should not load OpenCV and pandas for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr_core.dataset.phantom.anatomy import Anatomy, Pose, sample_anatomy, sample_pose
    from cxr_core.dataset.phantom.files import iter_films
    from cxr_core.dataset.phantom.film import Film, render_film
    from cxr_core.dataset.phantom.generate import GENERATOR_VERSION, ensure_phantoms, generate_phantoms
    from cxr_core.dataset.phantom.plan import PlannedFile, plan_files
    from cxr_core.dataset.phantom.sites import SITES
    from cxr_core.dataset.phantom.spec import DEFECTS, PhantomSpec
    from cxr_core.dataset.phantom.truth import PhantomTruth, load_truth, tree_digest

__all__ = [
    "DEFECTS",
    "GENERATOR_VERSION",
    "SITES",
    "Anatomy",
    "Film",
    "PhantomSpec",
    "PhantomTruth",
    "PlannedFile",
    "Pose",
    "ensure_phantoms",
    "generate_phantoms",
    "iter_films",
    "load_truth",
    "plan_files",
    "render_film",
    "sample_anatomy",
    "sample_pose",
    "tree_digest",
]

_HOMES = {
    "anatomy": ("Anatomy", "Pose", "sample_anatomy", "sample_pose"),
    "files": ("iter_films",),
    "film": ("Film", "render_film"),
    "generate": ("GENERATOR_VERSION", "ensure_phantoms", "generate_phantoms"),
    "plan": ("PlannedFile", "plan_files"),
    "sites": ("SITES",),
    "spec": ("DEFECTS", "PhantomSpec"),
    "truth": ("PhantomTruth", "load_truth", "tree_digest"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
