"""The report's section about robustness: corruptions, what embeddings do under them, what mitigation buys."""

from __future__ import annotations

from cxr_core.release.document import PERCENT, Block, Cell, Section
from cxr_core.release.report_sections_common import (
    as_table,
    names_of,
    number_within,
    paragraph,
    quoted,
    said,
    token,
    why_absent,
)
from cxr_core.release.report_sources import Sources

__all__ = ["mitigation", "robustness", "shift"]

_ROBUST, _SHIFT, _MITIGATION = "robustness", "embedding_shift", "mitigation"
_NULLS = (("exchange", "its null by exchange"), ("other_films", "other clean films"))
_OUTCOMES = {
    "earlier": "distance first",
    "same": "both at once",
    "later": "accuracy first",
    "missed": "accuracy alone",
    "no_loss": "distance alone",
    "neither": "neither",
}
_PRESETS = ("clean", "clinical", "severe")
_SCORES: tuple[tuple[str, str, str], ...] = (
    ("accuracy", "accuracy", PERCENT),
    ("macro_f1", "macro F1", ""),
    ("macro_auc", "macro AUC", ""),
    ("expected_calibration_error", "calibration error", ""),
    ("mean_confidence", "mean confidence", PERCENT),
)


def robustness(sources: Sources) -> Section:
    """The table of report 5.1 with intervals, every corruption over its severities, and the verdict (TRAPS 10)."""
    there = [name for name in _PRESETS if sources.find(_ROBUST, f"/conditions/{name}") is not None]
    order = _worst_first(sources)
    blocks: list[Block] = [
        quoted(sources, _ROBUST),
        as_table(
            ["films", *(title for _, title, _ in _SCORES), "change of accuracy"],
            [
                [
                    name,
                    *(
                        sources.number(
                            _ROBUST, f"/conditions/{name}/{key}", unit, f"/conditions/{name}/intervals/{key}"
                        )
                        for key, _, unit in _SCORES
                    ),
                    "none by definition"
                    if name == "clean"
                    else sources.number(_ROBUST, f"/conditions/{name}/difference/accuracy", PERCENT),
                ]
                for name in there
            ],
            "Clean films and the two sets of corruptions of the technical report (its section 5.1), on the same films.",
            why_absent(sources, _ROBUST, "/conditions"),
        ),
        paragraph(
            "Accuracy under the severe set less that under the clinical one is {difference}.",
            difference=sources.number(_ROBUST, "/severe_minus_clinical/accuracy", PERCENT),
        ),
        as_table(
            ["corruption", "error over its severities", "above the clean error", "more costs more"],
            [
                [
                    said(sources, _ROBUST, f"/corruptions/{token(name)}/title"),
                    sources.number(_ROBUST, f"/corruptions/{token(name)}/error", PERCENT),
                    sources.number(_ROBUST, f"/corruptions/{token(name)}/excess_error", PERCENT),
                    said(sources, _ROBUST, f"/corruptions/{token(name)}/monotonicity/in_order"),
                ]
                for name in order
            ],
            "Every corruption, the costliest first; error is the mean over five severities.",
            why_absent(sources, _ROBUST, "/corruptions"),
        ),
        paragraph(
            "The mean error over {corruptions} corruptions is {error}, {excess} above that of clean films; {worst} "
            "costs most, and does so in {share} of the resamples.",
            corruptions=sources.number(_ROBUST, "/mean_corruption_error/corruptions"),
            error=sources.number(_ROBUST, "/mean_corruption_error/error", PERCENT),
            excess=sources.number(_ROBUST, "/mean_corruption_error/excess_error", PERCENT),
            worst=said(sources, _ROBUST, "/worst_corruption/name").replace("_", " "),
            share=sources.number(_ROBUST, "/worst_corruption/share_of_resamples", PERCENT),
        ),
        quoted(sources, _ROBUST, "/monotonicity/sentence"),
        sources.picture(_ROBUST, "scores", "Scores under every condition with intervals", "Scores."),
        sources.picture(_ROBUST, "degradation", "Accuracy of each corruption over its severities", "Degradation."),
        sources.picture(_ROBUST, "confidence", "Histograms of confidence, clean and corrupted", "Confidence."),
    ]
    return Section("robustness", "Robustness", tuple(blocks))


def shift(sources: Sources) -> Section:
    """Distances between embeddings of clean and corrupted films, each beside its nulls (report 5.3; TRAPS 13)."""
    distances = names_of(sources, _SHIFT, "/distances")
    conditions = [name for name in _PRESETS[1:] if sources.find(_SHIFT, f"/conditions/{name}") is not None]
    blocks: list[Block] = [
        as_table(
            ["distance", "set", "value", "by exchange, at most", "p after Holm", "between halves of clean films"],
            [
                [
                    said(sources, _SHIFT, f"/distances/{name}/title"),
                    condition,
                    sources.number(_SHIFT, f"{(place := f'/conditions/{condition}/distances/{name}')}"),
                    number_within(sources, _SHIFT, f"{place}/exchange/high"),
                    _p_value(sources, place),
                    sources.number(_SHIFT, f"/distances/{name}/halves"),
                ]
                for name in distances
                for condition in conditions
            ],
            "Distances of the corrupted films' embeddings from the clean ones, and what there is without any "
            "corruption.",
            why_absent(sources, _SHIFT, "/distances"),
        ),
        paragraph(
            "Of {tests} tests none can have a p-value below {smallest} after Holm with {exchanges} exchanges.",
            tests=sources.number(_SHIFT, "/resolution/tests"),
            smallest=sources.number(_SHIFT, "/resolution/smallest_holm"),
            exchanges=sources.number(_SHIFT, "/exchanges"),
        ),
        as_table(
            ["distance", "rank correlation with the accuracy lost"],
            [
                [
                    said(sources, _SHIFT, f"/distances/{name}/title"),
                    sources.number(_SHIFT, f"/association/{name}"),
                ]
                for name in distances
            ],
            "Whether a distance goes with what accuracy loses, over all conditions.",
            why_absent(sources, _SHIFT, "/association"),
        ),
        as_table(
            ["distance", "against", *_OUTCOMES.values()],
            [
                [
                    said(sources, _SHIFT, f"/distances/{name}/title"),
                    title,
                    *(sources.number(_SHIFT, f"/early_warning/{null}/{name}/counts/{key}") for key in _OUTCOMES),
                ]
                for null, title in _NULLS
                for name in distances
                if sources.find(_SHIFT, f"/early_warning/{null}/{name}/counts") is not None
            ],
            "Corruptions by what is seen first as they grow: the distance beyond its null, or accuracy falling beyond "
            "chance.",
            why_absent(sources, _SHIFT, "/early_warning"),
        ),
        sources.picture(_SHIFT, "frechet", "Fréchet distance over severities with its nulls", "Fréchet distance."),
        sources.picture(_SHIFT, "ladders", "Distances over severities in units of their nulls", "All distances."),
    ]
    return Section("shift", "Embedding shift", tuple(blocks))


def mitigation(sources: Sources) -> Section:
    """What each measure buys under corruption and costs on clean films (report 5.5)."""
    arms = [name for name in names_of(sources, _MITIGATION, "/arms") if "mean" in _arm(sources, name)]
    blocks: list[Block] = [
        quoted(sources, _MITIGATION, "/conclusion"),
        as_table(
            ["measure", "passes a film", "accuracy gained under corruption", "on clean films", "log loss gained"],
            [
                [
                    said(sources, _MITIGATION, f"/arms/{token(name)}/title"),
                    sources.number(_MITIGATION, f"/arms/{token(name)}/passes_per_film"),
                    sources.number(_MITIGATION, f"/arms/{token(name)}/mean/corrupted/accuracy", PERCENT),
                    sources.number(_MITIGATION, f"/arms/{token(name)}/conditions/clean/gain/accuracy", PERCENT),
                    sources.number(_MITIGATION, f"/arms/{token(name)}/mean/corrupted/log_loss"),
                ]
                for name in arms
            ],
            "What each measure gains over the model as it is, in points of accuracy; a gain in log loss is a fall.",
            why_absent(sources, _MITIGATION, "/arms"),
        ),
        as_table(
            ["measure", "accuracy gained under corruption over its twin", "on clean films"],
            [
                [
                    said(sources, _MITIGATION, f"/arms/{token(name)}/title"),
                    sources.number(_MITIGATION, f"/arms/{token(name)}/over_twin/corrupted/accuracy", PERCENT),
                    sources.number(_MITIGATION, f"/arms/{token(name)}/over_twin/clean/accuracy", PERCENT),
                ]
                for name in arms
                if "over_twin" in _arm(sources, name)
            ],
            "Measures that train anew, against a twin trained alike without them.",
            why_absent(sources, _MITIGATION, "/arms"),
            "No measure has a twin." if arms else "",
        ),
        paragraph(
            "Left to a human below a confidence of {threshold}: {coverage} of the corrupted films are still answered, "
            "and accuracy of the answers gains {gained}.",
            threshold=sources.number(_MITIGATION, "/abstention/threshold"),
            coverage=sources.number(_MITIGATION, "/abstention/mean/coverage", PERCENT),
            gained=sources.number(_MITIGATION, "/abstention/mean/gained", PERCENT),
        ),
        *(
            quoted(sources, _MITIGATION, f"/arms/{token(name)}/verdicts/accuracy/sentence")
            for name in arms
            if "verdicts" in _arm(sources, name)
        ),
        quoted(sources, _MITIGATION, "/abstention/verdict/sentence"),
        sources.picture(_MITIGATION, "gains", "Gain of each measure under each condition", "Gains."),
    ]
    return Section("mitigation", "Mitigation", tuple(blocks))


def _p_value(sources: Sources, place: str) -> Cell:
    """The corrected p-value of a distance; ``none`` where no exchange can test it, for the reason beside it."""
    untested = sources.find(_SHIFT, f"{place}/exchange/reason") and sources.find(_SHIFT, f"{place}/holm") is None
    return "none" if untested else number_within(sources, _SHIFT, f"{place}/holm")


def _arm(sources: Sources, name: str) -> dict[str, object]:
    found = sources.find(_MITIGATION, f"/arms/{token(name)}")
    return found if isinstance(found, dict) else {}


def _worst_first(sources: Sources) -> list[str]:
    """Names of the corruptions by error, the largest first; those without one last."""

    def error(name: str) -> tuple[float, str]:
        value = sources.number(_ROBUST, f"/corruptions/{token(name)}/error").value
        return (1.0 if value is None else -float(value), name)

    return sorted(names_of(sources, _ROBUST, "/corruptions"), key=error)
