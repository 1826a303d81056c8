"""The figures that the technical report printed, as data: each with its section, its decimals, and where ours is.

They are claims to test, not constants: nothing else in this project reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

from cxr_core.release.document import PERCENT
from cxr_core.release.published_figure import CENT, CLASSES, MILLE, Published
from cxr_core.release.published_scores import robustness, scores

__all__ = ["FIGURES", "PUBLISHED"]

_OTHER_FILMS = "it describes the report's own films"
_OTHER_LOSS = "a loss whose gamma was searched compares with no other loss"  # TRAPS 5
_CODE = "its code"  # counts of the report's reference implementation: TRAPS 10


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
            Published(key, "2.3", title, value, MILLE, absent="ours are counted in the data section", unit=PERCENT)
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
        Published("dropout", "3.3", "Dropout", 0.516, MILLE, ("trained_model", "/dropout")),
        Published("batch_size", "3.3", "Batch size", 16, 0, ("trained_model", "/training/hyperparameters/batch_size")),
        Published(
            "freeze_epochs", "3.3", "Frozen epochs", 7, 0, ("trained_model", "/training/hyperparameters/freeze_epochs")
        ),
        Published("focal_gamma", "3.3", "Focal gamma", 2.49, CENT, absent=_OTHER_LOSS),
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
            MILLE,
            (history[0], f"{history[1]}/last/train_accuracy"),
            unit=PERCENT,
        ),
        Published(
            "val_accuracy",
            "3.4",
            "Validation accuracy",
            0.777,
            MILLE,
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
        Published("false_positive_share", "6.2", "Their share", 0.19, CENT, (report, "/false_positives"), unit=PERCENT),
        Published("false_negatives", "6.2", "Diseased films called normal", 126, 0, (report, "/false_negatives/count")),
        Published("false_negative_share", "6.2", "Their share", 0.14, CENT, (report, "/false_negatives"), unit=PERCENT),
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
            CENT,
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
            _CODE,
            "Diseased films called normal, its own counts",
            541,
            0,
            (report, "/false_negatives/count"),
        ),
        Published(
            "own_flagged",
            _CODE,
            "Normal films called a disease, its own counts",
            32,
            0,
            (report, "/false_positives/count"),
        ),
        Published(
            "own_between",
            _CODE,
            "Pneumonia and tuberculosis confused, its own counts",
            0,
            0,
            (report, "/counts/between_diseases"),
        ),
    ]


PUBLISHED: tuple[Published, ...] = (*_data(), *_training(), *scores(), *robustness(), *_failures())
FIGURES: Mapping[str, Published] = {figure.key: figure for figure in PUBLISHED}
