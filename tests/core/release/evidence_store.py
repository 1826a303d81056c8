"""A small store with every report about a model, as the assets write them: each number is another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_core.release.evidence import REPORTS, SAYS
from cxr_core.release.report_sources import Sources
from cxr_core.store import Artefact, ArtefactStore

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
SOURCES = ("north", "south/annex")  # a name that a JSON pointer has to escape
PATIENT = "DOE_JOHN"
NOTICE = "For research use; not a medical device."
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636800000082008177cd72b6"
    "0000000049454e44ae426082"
)
FIGURES: Mapping[str, tuple[str, ...]] = {
    "evaluation": ("confusion_matrix", "roc_curves"),
    "robustness": ("scores", "degradation"),
    "gradcam_gallery": ("gallery",),
    "trained_model": ("training_curves",),
}


class _Numbers:
    """Different numbers between 0 and 1, one after the other, so that a mixed-up pointer is seen."""

    def __init__(self) -> None:
        self._count = 0

    def share(self) -> float:
        self._count += 1
        return round((self._count * 0.6180339887) % 1, 6)

    def entry(self, **more: Any) -> dict[str, Any]:
        value = self.share()
        return {"value": value, "low": round(value - 0.05, 6), "high": round(value + 0.05, 6), **more}

    def entries(self, *names: str) -> dict[str, Any]:
        return {name: self.entry() for name in names}

    def count(self) -> int:
        self._count += 1
        return 100 + self._count


SCORES = ("accuracy", "macro_f1", "macro_auc", "macro_pr_auc", "macro_precision", "macro_recall", "macro_specificity",
          "kappa", "mcc", "log_loss", "brier")  # fmt: skip


def _verdict(passed: bool, sentence: str, n: _Numbers) -> dict[str, Any]:
    return {"passed": passed, "sentence": sentence, "limit": n.share(), **n.entry()}


def _evaluation(n: _Numbers) -> dict[str, Any]:
    def scores() -> dict[str, Any]:
        return {
            **n.entries(*SCORES),
            "level": 0.95, "resamples": 2000, "groups": 91, "method": "percentile bootstrap over groups",
            "per_class": {c: n.entries("precision", "recall", "specificity", "f1", "auc", "pr_auc") for c in LABELS},
        }  # fmt: skip

    return {
        "overall": {
            "n": 101, "labels": list(LABELS), "confusion": [[n.count() for _ in LABELS] for _ in LABELS],
            "per_class": {label: {"support": n.count()} for label in LABELS},
        },
        "intervals": scores(),
        "macro_over_sources": {**scores(), "disease_auc": n.entry()},
        "per_source": {
            SOURCES[0]: {"metrics": {"n": 61}, "intervals": scores(), "disease_auc": n.entry()},
            SOURCES[1]: {
                "metrics": {"n": 40}, "intervals": scores(),
                "disease_auc": {"value": 1.0, "low": None, "high": None, "reason": "no interval: 2 patient groups"},
            },
        },
        "split": "test", "seed": 42, "notice": NOTICE,
    }  # fmt: skip


def _trust(n: _Numbers) -> dict[str, dict[str, Any]]:
    claim = {"claim": "Performance varies by 2%.", "holds": False, "measured": "It varies by 9%.", "section": "6.3"}
    return {
        "shortcut_audit": {
            "films": 300, "verdict": _verdict(False, "94% of the score is had without lungs.", n),
            "views": [{"title": "the film", "lung_free": False, "macro_auc": n.entry(), "null": {"high": n.share()},
                       "accuracy": n.entry()}],
            "marks": [
                {"title": "white box", "films": n.count(), "by_class": {c: {"marked": n.count()} for c in LABELS}},
            ],
            "model": {
                "explained": n.entry(), "inside_against_pooled": n.entries("inside", "pooled", "difference"),
                "views": {"border": n.entry(view="ring of the frame", view_auc=n.share())},
            },
            "source": {"cramers_v": {"value": n.share(), "low": None, "high": None}, "unknown_films": 0},
        },
        "label_audit": {
            "films": 300, "overall": n.entry(), "verdict": _verdict(False, "16.8% of the labels are wrong.", n),
            "classes": {
                c: {"films": n.count(), **n.entries("noise", "perfect_recall", "model_recall")} for c in LABELS
            },
            "cells": [
                {"source": SOURCES[0], "label": "Normal", "other": "Pneumonia", "films": 70, "is_mixture": False},
                {"source": SOURCES[1], "label": "Pneumonia", "other": "Normal", "films": 77, "is_mixture": True,
                 "share": n.entry()},
            ],
            "contradictions": {"contents": 1, "files": 2}, "queue": {"films": 55}, "settled_by_readers": 3,
            "without_suspects": {"left_out": 54, "without_minus_with": {"macro_auc": n.entry()}},
        },
        "subgroup_report": {
            "alpha": 0.05, "verdict": _verdict(True, "None of 4 strata is surely worse.", n), "claims": [claim],
            "titles": {"resolution": "longest side"},
            "strata": [
                {"dimension": "source", "stratum": SOURCES[0], "films": 61, "scores": {"accuracy": n.entry()},
                 "gap": n.entry(holm=1.0), "standardised_gap": n.entry(holm=0.5)},
                {"dimension": "source", "stratum": SOURCES[1], "films": 5, "scores": {},
                 "gap": {"value": None, "low": None, "high": None, "reason": "the stratum has 5 films"}},
            ],
            "crop_sensitivity": {"conditions": {"shifted by 5%": n.entries("accuracy", "accuracy_change", "changed")}},
        },
        "failure_report": {
            "n": 101, "counts": {"errors": 22, "between_diseases": 4}, "claims": [claim],
            "false_positives": n.entry(count=6), "false_negatives": n.entry(count=12),
            "pairs": [{"true": "Normal", "predicted": "Pneumonia", "count": 6, **n.entries("of_true", "of_errors")}],
            "sentences": ["None of 30 associations is significant."],
            "associations": [n.entry(title="mean grey level", outcome="error", holm=0.7)],
        },
        "film_detector": {
            "embedding_size": 1280, "verdict": _verdict(True, "0.0% of 149 films are refused.", n),
            "kinds": [n.entry(title="drawn scenes", films=40, auc=n.share())],
        },
    }  # fmt: skip


def _probabilities(n: _Numbers) -> dict[str, dict[str, Any]]:
    stage = {"null": {"mean": n.share(), "high": n.share()}, "classwise": n.entry()}
    point = {"name": "tb_sensitivity_90", "label": "Tuberculosis", **n.entries("sensitivity", "specificity")}
    sets = {
        "all": n.entries("coverage", "each_group_once"), "mean_size": n.entry(),
        "singletons": {"films": 30, "accuracy": n.entry()},
        "per_class": {label: n.entries("coverage") for label in LABELS},
        "per_source": {source: n.entries("coverage") for source in SOURCES},
    }  # fmt: skip
    return {
        "calibrated_model": {
            "measured_on": "test", "verdict": _verdict(True, "Calibration error is within its null.", n),
            "temperature": {"temperature": 1.12, "films": 99, "groups": 88},
            **{key: stage | n.entries("expected_calibration_error", "log_loss", "brier")
               for key in ("before", "after", "after_vector")},
        },
        "operating_points": {"digest": "d" * 64, "points": [point | {"threshold": 0.1055}]},
        "operating_point_report": {
            "split": "test", "verdict": _verdict(True, "Of 32 tuberculosis films 100.0% are flagged.", n),
            "points": {"tb_sensitivity_90": {
                "point": point, "pooled": n.entries("sensitivity", "specificity", "ppv", "npv"),
            }},
        },
        "uncertainty": {
            "assumes": "New films are exchangeable with those.", "verdict": _verdict(True, "The sets hold 96.4%.", n),
            "flag": {"sentence": "A flag below 0.7 catches 54.5% of the errors.", "threshold": 0.7},
            "prediction_sets": {"marginal": sets, "class_conditional": sets},
        },
    }  # fmt: skip


def _stress(n: _Numbers) -> dict[str, dict[str, Any]]:
    scores = ("accuracy", "macro_f1", "macro_auc", "expected_calibration_error", "mean_confidence")
    conditions: dict[str, Any] = {}
    for name in ("clean", "clinical", "severe"):
        found = n.entries(*scores)
        conditions[name] = {
            **{key: entry["value"] for key, entry in found.items()},
            "intervals": {key: {"low": entry["low"], "high": entry["high"]} for key, entry in found.items()},
            **({} if name == "clean" else {"difference": n.entries("accuracy")}),
        }
    distance = {"title": "cosine distance", "halves": n.entry()}
    moved = {"distances": {"cosine": {"value": n.share(), "exchange": {"high": n.share()}, "holm": n.share()}}}
    gain = n.entries("accuracy", "log_loss")
    arm = {
        "title": "test-time augmentation", "passes_per_film": 5, "mean": {"corrupted": gain},
        "conditions": {"clean": {"gain": n.entries("accuracy")}},
        "verdicts": {"accuracy": {"sentence": "Test-time augmentation is not told from nothing."}},
    }  # fmt: skip
    return {
        "robustness": {
            "conditions": conditions, "verdict": _verdict(True, "Accuracy changes by -2.0 points.", n),
            "corruptions": {
                "gamma": {"title": "gamma", "monotonicity": {"in_order": True}, **n.entries("error", "excess_error")},
            },
            "monotonicity": {"sentence": "In none of 15 pairs."},
            "confidence": {"sentence": "Under none of 2 conditions."},
            "mean_corruption_error": {"corruptions": 1, **n.entries("error", "excess_error")},
            "worst_corruption": {"name": "gamma", "share_of_resamples": n.entry()},
            "severe_minus_clinical": n.entries("accuracy"),
        },
        "embedding_shift": {
            "distances": {"cosine": distance}, "conditions": {"clinical": moved, "severe": moved},
            "resolution": {"tests": 14, "smallest_holm": n.share()}, "exchanges": 39,
            "association": n.entries("cosine"),
            "early_warning": {"other_films": {"cosine": {"counts": {
                key: n.count() for key in ("earlier", "same", "later", "missed", "no_loss", "neither")
            }}}},
        },
        "mitigation": {
            "conclusion": "Not told: test-time augmentation.", "arms": {"plain": {"title": "as it is"}, "tta": arm},
            "abstention": {
                "threshold": 0.7, "mean": n.entries("gained", "coverage"),
                "verdict": {"sentence": "Abstention is worth it."},
            },
        },
        "lung_segmentation": {
            "verdict": _verdict(True, "Lung masks reach a median Dice of 0.9.", n),
            "quality": {"overall": n.entries("dice", "iou", "area_ratio", "found"), "per_class": {}, "per_site": {}},
            "ovals": n.entries("dice", "difference"), "test_films": {"overall": n.entries("found", "plausible")},
        },
        "faithfulness": {
            "verdict": _verdict(True, "Grad-CAM has 40% of its energy in the lungs.", n), "classes": list(LABELS),
            "methods": {"gradcam": _maps(n)}, "sentences": ["The two trainings call 90% of 40 films alike."],
        },
        "gradcam_gallery": {"agreement": {"gradcam-occlusion": {"sentence": "The two methods agree by 0.4."}}},
    }  # fmt: skip


def _maps(n: _Numbers) -> dict[str, Any]:
    def scores(*names: str) -> dict[str, Any]:
        return {name: {"overall": n.entry(), "per_class": {c: n.entry() for c in LABELS}} for name in names}

    level = {"overall": n.entry()}
    lesions = {"value": None, "low": None, "high": None, "reason": "these films have no true lesions"}
    measure = {"lost_at": None, "levels": [level, {"overall": n.entry()}], "null": n.entry()}
    return {
        "title": "Grad-CAM",
        **{mode: scores("map", "random", "against_random") for mode in ("deletion", "insertion")},
        "regions": {"lungs": scores("energy", "uniform", "against_uniform"), "lesions": lesions},
        "randomisation": {"measures": {"rank_correlation": measure}},
    }


def _made(n: _Numbers) -> dict[str, dict[str, Any]]:
    rules = [
        {"name": "macro_f1", "passed": True, "value": 0.84, "limit": 0.75, "sentence": "Macro F1 is 0.84."},
        {"name": "champion", "passed": True, "value": None, "limit": 0.0, "sentence": "There is no champion yet."},
        {"name": "shortcut", "passed": False, "value": 0.94, "limit": 0.5, "sentence": "94% without lungs."},
    ]
    hyper = {"learning_rate": 0.00071, "batch_size": 16, "weight_decay": 0.08, "freeze_epochs": 0}
    return {
        "release_candidate": {
            "name": "cxr", "version": "1.0.0", "gate": {"passed": False, "rules": rules},
            "files": {"weights.pt": "f" * 64}, "export": {"opset": 18},
        },
        "trained_model": {
            "backbone": "lite0", "dropout": 0.39, "labels": list(LABELS), "weights_digest": "f" * 64,
            "preprocessing": {"size": 224, "clahe": False}, "preprocessing_digest": "c" * 64,
            "training": {
                "initial_weights": {"origin": "package lite0", "licence": "Apache-2.0", "digest": "5" * 64},
                "hyperparameters": hyper, "loss": {"name": "cross_entropy"}, "augmentation": {"rotation_degrees": 10.0},
                "training": {"optimizer": "adamw", "keep": "last", "max_epochs": 2, "patience": 10, "seed": 42},
                "history": [
                    {"epoch": e, "train_accuracy": n.share(), "val_accuracy": n.share(), "val_log_loss": n.share()}
                    for e in (1, 2)
                ],
                "best_epoch": 1, "processes": 1, "stopped_early": False, "data": {"splits": "e" * 64},
            },
        },
        "tuned_hyperparameters": {
            "metric": "validation log loss", "log_loss": 0.53, "trials": [{"trial": 0, "state": "complete", **hyper}],
        },
        "eda_source_by_class": {"cramers_v": n.share(), "class_guessed_from_source": n.share()},
        "eda_class_distribution": {"shares": {p: {c: n.share() for c in LABELS} for p in ("train", "test")}},
        "eda_duplicates_found": {"clusters": 2, "copies": 3, "identical_files": 1, "other_source": 0},
        "eda_image_properties": {"all": {"width": {"p50": 512.0}, "height": {"p50": 500.0}}},
        "eda_quality_table": {
            "quarantine": {"aspect": {**{c: n.count() for c in LABELS}, "total": n.count()}}, "flag": {},
        },
    }  # fmt: skip


def _tables() -> dict[str, pd.DataFrame]:
    rows = [
        {
            "image_id": f"{number:016x}", "sha256": f"{number:064x}", "file": f"Normal/{PATIENT}_{number}.png",
            "label": LABELS[number % 3], "source": SOURCES[number % 2], "group_id": f"g{number // 2:016x}",
            "status": ("quarantined", "duplicate", *["accepted"] * 8)[number % 10], "patient_known": number % 4 == 0,
            "format": "PNG" if number % 3 else "JPEG", "mode": "L",
        }
        for number in range(40)
    ]  # fmt: skip
    index = pd.DataFrame(rows)
    splits = index[index["status"] == "accepted"].drop(columns=["status", "file", "format", "mode", "patient_known"])
    parts = ["train" if number % 4 < 2 else "test" for number in range(len(splits))]
    splits = splits.assign(split=parts).reset_index(drop=True)
    # One group in two parts, as it must never be: it has to show.
    splits.loc[splits["split"] == "test", "group_id"] = [f"t{row}" for row in range((splits["split"] == "test").sum())]
    splits.loc[splits.index[splits["split"] == "test"][0], "group_id"] = splits["group_id"][0]
    return {"image_index": index, "splits": splits}


def reports() -> dict[str, dict[str, Any]]:
    """Every report of the store by its asset."""
    n = _Numbers()
    return {"evaluation": _evaluation(n), **_trust(n), **_probabilities(n), **_stress(n), **_made(n)}


def fill(root: Path) -> tuple[ArtefactStore, dict[str, Artefact]]:
    """Write all of it into a store; the artefact of each asset by its name."""
    store, artefacts = ArtefactStore(root), {}
    known = reports()
    artefacts["trained_model"] = _write(store, "trained_model", known.pop("trained_model"))
    for asset, report in known.items():
        artefacts[asset] = _write(store, asset, {**report, SAYS: artefacts["trained_model"].digest})
    for asset, table in _tables().items():
        artefacts[asset] = store.write_table(asset, table)
    return store, artefacts


def _write(store: ArtefactStore, asset: str, report: dict[str, Any]) -> Artefact:
    files = {"release_candidate": "manifest.json", "trained_model": "training.json"}
    figures = FIGURES.get(asset, ("figure",) if asset.startswith("eda_") else ())
    file = REPORTS.get(asset) or files.get(asset) or f"{asset}.json"
    return store.write_report(asset, file, report, dict.fromkeys(figures, PNG))


def write_raw(store: ArtefactStore, asset: str, text: str) -> Artefact:
    """A report with any text, NaN among it, which the store's own writer refuses."""

    def into(folder: Path) -> None:
        (folder / (REPORTS.get(asset) or f"{asset}.json")).write_text(text)

    return store.write_tree(asset, into)


def without(store: ArtefactStore, artefacts: Mapping[str, Artefact], *missing: str) -> Sources:
    """Sources over all artefacts but some."""
    return Sources.open(store, {name: artefact for name, artefact in artefacts.items() if name not in missing})


def leaves(value: Any) -> Iterator[float]:
    """Every number of a JSON value."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
