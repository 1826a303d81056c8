"""The model card, computed from stored reports, after Mitchell et al., Model Cards for Model Reporting (FAT* 2019)."""

from __future__ import annotations

from collections.abc import Callable

from cxr_core.release.document import PERCENT, Block, Cell, Document, Fact, Heading, Missing, Section
from cxr_core.release.document_numbers import NOT_AVAILABLE
from cxr_core.release.report_sections_common import (
    as_table,
    categories,
    entries,
    fact,
    facts,
    labels_of,
    named_pointer,
    names_of,
    number_within,
    paragraph,
    quoted,
    said,
    token,
    why_absent,
)
from cxr_core.release.report_sections_scores import CLASS_METRICS, METRICS, overall_scores
from cxr_core.release.report_sections_summary import limits
from cxr_core.release.report_sources import Sources

__all__ = ["CARD", "model_card"]

_MODEL, _GATE, _REPORT, _INDEX = "trained_model", "release_candidate", "evaluation", "image_index"
_ACCEPTED = {"status": "accepted"}


def _details(sources: Sources) -> Section:
    # The card is written before the gate decides; one that is written again afterwards tells the decision.
    judged = [("name", "/name"), ("version", "/version"), ("promotion gate passed", "/gate/passed")]
    judged = judged if sources.digest(_GATE) else []
    return Section(
        "details",
        "Model details",
        (
            facts(
                [
                    Fact("digest of the model", sources.digest(_MODEL) or f"{NOT_AVAILABLE}no model is stored"),
                    fact(sources, "network", _MODEL, "/backbone"),
                    fact(sources, "dropout before the linear head", _MODEL, "/dropout"),
                    fact(sources, "input: grey frame, side", _MODEL, "/preprocessing/size", "px"),
                    fact(sources, "output: probabilities of", _MODEL, "/labels"),
                    fact(sources, "calibration: temperature", "calibrated_model", "/temperature/temperature"),
                    fact(sources, "initial weights", _MODEL, "/training/initial_weights/origin"),
                    fact(sources, "licence of the initial weights", _MODEL, "/training/initial_weights/licence"),
                    fact(sources, "digest of the weights", _MODEL, "/weights_digest"),
                    *(fact(sources, name, _GATE, pointer) for name, pointer in judged),
                ]
            ),
        ),
    )


def _use(sources: Sources) -> Section:
    kinds = entries(sources, "film_detector", "/kinds")
    blocks: list[Block] = [
        quoted(sources, _REPORT, "/notice"),
        paragraph("The model tells {labels} apart on chest films.", labels=said(sources, _MODEL, "/labels")),
        Heading("Out of scope"),
        paragraph(
            "Films of other sources than those learned from, which are {sources}: none was scored.",
            sources=", ".join(categories(sources, _INDEX, "source", _ACCEPTED)) or said(sources, _REPORT, "/sources"),
        ),
        paragraph(
            "Diseases other than the classes: each film gets one of them. Patients by age or sex: no report tells them "
            "apart.",
        ),
        as_table(
            ["picture that is no upright chest film", "shown", "refused"],
            [
                [
                    said(sources, "film_detector", f"/kinds/{row}/title"),
                    sources.number("film_detector", f"/kinds/{row}/films"),
                    sources.number("film_detector", f"/kinds/{row}", PERCENT),
                ]
                for row in range(len(kinds))
            ],
            "Pictures out of scope, and how many of them are refused.",
            why_absent(sources, "film_detector", "/kinds"),
        ),
    ]
    return Section("use", "Intended use", tuple(blocks))


def _factors(sources: Sources) -> Section:
    titles = names_of(sources, "subgroup_report", "/titles")
    blocks: list[Block] = [
        as_table(
            ["factor", "examined as"],
            [[name.replace("_", " "), said(sources, "subgroup_report", f"/titles/{token(name)}")] for name in titles],
            "Factors by which the test films are divided.",
            why_absent(sources, "subgroup_report", "/titles"),
        ),
        quoted(sources, "subgroup_report"),
        quoted(sources, "shortcut_audit"),
        quoted(sources, "robustness"),
        Missing("age, sex and device: no stored report describes them"),
    ]
    return Section("factors", "Factors", tuple(blocks))


def _metrics(sources: Sources) -> Section:
    point = named_pointer(sources, "operating_points", "/points", "tb_sensitivity_90")
    given = [title for key, title, _ in METRICS if sources.find(_REPORT, f"/intervals/{key}") is not None]
    blocks: list[Block] = [
        paragraph(
            "Measured are {measures}. Intervals hold {level} and come from {resamples} resamples of patient groups.",
            measures=", ".join(given) or said(sources, _REPORT, "/intervals"),
            level=sources.number(_REPORT, "/intervals/level", PERCENT),
            resamples=sources.number(_REPORT, "/intervals/resamples"),
        ),
        paragraph(
            "Thresholds are fixed on validation films: {label} is flagged from a probability of {threshold}.",
            label=said(sources, "operating_points", f"{point}/label"),
            threshold=number_within(sources, "operating_points", f"{point}/threshold"),
        ),
        quoted(sources, "operating_point_report"),
    ]
    return Section("metrics", "Metrics", tuple(blocks))


def _films(sources: Sources, key: str, title: str, parts: tuple[str, ...]) -> Section:
    labels = labels_of(sources)
    rows: list[list[Cell]] = [
        [
            part,
            sources.count("splits", {"split": part}),
            sources.distinct("splits", "group_id", {"split": part}),
            *(sources.count("splits", {"split": part, "label": label}) for label in labels),
        ]
        for part in parts
    ]
    blocks: list[Block] = [
        as_table(["part", "films", "patient groups", *labels], rows, f"{title}: films.", "splits is not stored"),
        as_table(
            ["source", *parts],
            [
                [source or "not named", *(sources.count("splits", {"split": part, "source": source}) for part in parts)]
                for source in categories(sources, "splits", "source")
            ],
            f"{title}: films of each source.",
            "splits is not stored, or names no source",
        ),
    ]
    return Section(key, title, tuple(blocks))


def _evaluation_data(sources: Sources) -> Section:
    return _films(sources, "evaluation-data", "Evaluation data", ("test",))


def _training_data(sources: Sources) -> Section:
    return _films(sources, "training-data", "Training data", ("train", "val", "calibration"))


def _analyses(sources: Sources) -> Section:
    missing = why_absent(sources, _REPORT, "/intervals")
    blocks: list[Block] = [
        overall_scores(sources, "Overall.", missing),
        as_table(
            ["class", *(title for _, title, _ in CLASS_METRICS)],
            [
                [
                    label,
                    *(
                        sources.number(_REPORT, f"/intervals/per_class/{token(label)}/{key}", unit)
                        for key, _, unit in CLASS_METRICS
                    ),
                ]
                for label in labels_of(sources)
            ],
            "By class.",
            missing,
        ),
        as_table(
            ["source", "films", "accuracy", "AUC of a disease against normal"],
            [
                [
                    name,
                    sources.number(_REPORT, f"/per_source/{token(name)}/metrics/n"),
                    sources.number(_REPORT, f"/per_source/{token(name)}/intervals/accuracy", PERCENT),
                    sources.number(_REPORT, f"/per_source/{token(name)}/disease_auc"),
                ]
                for name in names_of(sources, _REPORT, "/per_source")
            ],
            "Inside each source.",
            why_absent(sources, _REPORT, "/per_source"),
        ),
    ]
    return Section("analyses", "Quantitative analyses", tuple(blocks))


def _ethics(sources: Sources) -> Section:
    blocks: list[Block] = [
        paragraph(
            "{known} of {films} accepted films carry an identifier of a patient; films are named here by the digest of "
            "their content alone.",
            known=sources.count(_INDEX, _ACCEPTED | {"patient_known": "True"}),
            films=sources.count(_INDEX, _ACCEPTED),
        ),
        paragraph(
            "{missed} diseased test films are called normal ({share}), {flagged} normal ones a disease ({of_normal}).",
            missed=sources.number("failure_report", "/false_negatives/count"),
            share=sources.number("failure_report", "/false_negatives", PERCENT),
            flagged=sources.number("failure_report", "/false_positives/count"),
            of_normal=sources.number("failure_report", "/false_positives", PERCENT),
        ),
    ]
    return Section("ethics", "Ethical considerations", tuple(blocks))


def _caveats(sources: Sources) -> Section:
    return Section("caveats", "Caveats and recommendations", limits(sources).blocks)


CARD: tuple[Callable[[Sources], Section], ...] = (
    _details, _use, _factors, _metrics, _evaluation_data, _training_data, _analyses, _ethics, _caveats,
)  # fmt: skip


def model_card(sources: Sources) -> Document:
    """The card; equal stored reports give an equal document."""
    meta = {"model": sources.find(_GATE, "/name"), "version": sources.find(_GATE, "/version")}
    return Document(
        "Model card",
        "Computed from stored reports",
        tuple(build(sources) for build in CARD),
        {name: str(value) for name, value in meta.items() if value},
    )
