"""The report's first and last sections: verdicts, limits, digests of every artefact, how to make it all again."""

from __future__ import annotations

from cxr_core.release.document import PERCENT, Block, Cell, Fact, Missing, Section
from cxr_core.release.report_sections_common import (
    as_table,
    categories,
    entries,
    fact,
    facts,
    names_of,
    paragraph,
    quoted,
    said,
    token,
    why_absent,
)
from cxr_core.release.report_sections_versions import python_version, versions
from cxr_core.release.report_sources import Sources

__all__ = ["NOT_MEASURED", "VERDICTS", "digests", "limits", "reproduce", "summary"]

_GATE = "release_candidate"

# Reports that hold a verdict, in the order of reading, with what is judged.
VERDICTS: tuple[tuple[str, str], ...] = (
    ("shortcut_audit", "score without lungs"),
    ("label_audit", "wrong labels"),
    ("calibrated_model", "calibration"),
    ("operating_point_report", "tuberculosis operating point"),
    ("uncertainty", "coverage of the prediction sets"),
    ("subgroup_report", "gaps between groups"),
    ("film_detector", "pictures that are no chest films"),
    ("robustness", "accuracy and confidence under corruption"),
    ("lung_segmentation", "lung segmentation"),
    ("faithfulness", "attention inside the lungs"),
)

# What no report of the pipeline measures. Each is looked for first, so that a later report takes its line away.
NOT_MEASURED: tuple[tuple[str, str, str], ...] = (
    ("external films", "external_evaluation", "no films of another hospital than those of the sources were scored"),
    ("age and sex", "demographics", "no report describes either"),
    ("readers", "reader_study", "no reader was compared with the model, alone or together"),
    ("outcome", "outcome_study", "no effect on any patient was measured"),
)


def summary(sources: Sources) -> Section:
    """The gate's decision and every verdict, passed or not."""
    blocks: list[Block] = []
    passed = sources.find(_GATE, "/gate/passed")
    if isinstance(passed, bool):
        blocks.append(
            paragraph("The promotion gate {decision} this model.", decision="passed" if passed else "rejected")
        )
    else:
        blocks.append(Missing(f"the promotion gate's decision: {why_absent(sources, _GATE, '/gate/passed')}"))
    blocks += [
        as_table(
            ["rule of the gate", "passed", "value", "limit", "finding"],
            [
                [
                    said(sources, _GATE, f"/gate/rules/{row}/name").replace("_", " "),
                    said(sources, _GATE, f"/gate/rules/{row}/passed"),
                    _value_or_none(sources, _GATE, f"/gate/rules/{row}"),
                    _limit_or_none(sources, _GATE, f"/gate/rules/{row}"),
                    said(sources, _GATE, f"/gate/rules/{row}/sentence"),
                ]
                for row in range(len(entries(sources, _GATE, "/gate/rules")))
            ],
            "Rules of the promotion gate.",
            why_absent(sources, _GATE, "/gate/rules"),
        ),
        as_table(
            ["verdict on", "passed", "value", "limit", "finding"],
            [_verdict(sources, asset, title) for asset, title in VERDICTS if sources.find(asset, "/verdict")],
            "Verdicts of the reports.",
            "no report with a verdict is stored",
        ),
        *(
            Missing(f"verdict on {title}: {why_absent(sources, asset, '/verdict')}")
            for asset, title in VERDICTS
            if not sources.find(asset, "/verdict")
        ),
    ]
    return Section("summary", "Verdict", tuple(blocks))


def _verdict(sources: Sources, asset: str, title: str) -> list[Cell]:
    return [
        title,
        said(sources, asset, "/verdict/passed"),
        _value_or_none(sources, asset, "/verdict"),
        _limit_or_none(sources, asset, "/verdict"),
        said(sources, asset, "/verdict/sentence"),
    ]


def _value_or_none(sources: Sources, asset: str, pointer: str) -> Cell:
    """What was judged; ``none`` where the judgement says that there is no number, which its sentence explains."""
    return "none" if _is_null(sources, asset, pointer, "value") else sources.number(asset, pointer)


def _limit_or_none(sources: Sources, asset: str, pointer: str) -> Cell:
    """What it was compared with; ``none`` where it was compared with no single number."""
    return "none" if _is_null(sources, asset, pointer, "limit") else sources.number(asset, f"{pointer}/limit")


def _is_null(sources: Sources, asset: str, pointer: str, name: str) -> bool:
    judged = sources.find(asset, pointer)
    return isinstance(judged, dict) and name in judged and judged[name] is None


def limits(sources: Sources) -> Section:
    """Sentences about what the numbers cannot carry, each from numbers; then what was not measured at all."""
    blocks: list[Block] = [
        paragraph(
            "Test holds {films} films of {groups} patient groups; so many leave accuracy this uncertain: {accuracy}.",
            films=sources.number("evaluation", "/overall/n"),
            groups=sources.number("evaluation", "/intervals/groups"),
            accuracy=sources.number("evaluation", "/intervals/accuracy", PERCENT),
        ),
        paragraph(
            "Of the score above chance {share} can be had without lungs; the limit is {limit}.",
            share=sources.number("shortcut_audit", "/model/explained", PERCENT),
            limit=sources.number("shortcut_audit", "/verdict/limit", PERCENT),
        ),
        paragraph(
            "An estimated {noise} of the labels are wrong.", noise=sources.number("label_audit", "/overall", PERCENT)
        ),
        paragraph(
            "The patient is known for {known} of {films} accepted films: films of one unknown patient can lie in two "
            "parts.",
            known=sources.count("image_index", {"status": "accepted", "patient_known": "True"}),
            films=sources.count("image_index", {"status": "accepted"}),
        ),
        *_small_sources(sources),
        as_table(
            ["rejected or warned of", "finding"],
            [
                [title, said(sources, asset, "/verdict/sentence")]
                for asset, title in VERDICTS
                if sources.find(asset, "/verdict/passed") is False
            ],
            "Verdicts that did not pass.",
            "no report with a verdict is stored",
            "No verdict of a stored report failed."
            if any(sources.find(asset, "/verdict") for asset, _ in VERDICTS)
            else "",
        ),
        as_table(
            ["not measured", "why"],
            [[title, reason] for title, asset, reason in NOT_MEASURED if sources.digest(asset) is None],
            "What no report here measures.",
            "nothing of it is left out",
        ),
        quoted(sources, "evaluation", "/notice"),
    ]
    return Section("limits", "Limits", tuple(blocks))


def _small_sources(sources: Sources) -> list[Block]:
    """A sentence for each source whose AUC of a disease has no interval, with the reason that the report gives."""
    return [
        paragraph(
            "Inside the source {source} with {films} test films the AUC of a disease against normal is {auc}: {why}.",
            source=name,
            films=sources.number("evaluation", f"/per_source/{token(name)}/metrics/n"),
            auc=sources.number("evaluation", f"/per_source/{token(name)}/disease_auc"),
            why=reason,
        )
        for name in names_of(sources, "evaluation", "/per_source")
        if (reason := sources.find("evaluation", f"/per_source/{token(name)}/disease_auc/reason"))
    ]


def digests(sources: Sources) -> Section:
    """SHA-256 of everything that this report was made from."""
    blocks: list[Block] = [
        as_table(
            ["artefact", "SHA-256"],
            [[name, digest] for name in sources.names if (digest := sources.digest(name))],
            "Artefacts that this report was made from.",
            "nothing is stored",
        ),
        as_table(
            ["file of the package", "SHA-256"],
            [[name, said(sources, _GATE, f"/files/{token(name)}")] for name in names_of(sources, _GATE, "/files")],
            "Files of the model package.",
            why_absent(sources, _GATE, "/files"),
        ),
    ]
    return Section("digests", "Digests", tuple(blocks))


def reproduce(sources: Sources) -> Section:
    """Commands, versions, seeds and settings with which all of it is made again."""
    blocks: list[Block] = [
        facts(
            [
                fact(sources, "model", _GATE, "/name"),
                fact(sources, "version", _GATE, "/version"),
                fact(sources, "digest of the pixel cache", "trained_model", "/training/data/pixel_cache"),
                fact(sources, "digest of the splits", "trained_model", "/training/data/splits"),
                fact(sources, "digest of the preprocessing", "trained_model", "/training/data/preprocessing"),
                fact(sources, "seed of the evaluation", "evaluation", "/seed"),
                fact(sources, "seed of the training", "trained_model", "/training/training/seed"),
                fact(sources, "digest of the settings", "settings", "/digest"),
                fact(sources, "profile", "settings", "/profile"),
                Fact("Python", python_version(sources)),
            ]
        ),
        as_table(
            ["package", "version"],
            list(versions(sources)),
            "Versions where this report was written.",
            "no package is named",
        ),
        as_table(
            ["to", "run"],
            [
                ["install the locked versions", "make install"],
                ["make every asset, this report among them", "make run"],
                ["run the tests", "make test"],
                ["see the assets and their lineage", "make ui"],
            ],
            "Commands; equal films, settings and versions give equal digests.",
            "no command is known",
        ),
    ]
    if parts := categories(sources, "splits", "split"):
        blocks.append(
            as_table(
                ["part", "films"],
                [[part, sources.count("splits", {"split": part})] for part in parts],
                "Films of each part, as a second run must deal them.",
                "splits is not stored",
            )
        )
    return Section("reproduce", "How to make it again", tuple(blocks))
