"""The report's sections about films: what there is, how it was dealt, what leaks, how far labels can be trusted."""

from __future__ import annotations

from cxr_core.release.document import PERCENT, Block, Number, Section
from cxr_core.release.report_sections_common import (
    as_table,
    categories,
    entries,
    labels_of,
    names_of,
    paragraph,
    quoted,
    token,
    why_absent,
)
from cxr_core.release.report_sources import Sources

__all__ = ["data", "labels", "leaks", "splits"]

_INDEX, _SPLITS, _AUDIT = "image_index", "splits", "label_audit"
_ACCEPTED = {"status": "accepted"}
_NAMED = {"status": "accepted", "patient_known": "True"}


def data(sources: Sources) -> Section:
    """Films, classes, sources, formats, what was put aside and why."""
    classes = categories(sources, _INDEX, "label", _ACCEPTED)
    columns = [*classes, "all"]

    def films(**more: str) -> Number:
        return sources.count(_INDEX, _ACCEPTED | more)

    blocks: list[Block] = [
        paragraph(
            "{files} files were found: {accepted} films were accepted, {copies} are copies of others and {quarantined} "
            "were put aside. The accepted films come from {sources} sources and belong to {groups} patient groups; of "
            "{known} of them the patient is known.",
            files=sources.count(_INDEX),
            accepted=films(),
            copies=sources.count(_INDEX, {"status": "duplicate"}),
            quarantined=sources.count(_INDEX, {"status": "quarantined"}),
            sources=sources.distinct(_INDEX, "source", _ACCEPTED),
            groups=sources.distinct(_INDEX, "group_id", _ACCEPTED),
            known=sources.count(_INDEX, _NAMED),
        ),
        as_table(
            ["source", *columns],
            [
                [
                    source or "not named",
                    *(films(source=source, label=label) for label in classes),
                    films(source=source),
                ]
                for source in categories(sources, _INDEX, "source", _ACCEPTED)
            ],
            "Accepted films by source and class.",
            "image_index is not stored, or holds no accepted film",
        ),
        paragraph(
            "Class and source go together with a Cramér's V of {v}; who knows the source alone and names its commonest "
            "class is right for {guess} of the films.",
            v=sources.number("eda_source_by_class", "/cramers_v"),
            guess=sources.number("eda_source_by_class", "/class_guessed_from_source", PERCENT),
        ),
        sources.picture(
            "eda_source_by_class",
            "figure",
            "Bars of the number of films of each class in each source",
            "Films of each class in each source.",
        ),
        as_table(
            ["format", "pixel mode", "films"],
            [
                [kind, mode, number]
                for kind in categories(sources, _INDEX, "format", _ACCEPTED)
                for mode in categories(sources, _INDEX, "mode", _ACCEPTED)
                if (number := films(format=kind, mode=mode)).value
            ],
            "File formats and pixel modes of the accepted films.",
            "image_index is not stored, or names no format",
        ),
        as_table(
            ["reason", *columns],
            [
                [
                    f"{kind}: {code.replace('_', ' ')}",
                    *(
                        sources.number("eda_quality_table", f"/{kind}/{code}/{'total' if c == 'all' else token(c)}")
                        for c in columns
                    ),
                ]
                for kind in ("quarantine", "flag")
                for code in names_of(sources, "eda_quality_table", f"/{kind}")
            ],
            "Files put aside (quarantine) and films flagged, by reason.",
            why_absent(sources, "eda_quality_table", "/quarantine"),
        ),
        sources.picture(
            "eda_image_properties",
            "figure",
            "Distributions of width, height and aspect of the films by class and by source",
            "Sizes and shapes of the films.",
        ),
    ]
    return Section("data", "Data", tuple(blocks))


def splits(sources: Sources) -> Section:
    """Parts, their films, patient groups and class shares."""
    classes = labels_of(sources)
    blocks: list[Block] = [
        as_table(
            ["part", "films", "patient groups", *classes, *(f"share of {label}" for label in classes)],
            [
                [
                    part,
                    sources.count(_SPLITS, {"split": part}),
                    sources.distinct(_SPLITS, "group_id", {"split": part}),
                    *(sources.count(_SPLITS, {"split": part, "label": label}) for label in classes),
                    *(
                        sources.number("eda_class_distribution", f"/shares/{token(part)}/{token(label)}", PERCENT)
                        for label in classes
                    ),
                ]
                for part in categories(sources, _SPLITS, "split")
            ],
            "Parts of the data: train is learned from, val stops training and gives thresholds, calibration gives "
            "temperature and quantiles, test is read last.",
            "splits is not stored",
        ),
        paragraph(
            "Films are dealt by patient group: {shared} of {groups} groups have films in more than one part.",
            shared=sources.shared(_SPLITS, "group_id", "split"),
            groups=sources.distinct(_SPLITS, "group_id"),
        ),
        sources.picture(
            "eda_class_distribution",
            "figure",
            "Bars of the number of films of each class in each part",
            "Classes in each part.",
        ),
    ]
    return Section("splits", "Parts of the data", tuple(blocks))


def leaks(sources: Sources) -> Section:
    """Copies and patients that would cross parts, labels that contradict each other (TRAPS 3)."""
    found = "eda_duplicates_found"
    blocks: list[Block] = [
        as_table(
            ["what would leak", "found"],
            [
                ["clusters of copies", sources.number(found, "/clusters")],
                ["films that are copies of another", sources.number(found, "/copies")],
                ["of them identical files", sources.number(found, "/identical_files")],
                ["of them from another source", sources.number(found, "/other_source")],
                ["identical files left in the parts", sources.shared(_SPLITS, "sha256", "image_id")],
                ["identical files in more than one part", sources.shared(_SPLITS, "sha256", "split")],
                ["patient groups in more than one part", sources.shared(_SPLITS, "group_id", "split")],
                ["equal films with different labels", sources.number(_AUDIT, "/contradictions/contents")],
                ["files of such films", sources.number(_AUDIT, "/contradictions/files")],
            ],
            "What would leak from one part into another. Copies are films whose high-pass thumbnails correlate as "
            "those of true copies do.",
            "nothing was looked for",
        ),
        paragraph(
            "The patient is known for {known} of {films} accepted films; the others stand each for a patient of its "
            "own unless they are copies.",
            known=sources.count(_INDEX, _NAMED),
            films=sources.count(_INDEX, _ACCEPTED),
        ),
        sources.picture(found, "figure", "Films beside those that they are copies of", "Copies found."),
    ]
    return Section("leaks", "Leaks", tuple(blocks))


def labels(sources: Sources) -> Section:
    """What the label audit estimates, with the recall that a perfect classifier would show (TRAPS 2)."""
    cells = entries(sources, _AUDIT, "/cells")
    blocks: list[Block] = [
        quoted(sources, _AUDIT),
        as_table(
            ["class", "films", "labels estimated wrong", "recall of a perfect classifier", "recall of the model"],
            [
                [
                    label,
                    sources.number(_AUDIT, f"/classes/{token(label)}/films"),
                    *(
                        sources.number(_AUDIT, f"/classes/{token(label)}/{key}", PERCENT)
                        for key in ("noise", "perfect_recall", "model_recall")
                    ),
                ]
                for label in names_of(sources, _AUDIT, "/classes")
            ],
            "Estimated label errors. A perfect classifier scored against such labels would show the recall beside the "
            "model's.",
            why_absent(sources, _AUDIT, "/classes"),
        ),
        as_table(
            ["source", "filed as", "films of", "films", "share"],
            [
                [
                    str(cell.get("source")),
                    str(cell.get("label")),
                    str(cell.get("other")),
                    sources.number(_AUDIT, f"/cells/{number}/films"),
                    sources.number(_AUDIT, f"/cells/{number}/share", PERCENT),
                ]
                for number, cell in enumerate(cells)
                if isinstance(cell, dict) and cell.get("is_mixture")
            ],
            "Labels wrong by system: films of one class that a source files in bulk under another.",
            why_absent(sources, _AUDIT, "/cells"),
            "The label audit finds no source that files one class in bulk under another." if cells else "",
        ),
        paragraph(
            "{queue} films are queued to be read again; readers have settled {settled}. A head trained without the "
            "{left} suspects differs in macro AUC on the same films by {auc}.",
            queue=sources.number(_AUDIT, "/queue/films"),
            settled=sources.number(_AUDIT, "/settled_by_readers"),
            left=sources.number(_AUDIT, "/without_suspects/left_out"),
            auc=sources.number(_AUDIT, "/without_suspects/without_minus_with/macro_auc"),
        ),
        sources.picture(
            _AUDIT, "noise", "Estimated share of wrong labels by class with intervals", "Estimated label errors."
        ),
    ]
    return Section("labels", "Labels", tuple(blocks))
