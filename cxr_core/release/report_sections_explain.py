"""The report's section about explanation: the gallery, how well lungs are found, whether the maps can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from cxr_core.release.document import PERCENT, Block, Heading, Missing, Number, Section
from cxr_core.release.report_sections_common import (
    as_table,
    entries,
    fact,
    facts,
    names_of,
    number_within,
    quoted,
    said,
    token,
    why_absent,
)
from cxr_core.release.report_sources import Sources

__all__ = ["explanation"]

_GALLERY, _LUNGS, _FAITH = "gradcam_gallery", "lung_segmentation", "faithfulness"

_LESIONS = "regions/lesions"

# What the maps are measured by: title, pointer below a method, its rivals by title, unit.
_TRIALS: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("area under deletion (less is better)", "deletion", "map", "random", "against_random", ""),
    ("area under insertion (more is better)", "insertion", "map", "random", "against_random", ""),
    ("energy inside the lungs", "regions/lungs", "energy", "uniform", "against_uniform", PERCENT),
    ("energy at the border", "regions/border", "energy", "uniform", "against_uniform", PERCENT),
    ("energy in the padding", "regions/padding", "energy", "uniform", "against_uniform", PERCENT),
    ("maximum on a lesion", "regions/lesions/pointing", "map", "chance", "against_chance", PERCENT),
    ("overlap with a lesion", "regions/lesions/iou", "map", "chance", "against_chance", ""),
)


def explanation(sources: Sources) -> Section:
    """Faithfulness, lung masks, gallery (TRAPS 15)."""
    methods = names_of(sources, _FAITH, "/methods")
    classes = [str(name) for name in entries(sources, _FAITH, "/classes")]
    blocks: list[Block] = [
        quoted(sources, _FAITH),
        as_table(
            ["method", "measured by", "maps", "maps that know nothing", "difference"],
            [
                [said(sources, _FAITH, f"/methods/{token(method)}/title"), title, *_trial(sources, method, trial)]
                for method in methods
                for title, *trial in _TRIALS
                if not (_LESIONS in trial[0] and _no_lesions(sources, method))
            ],
            "Whether the maps show what the network uses, film by film against maps made without it.",
            why_absent(sources, _FAITH, "/methods"),
        ),
        *(
            Missing(f"lesions: {why}")
            for why in dict.fromkeys(_no_lesions(sources, method) for method in methods)
            if why
        ),
        as_table(
            ["method", "class", "deletion, difference", "insertion, difference", "energy in the lungs, difference"],
            [
                [
                    said(sources, _FAITH, f"/methods/{token(method)}/title"),
                    label,
                    *(
                        number_within(
                            sources, _FAITH, f"/methods/{token(method)}/{where}/per_class/{token(label)}", unit
                        )
                        for where, unit in (
                            ("deletion/against_random", ""),
                            ("insertion/against_random", ""),
                            ("regions/lungs/against_uniform", PERCENT),
                        )
                    ),
                ]
                for method in methods
                for label in classes
            ],
            "The same by class: differences from maps that know nothing.",
            why_absent(sources, _FAITH, "/classes"),
        ),
        as_table(
            ["method", "likeness by", "lost from the level", "with all weights drawn anew", "random maps, at most"],
            [
                [
                    said(sources, _FAITH, f"/methods/{token(method)}/title"),
                    measure.replace("_", " "),
                    _lost_at(sources, place := _measure(method, measure)),
                    sources.number(_FAITH, f"{place}/levels/{_last(sources, place)}/overall"),
                    sources.number(_FAITH, f"{place}/null/high"),
                ]
                for method in methods
                for measure in names_of(sources, _FAITH, f"/methods/{token(method)}/randomisation/measures")
            ],
            "Likeness of the maps to those of the network with its weights drawn anew, from the head down.",
            why_absent(sources, _FAITH, "/methods"),
        ),
        *_sentences(sources),
        sources.picture(
            _FAITH,
            "deletion_insertion",
            "Curves of deletion and insertion with those of random maps",
            "Deletion and insertion.",
        ),
        Heading("Lung masks"),
        quoted(sources, _LUNGS),
        as_table(
            ["films", "median Dice", "median overlap (IoU)", "area over the true one", "lungs found"],
            [
                [
                    title,
                    *(sources.number(_LUNGS, f"{where}/{key}") for key in ("dice", "iou", "area_ratio")),
                    sources.number(_LUNGS, f"{where}/found", PERCENT),
                ]
                for title, where in _parts(sources)
            ],
            "Masks of lungs by classical means against the true ones of phantoms.",
            why_absent(sources, _LUNGS, "/quality"),
        ),
        facts(
            [
                fact(sources, "Dice of two fixed ovals", _LUNGS, "/ovals/dice"),
                fact(sources, "masks less ovals", _LUNGS, "/ovals/difference"),
                fact(sources, "test films with lungs found", _LUNGS, "/test_films/overall/found", PERCENT),
                fact(sources, "test films with plausible lungs", _LUNGS, "/test_films/overall/plausible", PERCENT),
            ]
        ),
        sources.picture(_LUNGS, "outlines", "Test films with the outlines of the lungs that were found", "Outlines."),
        Heading("Gallery"),
        *(
            quoted(sources, _GALLERY, f"/agreement/{token(name)}/sentence")
            for name in names_of(sources, _GALLERY, "/agreement")
        ),
        sources.picture(
            _GALLERY,
            "gallery",
            "Films of each class, right, wrong and least certain, each beside its heat maps",
            "Heat maps, to look at: they prove nothing.",
        ),
    ]
    return Section("explanation", "Explanation", tuple(blocks))


def _trial(sources: Sources, method: str, trial: Sequence[str]) -> list[Number]:
    where, own, null, difference, unit = trial
    place = f"/methods/{token(method)}/{where}"
    return [number_within(sources, _FAITH, f"{place}/{key}/overall", unit) for key in (own, null, difference)]


def _no_lesions(sources: Sources, method: str) -> str:
    """Why the maps were not held against lesions; empty where they were."""
    return str(sources.find(_FAITH, f"/methods/{token(method)}/{_LESIONS}/reason") or "")


def _measure(method: str, measure: str) -> str:
    return f"/methods/{token(method)}/randomisation/measures/{token(measure)}"


def _lost_at(sources: Sources, place: str) -> str:
    """The level from which on nothing is left of the likeness; a report writes null where there is none."""
    found = sources.find(_FAITH, place)
    lost = isinstance(found, dict) and "lost_at" in found and found["lost_at"] is None
    return "at no level" if lost else said(sources, _FAITH, f"{place}/lost_at")


def _last(sources: Sources, place: str) -> int:
    return max(len(entries(sources, _FAITH, f"{place}/levels")) - 1, 0)


def _parts(sources: Sources) -> list[tuple[str, str]]:
    """Title and pointer of each part of the phantoms whose masks were judged."""
    if sources.find(_LUNGS, "/quality/overall") is None:
        return []
    found = [("all phantoms", "/quality/overall")]
    for kind in ("per_class", "per_site"):
        found += [(name, f"/quality/{kind}/{token(name)}") for name in names_of(sources, _LUNGS, f"/quality/{kind}")]
    return found


def _sentences(sources: Sources) -> list[Block]:
    return [quoted(sources, _FAITH, f"/sentences/{row}") for row in range(len(entries(sources, _FAITH, "/sentences")))]
