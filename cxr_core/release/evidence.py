"""Which reports a model needs before it may be served, and which model each of them is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from cxr_core.release.facts import Evidence
from cxr_core.store import Artefact, ArtefactStore

__all__ = ["REPORTS", "SAYS", "gather_evidence"]

SAYS = "trained_model"  # key under which a report names the digest of the model that it was made from

# Name of each report that is needed, and the file of its folder that names the model.
REPORTS: Mapping[str, str] = {
    "evaluation": "evaluation.json",
    "robustness": "robustness.json",
    "gradcam_gallery": "gallery.json",
}


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


def _model_of(store: ArtefactStore, report: Artefact | None, file: str) -> str | None:
    if report is None or not store.holds(report):
        return None
    path = store.local_tree(report) / file
    if not path.is_file():
        return None
    model = json.loads(path.read_bytes()).get(SAYS)
    return str(model) if model is not None else None
