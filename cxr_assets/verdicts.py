"""Asset checks that repeat the verdict of a report about a model."""

import json
from typing import Any

import dagster as dg

from cxr_core.release.evidence import REPORTS
from cxr_core.store import ArtefactStore

__all__ = ["read_verdict", "verdict_result"]


def read_verdict(store: ArtefactStore, asset: str) -> dict[str, Any]:
    """The verdict that an asset's latest report holds.

    Args:
        store: where it lies.
        asset: a name in :data:`~cxr_core.release.evidence.REPORTS`.
    """
    folder = store.local_tree(store.get_ref(asset))
    verdict: dict[str, Any] = json.loads((folder / REPORTS[asset]).read_bytes())["verdict"]
    return verdict


def verdict_result(
    store: ArtefactStore, asset: str, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
) -> dg.AssetCheckResult:
    """The result of a check that passes as the report's verdict does, and says its sentence."""
    verdict = read_verdict(store, asset)
    return dg.AssetCheckResult(
        passed=verdict["passed"],
        severity=severity,
        description=verdict["sentence"],
        metadata={"verdict": dg.MetadataValue.json(verdict)},
    )
