"""The report's sections about trust: shortcut verdict, pictures that are no chest films."""

from __future__ import annotations

from cxr_core.release.document import PERCENT, Block, Section
from cxr_core.release.report_sections_common import (
    as_table,
    entries,
    labels_of,
    names_of,
    paragraph,
    quoted,
    said,
    token,
    why_absent,
)
from cxr_core.release.report_sources import Sources

__all__ = ["film_detector", "shortcut"]

_SHORTCUT, _DETECTOR = "shortcut_audit", "film_detector"


def shortcut(sources: Sources) -> Section:
    """What can be told without lungs, and how much of the model's score that is (TRAPS 1, 4)."""
    views = entries(sources, _SHORTCUT, "/views")
    blocks: list[Block] = [
        quoted(sources, _SHORTCUT),
        as_table(
            ["what is looked at", "without lungs", "macro AUC", "95 % bound of permuted labels", "accuracy"],
            [
                [
                    said(sources, _SHORTCUT, f"/views/{row}/title"),
                    said(sources, _SHORTCUT, f"/views/{row}/lung_free"),
                    sources.number(_SHORTCUT, f"/views/{row}/macro_auc"),
                    sources.number(_SHORTCUT, f"/views/{row}/null/high"),
                    sources.number(_SHORTCUT, f"/views/{row}/accuracy", PERCENT),
                ]
                for row in range(len(views))
            ],
            "The label told from views of the films, out of fold, over all films.",
            why_absent(sources, _SHORTCUT, "/views"),
        ),
        as_table(
            ["view without lungs", "its macro AUC on test", "share of the model's score above chance"],
            [
                [
                    said(sources, _SHORTCUT, f"/model/views/{name}/view"),
                    sources.number(_SHORTCUT, f"/model/views/{name}/view_auc"),
                    sources.number(_SHORTCUT, f"/model/views/{name}", PERCENT),
                ]
                for name in names_of(sources, _SHORTCUT, "/model/views")
            ],
            "How much of the model's macro AUC above one half is had without lungs.",
            why_absent(sources, _SHORTCUT, "/model/views"),
        ),
        paragraph(
            "The model's AUC of a disease against normal is {pooled} over all sources together and {inside} inside "
            "them, a difference of {difference}. Label and source go together with a Cramér's V of {v}.",
            pooled=sources.number(_SHORTCUT, "/model/inside_against_pooled/pooled"),
            inside=sources.number(_SHORTCUT, "/model/inside_against_pooled/inside"),
            difference=sources.number(_SHORTCUT, "/model/inside_against_pooled/difference"),
            v=sources.number(_SHORTCUT, "/source/cramers_v"),
        ),
        as_table(
            ["mark", "films", *(f"in {label}" for label in labels_of(sources))],
            [
                [
                    said(sources, _SHORTCUT, f"/marks/{row}/title"),
                    sources.number(_SHORTCUT, f"/marks/{row}/films"),
                    *(
                        sources.number(_SHORTCUT, f"/marks/{row}/by_class/{token(label)}/marked")
                        for label in labels_of(sources)
                    ),
                ]
                for row in range(len(entries(sources, _SHORTCUT, "/marks")))
            ],
            "Marks on the films by class.",
            why_absent(sources, _SHORTCUT, "/marks"),
        ),
        sources.picture(
            _SHORTCUT,
            "views",
            "Macro AUC of each view with its interval and the bound of chance",
            "Views without lungs.",
        ),
        sources.picture(
            _SHORTCUT, "inside_sources", "Scores inside each source beside the pooled one", "Inside sources."
        ),
    ]
    return Section("shortcut", "Shortcuts", tuple(blocks))


def film_detector(sources: Sources) -> Section:
    """Whether pictures that are no chest films are found."""
    kinds = entries(sources, _DETECTOR, "/kinds")
    blocks: list[Block] = [
        quoted(sources, _DETECTOR),
        as_table(
            ["kind of picture", "pictures", "found", "AUC against chest films"],
            [
                [
                    said(sources, _DETECTOR, f"/kinds/{row}/title"),
                    sources.number(_DETECTOR, f"/kinds/{row}/films"),
                    sources.number(_DETECTOR, f"/kinds/{row}", PERCENT),
                    sources.number(_DETECTOR, f"/kinds/{row}/auc"),
                ]
                for row in range(len(kinds))
            ],
            "Pictures that are no upright chest films.",
            why_absent(sources, _DETECTOR, "/kinds"),
        ),
        sources.picture(_DETECTOR, "strangeness", "Strangeness of chest films and of other pictures", "Strangeness."),
    ]
    return Section("film_detector", "Other pictures", tuple(blocks))
