"""Which reports a model needs before it may be served, and which model each of them is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cxr_core.release.facts import Evidence
from cxr_core.store import Artefact, ArtefactStore

__all__ = ["MODEL_CARD", "RECORDS", "REPORTS", "SAYS", "gather_evidence", "gather_verdicts"]

SAYS = "trained_model"  # key under which a report names the digest of the model that it was made from

# Name of each report that is needed, and the file of its folder that names the model.
REPORTS: Mapping[str, str] = {
    "calibrated_model": "calibrated_model.json",
    "embedding_shift": "embedding_shift.json",
    "evaluation": "evaluation.json",
    "failure_report": "failure_report.json",
    "faithfulness": "faithfulness.json",
    "film_detector": "film_detector.json",
    "gradcam_gallery": "gallery.json",
    "label_audit": "label_audit.json",
    "mitigation": "mitigation.json",
    "model_card": "model_card.json",
    "operating_point_report": "operating_point_report.json",
    "robustness": "robustness.json",
    "shortcut_audit": "shortcut_audit.json",
    "subgroup_report": "subgroup_report.json",
    "uncertainty": "uncertainty.json",
}

# Files of the model card that the package carries for its readers.
MODEL_CARD: tuple[str, ...] = ("model_card.html", "model_card.md")

# Artefacts that hold what travels with the model: its temperature, thresholds, quantiles, film detector.
RECORDS: tuple[str, ...] = ("calibrated_model", "operating_points", "uncertainty", "film_detector")


def gather_evidence(
    store: ArtefactStore, model: str, reports: Mapping[str, Artefact], unpassed: Sequence[str] = ()
) -> Evidence:
    """Read out of each report which model it is about.

    Args:
        store: where the reports lie.
        model: digest of the trained model that is judged.
        reports: the present artefact of each name in :data:`REPORTS`.
        unpassed: a sentence for each blocking check upstream that has not passed.
    """
    found = {name: _model_of(store, reports.get(name), file) for name, file in REPORTS.items()}
    return Evidence(model, found, tuple(unpassed))


def gather_verdicts(store: ArtefactStore, reports: Mapping[str, Artefact]) -> dict[str, Mapping[str, Any]]:
    """The verdict of each report of :data:`REPORTS` that holds one, by its name."""
    said = {name: _read(store, reports.get(name), file).get("verdict") for name, file in REPORTS.items()}
    return {name: verdict for name, verdict in said.items() if isinstance(verdict, dict)}


def _model_of(store: ArtefactStore, report: Artefact | None, file: str) -> str | None:
    model = _read(store, report, file).get(SAYS)
    return str(model) if model is not None else None


def _read(store: ArtefactStore, report: Artefact | None, file: str) -> dict[str, Any]:
    if report is None or not store.holds(report):
        return {}
    path = store.local_tree(report) / file
    found = json.loads(path.read_bytes()) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
