"""The technical report's tables of scores (section 4.1), robustness (5.1, 5.2) and embeddings (5.3), as data."""

from __future__ import annotations

from cxr_core.release.document import PERCENT
from cxr_core.release.published_figure import CENT, MILLE, Published

__all__ = ["robustness", "scores"]


def scores() -> list[Published]:
    macro = {
        "accuracy": ("Accuracy", 0.784, MILLE),
        "macro_f1": ("Macro F1", 0.80, CENT),
        "macro_auc": ("Macro AUC", 0.94, CENT),
        "macro_precision": ("Macro precision", 0.81, CENT),
        "macro_recall": ("Macro recall", 0.82, CENT),
    }
    table = {  # section 4.1: precision, recall, F1, AUC, support
        "Normal": (0.66, 0.83, 0.73, 0.89, 909),
        "Pneumonia": (0.79, 1.00, 0.88, 0.99, 583),
        "Tuberculosis": (1.00, 0.63, 0.77, 0.94, 1064),
    }
    found = [
        Published(key, "4.1", title, value, half, ("evaluation", f"/intervals/{key}"), unit=_unit(key))
        for key, (title, value, half) in macro.items()
    ]
    for label, row in table.items():
        for name, title, value in zip(("precision", "recall", "f1", "auc"), _TITLES, row[:4], strict=True):
            where = ("evaluation", f"/intervals/per_class/{label}/{name}")
            found.append(Published(f"{name}/{label}", "4.1", f"{label}: {title}", value, CENT, where, unit=_unit(name)))
        where = ("evaluation", f"/overall/per_class/{label}/support")
        found.append(Published(f"support/{label}", "4.1", f"{label}: test films", row[4], 0.0, where))
    return found


_TITLES = ("precision", "recall", "F1", "AUC")
_SHARES = ("accuracy", "precision", "recall", "mean_confidence")  # written in percent


def _unit(name: str) -> str:
    return PERCENT if name.removeprefix("macro_") in _SHARES else ""


def robustness() -> list[Published]:
    table = {  # section 5.1: accuracy, macro F1, AUC; 5.2: mean confidence
        "clean": (0.783, 0.79, 0.94, 0.76),
        "clinical": (0.749, 0.76, 0.87, 0.79),
        "severe": (0.755, 0.76, 0.91, 0.72),
    }
    measures = (
        ("accuracy", "accuracy", "5.1", MILLE),
        ("macro_f1", "macro F1", "5.1", CENT),
        ("macro_auc", "macro AUC", "5.1", CENT),
        ("mean_confidence", "mean confidence", "5.2", CENT),
    )
    found = [
        Published(
            f"{key}/{condition}",
            section,
            f"{condition.capitalize()} films: {title}",
            value,
            half,
            ("robustness", f"/conditions/{condition}/{key}"),
            unit=_unit(key),
            bounds=f"/conditions/{condition}/intervals/{key}",
        )
        for condition, row in table.items()
        for (key, title, section, half), value in zip(measures, row, strict=True)
    ]
    distances = {  # section 5.3: cosine distance, Fréchet distance, norm shift
        "clinical": (0.50, 436.0, 0.83),
        "severe": (0.66, 402.9, 6.50),
    }
    names = (
        ("cosine", "cosine distance", CENT),
        ("frechet", "Fréchet distance", 0.05),
        ("norm_shift", "norm shift", CENT),
    )
    for condition, row in distances.items():
        for (key, title, half), value in zip(names, row, strict=True):
            where = ("embedding_shift", f"/conditions/{condition}/distances/{key}")
            name = f"{condition.capitalize()} against clean films: {title}"
            found.append(Published(f"{key}/{condition}", "5.3", name, value, half, where))
    return found
