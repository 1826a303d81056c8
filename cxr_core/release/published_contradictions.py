"""Where the technical report contradicts itself, found by code in its own printed figures (TRAPS 7, 10, 11).

Each finding states a claim of the report and the figures against it. Whether it stands is computed: with other figures
it would not be listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cxr_core.release.document import PERCENT, Number
from cxr_core.release.published_derived import TECHNICAL_REPORT, Figures, derived
from cxr_core.release.published_figure import CLASSES
from cxr_core.release.published_figures import FIGURES

__all__ = ["Contradiction", "contradictions", "printed"]


@dataclass(frozen=True)
class Contradiction:
    """One claim of the report beside figures of the report.

    Attributes:
        key: stable name.
        sections: of the report, where claim and figures stand.
        text: a template over ``numbers``.
        numbers: printed figures, or the least and the most that they allow.
        stands: whether the figures are against the claim.
    """

    key: str
    sections: str
    text: str
    numbers: Mapping[str, Number]
    stands: bool


def printed(key: str, figures: Figures = FIGURES) -> Number:
    """A printed figure as a number of a document; its source resolves in ``Sources``."""
    escaped = key.replace("/", "~1")  # RFC 6901
    return Number(figures[key].value, unit=figures[key].unit, source=f"{TECHNICAL_REPORT}#/{escaped}")


def _ends(name: str, figures: Figures, unit: str = "") -> tuple[Number, Number]:
    low, high = derived(figures, name)
    where = f"{TECHNICAL_REPORT}#/derived/{name}"
    return Number(low, unit=unit, source=f"{where}/least"), Number(high, unit=unit, source=f"{where}/most")


def _lowest_recall(figures: Figures) -> Contradiction:
    recalls = {label: figures[f"recall/{label}"].value for label in CLASSES}
    named, lowest = "Pneumonia", min(recalls, key=lambda label: recalls[label])
    text = (
        f"Section 6.3 says that {named} has the lowest recall. In its table of section 4.1 {named} has {{named}}, and "
        f"{lowest} has the lowest, {{lowest}}."
    )
    numbers = {"named": printed(f"recall/{named}", figures), "lowest": printed(f"recall/{lowest}", figures)}
    return Contradiction("lowest_recall", "6.3, 4.1", text, numbers, named != lowest)


def _conservative(figures: Figures) -> Contradiction:
    missed, flagged = _ends("missed", figures), _ends("flagged", figures)
    text = (
        "Sections 4.2 and 6.2 call the model conservative, given rather to flag than to miss. By the scores of section "
        "4.1 between {missed_low} and {missed_high} diseased films are called normal, and between {flagged_low} and "
        "{flagged_high} normal films a disease; its own counts are {own_missed} and {own_flagged}."
    )
    numbers = {
        "missed_low": missed[0],
        "missed_high": missed[1],
        "flagged_low": flagged[0],
        "flagged_high": flagged[1],
        "own_missed": printed("own_missed", figures),
        "own_flagged": printed("own_flagged", figures),
    }
    low, high = derived(figures, "missed")[0], derived(figures, "flagged")[1]
    stands = low > high and figures["own_missed"].value > figures["own_flagged"].value
    return Contradiction("conservative", "4.2, 6.2, 4.1", text, numbers, stands)


def _outside(key: str, name: str, sections: str, text: str) -> Callable[[Figures], Contradiction]:
    """A printed count that the scores of section 4.1 do not allow."""

    def judge(figures: Figures) -> Contradiction:
        low, high = _ends(name, figures)
        least, most = derived(figures, name)
        numbers = {"said": printed(key, figures), "low": low, "high": high}
        return Contradiction(key, sections, text, numbers, not least <= figures[key].value <= most)

    return judge


_missed_count = _outside(
    "false_negatives",
    "missed",
    "6.2, 4.1",
    "Section 6.2 counts {said} diseased films called normal; the scores of section 4.1 allow from {low} to {high}.",
)
_flagged_count = _outside(
    "false_positives",
    "flagged",
    "6.2, 4.1",
    "Section 6.2 counts {said} normal films called a disease; the scores of section 4.1 allow from {low} to {high}.",
)
_between_count = _outside(
    "between_diseases",
    "between_diseases",
    "6.2, 4.1",
    "Section 6.2 counts {said} confusions of pneumonia and tuberculosis; the scores of section 4.1 allow from {low} to "
    "{high}.",
)


def _share_of_missed(figures: Figures) -> Contradiction:
    share = derived(figures, "false_negative_share")[0]
    low, high = figures["false_negative_share"].range
    text = (
        "Section 6.2 calls {count} missed films {said} of the diseased; of the {pneumonia} and {tuberculosis} films "
        "with a disease they are {found}."
    )
    numbers = {
        "count": printed("false_negatives", figures),
        "said": printed("false_negative_share", figures),
        "pneumonia": printed(f"support/{CLASSES[1]}", figures),
        "tuberculosis": printed(f"support/{CLASSES[2]}", figures),
        "found": _ends("false_negative_share", figures, PERCENT)[0],
    }
    return Contradiction("false_negative_share", "6.2, 4.1", text, numbers, not low <= share <= high)


def _errors(figures: Figures) -> Contradiction:
    low, high = _ends("errors_by_accuracy", figures)
    least, most = derived(figures, "errors_by_accuracy")
    found = derived(figures, "errors_by_counts")[0]
    text = (
        "The counts of section 6.2 add up to {found} wrong films; an accuracy of {accuracy} on the test films of "
        "section 4.1 leaves from {low} to {high}."
    )
    numbers = {
        "found": _ends("errors_by_counts", figures)[0],
        "accuracy": printed("accuracy", figures),
        "low": low,
        "high": high,
    }
    return Contradiction("errors", "6.2, 4.1", text, numbers, not least <= found <= most)


def _confidence(figures: Figures) -> Contradiction:
    confidence = [figures[f"mean_confidence/{condition}"].value for condition in ("clean", "clinical")]
    accuracy = [figures[f"accuracy/{condition}"].value for condition in ("clean", "clinical")]
    text = (
        "Section 5.2 says that uncertainty follows image quality. From clean to clinical films accuracy goes from "
        "{clean} to {clinical}, and mean confidence from {sure} to {surer}."
    )
    numbers = {
        "clean": printed("accuracy/clean", figures),
        "clinical": printed("accuracy/clinical", figures),
        "sure": printed("mean_confidence/clean", figures),
        "surer": printed("mean_confidence/clinical", figures),
    }
    return Contradiction(
        "confidence", "5.2, 5.1", text, numbers, accuracy[1] < accuracy[0] and confidence[1] > confidence[0]
    )


def _severity(figures: Figures) -> Contradiction:
    worse = [figures[f"{key}/severe"].value > figures[f"{key}/clinical"].value for key in ("accuracy", "macro_auc")]
    text = (
        "Section 5.1 says that performance falls smoothly with corruption. Severe corruption leaves an accuracy of "
        "{severe} and a macro AUC of {severe_auc}, the milder clinical one {clinical} and {clinical_auc}."
    )
    numbers = {
        "severe": printed("accuracy/severe", figures),
        "clinical": printed("accuracy/clinical", figures),
        "severe_auc": printed("macro_auc/severe", figures),
        "clinical_auc": printed("macro_auc/clinical", figures),
    }
    return Contradiction("severity", "5.1", text, numbers, any(worse))


def _clean_twice(figures: Figures) -> Contradiction:
    one, other = figures["accuracy"], figures["accuracy/clean"]
    text = (
        "Section 4.1 gives an accuracy of {one} and a macro F1 of {f1} on the test films, section 5.1 {other} and "
        "{other_f1} on the same films without corruption."
    )
    numbers = {
        "one": printed("accuracy", figures),
        "f1": printed("macro_f1", figures),
        "other": printed("accuracy/clean", figures),
        "other_f1": printed("macro_f1/clean", figures),
    }
    return Contradiction("clean_twice", "4.1, 5.1", text, numbers, one.value != other.value)


def _early_stop(figures: Figures) -> Contradiction:
    after = derived(figures, "epochs_after_best")[0]
    text = (
        "Section 3.4 says that training stopped early after {epochs} epochs, the best being {best}: {after} later. "
        "Section 3.2 waits for {patience} epochs without a better one."
    )
    numbers = {
        "epochs": printed("epochs", figures),
        "best": printed("best_epoch", figures),
        "after": _ends("epochs_after_best", figures)[0],
        "patience": printed("patience", figures),
    }
    return Contradiction("early_stop", "3.4, 3.2", text, numbers, after < figures["patience"].value)


def _tuned_rate(figures: Figures) -> Contradiction:
    text = "Section 3.2 calls a learning rate of {said} tuned; the search of section 3.3 chose {found}."
    numbers = {"said": printed("rate_said_tuned", figures), "found": printed("learning_rate", figures)}
    low, high = figures["learning_rate"].range
    stands = not low <= figures["rate_said_tuned"].value <= high
    return Contradiction("tuned_rate", "3.2, 3.3", text, numbers, stands)


_JUDGES: tuple[Callable[[Figures], Contradiction], ...] = (
    _lowest_recall,
    _conservative,
    _missed_count,
    _flagged_count,
    _between_count,
    _share_of_missed,
    _errors,
    _confidence,
    _severity,
    _clean_twice,
    _early_stop,
    _tuned_rate,
)


def contradictions(figures: Figures = FIGURES) -> tuple[Contradiction, ...]:
    """Every claim with the figures beside it, whether it stands or not; the order is that of this module."""
    return tuple(judge(figures) for judge in _JUDGES)
