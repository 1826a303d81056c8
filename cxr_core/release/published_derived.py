"""What the technical report's printed scores imply for its counts, with all that rounding may hide.

Each function returns the least and the most that the printed figures allow: a contradiction found from them is none of
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cxr_core.release.published_figure import CLASSES, Published
from cxr_core.release.published_figures import FIGURES

__all__ = ["DERIVED", "TECHNICAL_REPORT", "Figures", "Range", "derived", "technical_report"]

TECHNICAL_REPORT = "technical_report"  # name under which the printed figures are read, as reports of assets are

Figures = Mapping[str, Published]
Range = tuple[float, float]


def _within(figure: Published) -> Range:
    """A share's printed range, cut at 0 and 1."""
    low, high = figure.range
    return max(low, 0.0), min(high, 1.0)


def _right(figures: Figures, label: str) -> Range:
    """Films of a class that were called so: recall times support."""
    low, high = _within(figures[f"recall/{label}"])
    support = figures[f"support/{label}"].value
    return low * support, high * support


def _called_wrongly(figures: Figures, label: str) -> Range:
    """Films of other classes called this one: right (1 / precision - 1)."""
    low, high = _right(figures, label)
    worst, best = _within(figures[f"precision/{label}"])
    return low * (1 / best - 1), high * (1 / worst - 1)


def _missed(figures: Figures) -> Range:
    """Diseased films called normal: what is wrong among the films called normal."""
    return _called_wrongly(figures, CLASSES[0])


def _flagged(figures: Figures) -> Range:
    """Normal films called a disease: normal films that were not called normal."""
    low, high = _right(figures, CLASSES[0])
    support = figures[f"support/{CLASSES[0]}"].value
    return support - high, support - low


def _between(figures: Figures) -> Range:
    """Films of one disease called the other: films wrongly called a disease, less the normal ones among them."""
    wrongly = [_called_wrongly(figures, label) for label in CLASSES[1:]]
    low, high = _flagged(figures)
    return max(sum(a for a, _ in wrongly) - high, 0.0), max(sum(b for _, b in wrongly) - low, 0.0)


def _films(figures: Figures) -> float:
    return float(sum(figures[f"support/{label}"].value for label in CLASSES))


def _errors_by_accuracy(figures: Figures) -> Range:
    """Wrong films by the printed accuracy."""
    low, high = figures["accuracy"].range
    return (1 - high) * _films(figures), (1 - low) * _films(figures)


def _errors_by_counts(figures: Figures) -> Range:
    """Wrong films by the counts of section 6.2, which are whole numbers."""
    total = float(sum(figures[key].value for key in ("false_positives", "false_negatives", "between_diseases")))
    return total, total


def _false_negative_share(figures: Figures) -> Range:
    """Share of the diseased films that the printed count of false negatives is."""
    share = figures["false_negatives"].value / sum(figures[f"support/{label}"].value for label in CLASSES[1:])
    return share, share


def _epochs_after_best(figures: Figures) -> Range:
    """Epochs trained after the best one."""
    number = float(figures["epochs"].value - figures["best_epoch"].value)
    return number, number


DERIVED: Mapping[str, Callable[[Figures], Range]] = {
    "missed": _missed,
    "flagged": _flagged,
    "between_diseases": _between,
    "errors_by_accuracy": _errors_by_accuracy,
    "errors_by_counts": _errors_by_counts,
    "false_negative_share": _false_negative_share,
    "epochs_after_best": _epochs_after_best,
}


def derived(figures: Figures, name: str) -> Range:
    """The least and the most of a quantity in :data:`DERIVED` that the printed figures allow; whole ones as int."""
    low, high = (int(end) if end == int(end) else end for end in DERIVED[name](figures))
    return low, high


def technical_report(figures: Figures = FIGURES) -> dict[str, Any]:
    """The printed figures as a report: key to value, ``derived`` to name to ``least`` and ``most``."""
    bounds = {name: derived(figures, name) for name in DERIVED}
    return {
        **{key: figure.value for key, figure in figures.items()},
        "derived": {name: {"least": low, "most": high} for name, (low, high) in bounds.items()},
    }
