"""The report's sections about groups of films and about failures, with the technical report's claims on either."""

from __future__ import annotations

from cxr_core.release.document import PERCENT, Block, Section
from cxr_core.release.report_sections_common import (
    as_table,
    entries,
    names_of,
    paragraph,
    quoted,
    said,
    token,
    why_absent,
)
from cxr_core.release.report_sources import Sources

__all__ = ["claim_rows", "failures", "subgroups"]

_SUBGROUPS, _FAILURES = "subgroup_report", "failure_report"
_SHOWN = 12  # associations of a table; all of them are in the stored report


def subgroups(sources: Sources) -> Section:
    """Gaps between groups of films, at the same mix of classes where that can be."""
    compared: list[int] = []
    alone: list[int] = []
    for row, stratum in enumerate(entries(sources, _SUBGROUPS, "/strata")):
        gap = stratum.get("gap") if isinstance(stratum, dict) else None
        (compared if isinstance(gap, dict) and gap.get("value") is not None else alone).append(row)

    def named(row: int) -> str:
        dimension = said(sources, _SUBGROUPS, f"/strata/{row}/dimension").replace("_", " ")
        return f"{dimension}: {said(sources, _SUBGROUPS, f'/strata/{row}/stratum')}"

    blocks: list[Block] = [
        quoted(sources, _SUBGROUPS),
        as_table(
            ["group of films", "films", "accuracy", "gap to the rest", "gap at the same mix", "p after Holm"],
            [
                [
                    named(row),
                    sources.number(_SUBGROUPS, f"/strata/{row}/films"),
                    sources.number(_SUBGROUPS, f"/strata/{row}/scores/accuracy", PERCENT),
                    sources.number(_SUBGROUPS, f"/strata/{row}/gap", PERCENT),
                    sources.number(_SUBGROUPS, f"/strata/{row}/standardised_gap", PERCENT),
                    sources.number(_SUBGROUPS, f"/strata/{row}/standardised_gap/holm"),
                ]
                for row in compared
            ],
            "Accuracy of groups of test films and its gap to the rest, in points, as it is and at the same mix of "
            "classes.",
            why_absent(sources, _SUBGROUPS, "/strata"),
        ),
        as_table(
            ["group of films", "films", "why it is not compared"],
            [
                [
                    named(row),
                    sources.number(_SUBGROUPS, f"/strata/{row}/films"),
                    said(sources, _SUBGROUPS, f"/strata/{row}/gap/reason"),
                ]
                for row in alone
            ],
            "Groups too small to compare.",
            why_absent(sources, _SUBGROUPS, "/strata"),
            "Every group was compared." if compared else "",
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
