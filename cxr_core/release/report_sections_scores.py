"""The report's sections about scores on test: metrics, operating points, calibration, prediction sets."""

from __future__ import annotations

from cxr_core.release.document import PERCENT, Block, Number, Section
from cxr_core.release.report_sections_common import (
    as_table,
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
from cxr_core.release.report_sources import Sources

__all__ = [
    "CLASS_METRICS",
    "METRICS",
    "calibration",
    "metrics",
    "operating_points",
    "overall_scores",
    "prediction_sets",
]

METRICS: tuple[tuple[str, str, str], ...] = (
    ("accuracy", "accuracy", PERCENT),
    ("macro_f1", "macro F1", ""),
    ("macro_auc", "macro AUC", ""),
    ("macro_pr_auc", "macro area under precision-recall", ""),
    ("macro_precision", "macro precision", PERCENT),
    ("macro_recall", "macro recall", PERCENT),
    ("macro_specificity", "macro specificity", PERCENT),
    ("kappa", "Cohen's kappa", ""),
    ("mcc", "Matthews correlation", ""),
    ("log_loss", "log loss", ""),
    ("brier", "Brier score", ""),
)
CLASS_METRICS: tuple[tuple[str, str, str], ...] = (
    ("precision", "precision", PERCENT),
    ("recall", "recall", PERCENT),
    ("specificity", "specificity", PERCENT),
    ("f1", "F1", ""),
    ("auc", "AUC", ""),
)
_REPORT, _POINTS, _CALIBRATED, _SETS = "evaluation", "operating_point_report", "calibrated_model", "uncertainty"


def overall_scores(sources: Sources, caption: str, empty: str) -> Block:
    """The scores of all test films beside their plain mean over sources; ``empty`` says why there are none."""
    return as_table(
        ["measure", "all test films", "mean over sources"],
        [
            [
                title,
                sources.number(_REPORT, f"/intervals/{key}", unit),
                sources.number(_REPORT, f"/macro_over_sources/{key}", unit),
            ]
            for key, title, unit in METRICS
        ],
        caption,
        empty,
    )


def metrics(sources: Sources) -> Section:
    """Overall, per class, inside sources and over them, with the confusion matrix."""
    names, labels = names_of(sources, _REPORT, "/per_source"), labels_of(sources)
    missing = why_absent(sources, _REPORT, "/overall")
    blocks: list[Block] = [
        paragraph(
            "On {films} films of {groups} patient groups accuracy is {accuracy}, macro F1 {f1}, macro AUC {auc}. "
            "Intervals are those of {resamples} resamples of patient groups.",
            films=sources.number(_REPORT, "/overall/n"),
            groups=sources.number(_REPORT, "/intervals/groups"),
            accuracy=sources.number(_REPORT, "/intervals/accuracy", PERCENT),
            f1=sources.number(_REPORT, "/intervals/macro_f1"),
            auc=sources.number(_REPORT, "/intervals/macro_auc"),
            resamples=sources.number(_REPORT, "/intervals/resamples"),
        ),
        overall_scores(sources, "Scores on the test films, and their plain mean over sources.", missing),
        as_table(
            ["class", "films", *(title for _, title, _ in CLASS_METRICS)],
            [
                [
                    label,
                    sources.number(_REPORT, f"/overall/per_class/{token(label)}/support"),
                    *(
                        sources.number(_REPORT, f"/intervals/per_class/{token(label)}/{key}", unit)
                        for key, _, unit in CLASS_METRICS
                    ),
                ]
                for label in labels
            ],
            "Scores of each class against the others.",
            missing,
        ),
        as_table(
            ["labelled", *(f"called {label}" for label in labels)],
            [
                [
                    label,
                    *(sources.number(_REPORT, f"/overall/confusion/{row}/{column}") for column in range(len(labels))),
                ]
                for row, label in enumerate(labels)
            ],
            "Confusion matrix: films of each class and what they are called.",
            missing,
        ),
        as_table(
            ["source", "films", "accuracy", "macro F1", "macro AUC", "AUC of a disease against normal"],
            [
                [
                    name,
                    sources.number(_REPORT, f"/per_source/{token(name)}/metrics/n"),
                    *(
                        sources.number(_REPORT, f"/per_source/{token(name)}/intervals/{key}", unit)
                        for key, _, unit in METRICS[:3]
                    ),
                    sources.number(_REPORT, f"/per_source/{token(name)}/disease_auc"),
                ]
                for name in names
            ],
            "Scores inside each source, where the source can tell nothing of the class.",
            "the evaluation names no source",
        ),
        sources.picture(_REPORT, "confusion_matrix", "Confusion matrix of the test films", "Confusion matrix."),
        sources.picture(_REPORT, "roc_curves", "ROC curve of each class on the test films", "ROC curves."),
    ]
    return Section("metrics", "Metrics with intervals", tuple(blocks))


def operating_points(sources: Sources) -> Section:
    """Thresholds fixed on validation, and what they do on test (TRAPS 11)."""
    blocks: list[Block] = [quoted(sources, _POINTS)]
    names = names_of(sources, _POINTS, "/points")

    def on_validation(name: str, key: str, unit: str = PERCENT) -> Number:
        place = named_pointer(sources, "operating_points", "/points", name)
        return number_within(sources, "operating_points", f"{place}/{key}", unit)

    blocks += [
        as_table(
            ["point", "class", "threshold", "sensitivity on validation", "specificity on validation",
             "sensitivity on test", "specificity on test", "positive predictive value", "negative predictive value"],
            [
                [
                    name.replace("_", " "),
                    said(sources, _POINTS, f"/points/{token(name)}/point/label"),
                    on_validation(name, "threshold", ""),
                    on_validation(name, "sensitivity"),
                    on_validation(name, "specificity"),
                    *(
                        number_within(sources, _POINTS, f"/points/{token(name)}/pooled/{key}", PERCENT)
                        for key in ("sensitivity", "specificity", "ppv", "npv")
                    ),
                ]
                for name in names
            ],
            "Operating points: fixed on validation films and stored under a digest before a test film was read.",
            why_absent(sources, _POINTS, "/points"),
        ),
        facts([fact(sources, "digest of the thresholds", "operating_points", "/digest")]),
        sources.picture(
            _POINTS, "operating_points", "Sensitivity and specificity at each operating point, by source",
            "Operating points on test films, pooled and inside sources.",
        ),
        sources.picture(
            "operating_points", "threshold_analysis", "Sensitivity and specificity over all thresholds",
            "Scores over thresholds, on validation films.",
        ),
    ]  # fmt: skip
    return Section("operating_points", "Operating points", tuple(blocks))


def calibration(sources: Sources) -> Section:
    """Calibration error before and after, with what a perfectly calibrated model would show."""
    stages = (("before", "bare softmax"), ("after", "temperature"), ("after_vector", "vector scaling"))
    blocks: list[Block] = [
        quoted(sources, _CALIBRATED),
        as_table(
            ["probabilities", "calibration error", "mean of a perfectly calibrated model", "its 95 % bound",
             "class-wise error", "log loss", "Brier score"],
            [
                [
                    title,
                    sources.number(_CALIBRATED, f"/{key}/expected_calibration_error"),
                    sources.number(_CALIBRATED, f"/{key}/null/mean"),
                    sources.number(_CALIBRATED, f"/{key}/null/high"),
                    *(sources.number(_CALIBRATED, f"/{key}/{name}") for name in ("classwise", "log_loss", "brier")),
                ]
                for key, title in stages
            ],
            "Calibration on test films. A finite sample shows an error even where there is none: its size stands "
            "beside.",
            why_absent(sources, _CALIBRATED, "/after"),
        ),
        paragraph(
            "The temperature is {temperature}, fitted on {films} films of {groups} patient groups kept for it.",
            temperature=sources.number(_CALIBRATED, "/temperature/temperature"),
            films=sources.number(_CALIBRATED, "/temperature/films"),
            groups=sources.number(_CALIBRATED, "/temperature/groups"),
        ),
        sources.picture(
            _CALIBRATED, "reliability", "Accuracy against confidence in bins, with the band of chance",
            "Reliability diagram.",
        ),
    ]  # fmt: skip
    return Section("calibration", "Calibration", tuple(blocks))


def prediction_sets(sources: Sources) -> Section:
    """Coverage of the sets, and what it buys to leave films to a human."""
    base = "/prediction_sets"
    kinds = (("marginal", "one quantile"), ("class_conditional", "a quantile for each class"))
    blocks: list[Block] = [
        quoted(sources, _SETS),
        as_table(
            ["sets", "coverage", "coverage, each group once", "mean size", "sets of one class", "accuracy of those"],
            [
                [
                    title,
                    sources.number(_SETS, f"{base}/{kind}/all/coverage", PERCENT),
                    sources.number(_SETS, f"{base}/{kind}/all/each_group_once", PERCENT),
                    sources.number(_SETS, f"{base}/{kind}/mean_size"),
                    sources.number(_SETS, f"{base}/{kind}/singletons/films"),
                    sources.number(_SETS, f"{base}/{kind}/singletons/accuracy", PERCENT),
                ]
                for kind, title in kinds
            ],
            "Conformal prediction sets on test films.",
            why_absent(sources, _SETS, base),
        ),
        as_table(
            ["part", *(f"coverage, {title}" for _, title in kinds)],
            [
                [
                    name,
                    *(
                        sources.number(_SETS, f"{base}/{kind}/{over}/{token(name)}/coverage", PERCENT)
                        for kind, _ in kinds
                    ),
                ]
                for over in ("per_class", "per_source")
                for name in names_of(sources, _SETS, f"{base}/marginal/{over}")
            ],
            "Coverage by class and by source.",
            "no class or source was scored",
        ),
        quoted(sources, _SETS, "/assumes"),
        quoted(sources, _SETS, "/flag/sentence"),
        sources.picture(
            _SETS, "risk_coverage", "Share of errors over the share of films that the model answers",
            "What it buys to leave the least certain films to a human.",
        ),
    ]  # fmt: skip
    return Section("prediction_sets", "Prediction sets and referral", tuple(blocks))
