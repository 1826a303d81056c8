"""The report's sections about trust: shortcut verdict, subgroups, failures, pictures that are no chest films."""

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

__all__ = ["claim_rows", "failures", "film_detector", "shortcut", "subgroups"]

_SHORTCUT, _SUBGROUPS, _FAILURES, _DETECTOR = "shortcut_audit", "subgroup_report", "failure_report", "film_detector"
_SHOWN = 12  # associations of a table; all of them are in the stored report


def shortcut(sources: Sources) -> Section:
    """What can be told without lungs, and how much of the model's score that is (TRAPS 1)."""
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
            "Marks on the films by class (TRAPS 4).",
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


def subgroups(sources: Sources) -> Section:
    """Gaps between groups of films, at the same mix of classes where that can be."""
    strata = entries(sources, _SUBGROUPS, "/strata")
    blocks: list[Block] = [
        quoted(sources, _SUBGROUPS),
        as_table(
            ["group of films", "films", "accuracy", "gap to the rest", "gap at the same mix", "p after Holm"],
            [
                [
                    f"{said(sources, _SUBGROUPS, f'/strata/{row}/dimension').replace('_', ' ')}: "
                    f"{said(sources, _SUBGROUPS, f'/strata/{row}/stratum')}",
                    sources.number(_SUBGROUPS, f"/strata/{row}/films"),
                    sources.number(_SUBGROUPS, f"/strata/{row}/scores/accuracy", PERCENT),
                    sources.number(_SUBGROUPS, f"/strata/{row}/gap", PERCENT),
                    sources.number(_SUBGROUPS, f"/strata/{row}/standardised_gap", PERCENT),
                    sources.number(_SUBGROUPS, f"/strata/{row}/standardised_gap/holm"),
                ]
                for row in range(len(strata))
            ],
            "Accuracy of groups of test films against the rest.",
            why_absent(sources, _SUBGROUPS, "/strata"),
        ),
        as_table(
            ["films are", "accuracy", "change of accuracy", "films that change their class"],
            [
                [
                    name,
                    *(
                        sources.number(_SUBGROUPS, f"/crop_sensitivity/conditions/{token(name)}/{key}", PERCENT)
                        for key in ("accuracy", "accuracy_change", "changed")
                    ),
                ]
                for name in names_of(sources, _SUBGROUPS, "/crop_sensitivity/conditions")
            ],
            "Sensitivity to framing.",
            why_absent(sources, _SUBGROUPS, "/crop_sensitivity"),
        ),
        _claims(sources, _SUBGROUPS),
        sources.picture(_SUBGROUPS, "gaps", "Gap of accuracy of each group of films with its interval", "Gaps."),
        sources.picture(
            _SUBGROUPS, "crop_sensitivity", "Change of accuracy under shifts and crops with intervals", "Framing."
        ),
    ]
    return Section("subgroups", "Subgroups", tuple(blocks))


def failures(sources: Sources) -> Section:
    """What is confused with what, and what errors go with."""
    pairs = entries(sources, _FAILURES, "/pairs")
    found = sorted(
        (entry.get("holm"), row)
        for row, entry in enumerate(entries(sources, _FAILURES, "/associations"))
        if isinstance(entry, dict) and isinstance(entry.get("holm"), int | float)
    )
    sentences = entries(sources, _FAILURES, "/sentences")
    blocks: list[Block] = [
        paragraph(
            "{wrong} of {films} test films are wrong. {flagged} normal films are called a disease ({flagged_share}), "
            "{missed} diseased ones normal ({missed_share}); the two diseases are confused {between} times.",
            wrong=sources.number(_FAILURES, "/counts/errors"),
            films=sources.number(_FAILURES, "/n"),
            flagged=sources.number(_FAILURES, "/false_positives/count"),
            flagged_share=sources.number(_FAILURES, "/false_positives", PERCENT),
            missed=sources.number(_FAILURES, "/false_negatives/count"),
            missed_share=sources.number(_FAILURES, "/false_negatives", PERCENT),
            between=sources.number(_FAILURES, "/counts/between_diseases"),
        ),
        as_table(
            ["labelled", "called", "films", "share of the class", "share of the errors"],
            [
                [
                    said(sources, _FAILURES, f"/pairs/{row}/true"),
                    said(sources, _FAILURES, f"/pairs/{row}/predicted"),
                    sources.number(_FAILURES, f"/pairs/{row}/count"),
                    sources.number(_FAILURES, f"/pairs/{row}/of_true", PERCENT),
                    sources.number(_FAILURES, f"/pairs/{row}/of_errors", PERCENT),
                ]
                for row in range(len(pairs))
            ],
            "Confusions, in the order of their number.",
            why_absent(sources, _FAILURES, "/pairs"),
        ),
        *(quoted(sources, _FAILURES, f"/sentences/{row}") for row in range(len(sentences))),
        as_table(
            ["what errors go with", "among", "strength", "p after Holm"],
            [
                [
                    said(sources, _FAILURES, f"/associations/{row}/title"),
                    said(sources, _FAILURES, f"/associations/{row}/outcome").replace("_", " "),
                    sources.number(_FAILURES, f"/associations/{row}"),
                    sources.number(_FAILURES, f"/associations/{row}/holm"),
                ]
                for _, row in found[:_SHOWN]
            ],
            "Associations of errors with quality and source, the least likely by chance first.",
            why_absent(sources, _FAILURES, "/associations"),
        ),
        _claims(sources, _FAILURES),
        sources.picture(_FAILURES, "confusion_pairs", "Bars of the number of each confusion", "Confusions."),
        sources.picture(
            _FAILURES, "worst_films", "Films that the model is most confidently wrong about", "Most confidently wrong."
        ),
    ]
    return Section("failures", "Failures", tuple(blocks))


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


def claim_rows(sources: Sources, asset: str) -> list[list[str]]:
    """What the technical report claims beside what a report measured: claim, section, measured, holds."""
    verdicts = {True: "holds", False: "does not hold", None: "not decided"}
    return [
        [
            said(sources, asset, f"/claims/{row}/claim"),
            said(sources, asset, f"/claims/{row}/section"),
            said(sources, asset, f"/claims/{row}/measured"),
            verdicts[sources.find(asset, f"/claims/{row}/holds")],
        ]
        for row in range(len(entries(sources, asset, "/claims")))
    ]


def _claims(sources: Sources, asset: str) -> Block:
    return as_table(
        ["claim of the technical report", "section", "measured here", "finding"],
        claim_rows(sources, asset),
        "Claims of the technical report and what was measured of them.",
        why_absent(sources, asset, "/claims"),
    )
