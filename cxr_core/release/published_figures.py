"""The figures that the technical report printed, as data: each with its section, its decimals, and where ours is.

They are claims to test, not constants: nothing else in this project reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cxr_core.release.document import PERCENT

__all__ = ["CLASSES", "FIGURES", "PUBLISHED", "Published"]

CLASSES: tuple[str, ...] = ("Normal", "Pneumonia", "Tuberculosis")


@dataclass(frozen=True)
class Published:
    """One printed figure.

    Attributes:
        key: stable name.
        section: of the technical report, or ``TRAPS n`` for a count of its reference implementation.
        title: what it is.
        value: as printed, shares as 0-1.
        half: half of its last printed digit: what rounding may hide. Counts have 0.
        ours: asset and JSON pointer of the same quantity here; empty where there is none. A step ``last`` is a list's
            last entry.
        absent: why there is none, as it follows "not available:"; empty where there is one.
        unit: as of :class:`cxr_core.release.document.Number`.
        bounds: JSON pointer of our interval where it stands apart from our value.
    """

    key: str
    section: str
    title: str
    value: float | int
    half: float = 0.0
    ours: tuple[str, str] | tuple[()] = ()
    absent: str = ""
    unit: str = ""
    bounds: str = ""

    @property
    def range(self) -> tuple[float, float]:
        """The values that print as this one."""
        return self.value - self.half, self.value + self.half


_CENT, _MILLE = 0.005, 0.0005  # half of the last digit of .78 and of 78.4 %
_OTHER_FILMS = "it describes the report's own films"
_OTHER_LOSS = "a loss whose gamma was searched compares with nothing (TRAPS 5)"


def _scores() -> list[Published]:
    macro = {
        "accuracy": ("Accuracy", 0.784, _MILLE),
        "macro_f1": ("Macro F1", 0.80, _CENT),
        "macro_auc": ("Macro AUC", 0.94, _CENT),
        "macro_precision": ("Macro precision", 0.81, _CENT),
        "macro_recall": ("Macro recall", 0.82, _CENT),
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
            found.append(
                Published(f"{name}/{label}", "4.1", f"{label}: {title}", value, _CENT, where, unit=_unit(name))
            )
        where = ("evaluation", f"/overall/per_class/{label}/support")
        found.append(Published(f"support/{label}", "4.1", f"{label}: test films", row[4], 0.0, where))
    return found


_TITLES = ("precision", "recall", "F1", "AUC")
_SHARES = ("accuracy", "precision", "recall", "mean_confidence")  # written in percent


def _unit(name: str) -> str:
    return PERCENT if name.removeprefix("macro_") in _SHARES else ""


def _robustness() -> list[Published]:
    table = {  # section 5.1: accuracy, macro F1, AUC; 5.2: mean confidence
        "clean": (0.783, 0.79, 0.94, 0.76),
        "clinical": (0.749, 0.76, 0.87, 0.79),
        "severe": (0.755, 0.76, 0.91, 0.72),
    }
    measures = (
        ("accuracy", "accuracy", "5.1", _MILLE),
        ("macro_f1", "macro F1", "5.1", _CENT),
        ("macro_auc", "macro AUC", "5.1", _CENT),
        ("mean_confidence", "mean confidence", "5.2", _CENT),
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
    names = (("cosine", "cosine distance", _CENT), ("frechet", "Fréchet distance", 0.05), ("norm", "norm shift", _CENT))
    for condition, row in distances.items():
        for (key, title, half), value in zip(names, row, strict=True):
            where = ("embedding_shift", f"/conditions/{condition}/{key}")
            name = f"{condition.capitalize()} against clean films: {title}"
            found.append(Published(f"{key}/{condition}", "5.3", name, value, half, where))
    return found


def _data() -> list[Published]:
    found = [Published("films", "2.1", "Films", 25553, absent=_OTHER_FILMS)]
    for part, number in (("train", 20441), ("validation", 2556), ("test", 2556)):
        found.append(Published(f"films/{part}", "2.1", f"Films of the {part} part", number, absent=_OTHER_FILMS))
    for label, number in zip(CLASSES, (9088, 5824, 10641), strict=True):
        found.append(Published(f"films/{label}", "2.2", f"Films of {label}", number, absent=_OTHER_FILMS))
    for key, title, value in (
        ("under_exposed", "Under-exposed films", 0.032),
        ("over_exposed", "Over-exposed films", 0.018),
    ):
        found.append(
            Published(key, "2.3", title, value, _MILLE, absent="ours are counted in the data section", unit=PERCENT)
        )
    return found


def _training() -> list[Published]:
    history = ("trained_model", "/training/history")
    return [
        Published(
            "rate_said_tuned", "3.2", "Learning rate, called tuned", 0.0001, absent="it names another rate in 3.3"
        ),
        Published("trials", "3.3", "Trials of the search", 15, absent="ours are counted in the training section"),
        Published(
            "learning_rate",
            "3.3",
            "Learning rate",
            0.00035,
            5e-7,
            ("trained_model", "/training/hyperparameters/learning_rate"),
        ),
        Published(
            "weight_decay",
            "3.3",
            "Weight decay",
            0.0000118,
            5e-8,
            ("trained_model", "/training/hyperparameters/weight_decay"),
        ),
        Published("dropout", "3.3", "Dropout", 0.516, _MILLE, ("trained_model", "/dropout")),
        Published("batch_size", "3.3", "Batch size", 16, 0, ("trained_model", "/training/hyperparameters/batch_size")),
        Published(
            "freeze_epochs", "3.3", "Frozen epochs", 7, 0, ("trained_model", "/training/hyperparameters/freeze_epochs")
        ),
        Published("focal_gamma", "3.3", "Focal gamma", 2.49, _CENT, absent=_OTHER_LOSS),
        Published("best_loss", "3.3", "Best validation loss of the search", 0.0142, 5e-5, absent=_OTHER_LOSS),
        Published(
            "planned_epochs",
            "3.2",
            "Epochs of the cosine schedule",
            100,
            0,
            ("trained_model", "/training/training/max_epochs"),
        ),
        Published("patience", "3.2", "Patience, epochs", 15, 0, ("trained_model", "/training/training/patience")),
        Published("epochs", "3.4", "Epochs trained", 35, absent="ours are counted in the training section"),
        Published("best_epoch", "3.4", "Best epoch", 34, 0, ("trained_model", "/training/best_epoch")),
        Published("train_loss", "3.4", "Training loss", 0.0217, 5e-5, absent=_OTHER_LOSS),
        Published("val_loss", "3.4", "Validation loss", 0.0198, 5e-5, absent=_OTHER_LOSS),
        Published(
            "train_accuracy",
            "3.4",
            "Training accuracy",
            0.778,
            _MILLE,
            (history[0], f"{history[1]}/last/train_accuracy"),
            unit=PERCENT,
        ),
        Published(
            "val_accuracy",
            "3.4",
            "Validation accuracy",
            0.777,
            _MILLE,
            (history[0], f"{history[1]}/last/val_accuracy"),
            unit=PERCENT,
        ),
    ]


def _failures() -> list[Published]:
    report = "failure_report"
    return [
        Published(
            "false_positives", "6.2", "Normal films called a disease", 173, 0, (report, "/false_positives/count")
        ),
        Published(
            "false_positive_share", "6.2", "Their share", 0.19, _CENT, (report, "/false_positives"), unit=PERCENT
        ),
        Published("false_negatives", "6.2", "Diseased films called normal", 126, 0, (report, "/false_negatives/count")),
        Published(
            "false_negative_share", "6.2", "Their share", 0.14, _CENT, (report, "/false_negatives"), unit=PERCENT
        ),
        Published(
            "between_diseases",
            "6.2",
            "Pneumonia and tuberculosis confused",
            267,
            0,
            (report, "/counts/between_diseases"),
        ),
        Published(
            "resolution_gap",
            "6.3",
            "Largest gap between resolutions",
            0.02,
            absent="ours are gaps with intervals and tests, in the subgroups section",
            unit=PERCENT,
        ),
        Published(
            "gate_f1",
            "6.4",
            "Least macro F1 before release",
            0.75,
            _CENT,
            ("release_candidate", "/gate/rules/macro_f1/limit"),
        ),
        Published(
            "flag_confidence",
            "6.4",
            "Confidence below which a film is flagged",
            0.7,
            0.05,
            ("uncertainty", "/flag/threshold"),
        ),
        Published(
            "own_missed",
            "TRAPS 10",
            "Diseased films called normal, its own counts",
            541,
            0,
            (report, "/false_negatives/count"),
        ),
        Published(
            "own_flagged",
            "TRAPS 10",
            "Normal films called a disease, its own counts",
            32,
            0,
            (report, "/false_positives/count"),
        ),
        Published(
            "own_between",
            "TRAPS 10",
            "Pneumonia and tuberculosis confused, its own counts",
            0,
            0,
            (report, "/counts/between_diseases"),
        ),
    ]


PUBLISHED: tuple[Published, ...] = (*_data(), *_training(), *_scores(), *_robustness(), *_failures())
FIGURES: Mapping[str, Published] = {figure.key: figure for figure in PUBLISHED}
