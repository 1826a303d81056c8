"""From a planned file to its film and its bytes."""

from __future__ import annotations

from collections.abc import Iterator

from cxr_core.dataset.phantom import defects
from cxr_core.dataset.phantom.anatomy import sample_anatomy, sample_pose
from cxr_core.dataset.phantom.defects import Content
from cxr_core.dataset.phantom.film import Film, render_film
from cxr_core.dataset.phantom.plan import PlannedFile, file_rng, patient_rng, plan_files
from cxr_core.dataset.phantom.sites import SITE_TABLE
from cxr_core.dataset.phantom.spec import PhantomSpec

__all__ = ["build_content", "iter_films", "render_planned"]

_STRIP_MEAN = 112.0  # exposes crops so that their aspect alone is out of range


def render_planned(spec: PhantomSpec, planned: PlannedFile) -> Film:
    """Render the film that a planned file shows, before any defect of encoding; same arguments, same pixels."""
    origin = planned.source or planned
    rng = file_rng(spec.seed, origin.key)
    anatomy = sample_anatomy(patient_rng(spec.seed, origin.patient))
    pose = sample_pose(rng, origin.film)
    mean = None
    if origin.defect == "under_exposed":
        mean = rng.uniform(*defects.UNDER_EXPOSED_MEAN)
    elif origin.defect == "over_exposed":
        mean = rng.uniform(*defects.OVER_EXPOSED_MEAN)
    elif origin.defect == "extreme_aspect":
        mean = _STRIP_MEAN
    collimated = origin.defect != "over_exposed"  # black borders would hold the mean down
    return render_film(
        rng,
        anatomy,
        origin.true_label,
        origin.site,
        pose=pose,
        mean_grey=mean,
        collimated=collimated,
        lesion_density=spec.lesion_density,
    )


def build_content(spec: PhantomSpec, planned: PlannedFile) -> Content:
    """The bytes of a planned file and the masks that belong to it."""
    # Encoding draws from a stream of its own, after the film's: an exact duplicate repeats its source's.
    origin = planned.source if planned.source and planned.defect == "exact_duplicates" else planned
    rng = file_rng(spec.seed, origin.key).spawn(1)[0]
    if planned.defect == "corrupt":
        return defects.corrupt(rng, planned.variant)
    film = render_planned(spec, planned)
    container, variant = planned.container, planned.variant
    match planned.defect:
        case "near_duplicates":
            return defects.near_duplicate(rng, film, variant, container)
        case "truncated":
            return defects.truncated(rng, film, container)
        case "too_small":
            return defects.too_small(rng, film, container)
        case "wrong_content":
            return defects.wrong_content(film, variant)
        case "near_uniform":
            return defects.near_uniform(rng, film, container)
        case "extreme_aspect":
            return defects.extreme_aspect(rng, film, variant, container)
        case "multi_frame":
            return defects.multi_frame(film, container)
        case "tinted":
            return defects.tinted(film, variant, container)
        case _:
            return defects.sound(rng, film, SITE_TABLE[planned.site], container)


def iter_films(spec: PhantomSpec) -> Iterator[tuple[PlannedFile, Film]]:
    """Render the clean films of a data set one by one in memory, wrongly filed ones included, in order of path."""
    for planned in plan_files(spec):
        if planned.defect in ("", "wrong_labels"):
            yield planned, render_planned(spec, planned)
