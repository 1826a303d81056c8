"""The promotion gate: no bento is built from a model that did not pass."""

import dagster as dg
import pandas as pd

from cxr_assets.gates import register_gates
from cxr_assets.outputs import table
from cxr_assets.resources import SettingsResource, StoreResource

_SPECS = register_gates(
    dg.AssetCheckSpec(
        "promotion_gate",
        asset="release_candidate",
        blocking=True,
        description="Every rule of the promotion gate holds, the report's F1 among them (6.4).",
    )
)


@dg.multi_asset_check(specs=_SPECS, name="release_checks")
def release_checks(settings: SettingsResource, store: StoreResource) -> dg.AssetCheckResult:
    """Read the decision out of the package, which is verified on the way."""
    from cxr_core.release.package import load_manifest

    shelf = store.open()
    manifest = load_manifest(shelf.local_tree(shelf.get_ref("release_candidate")), settings.load().labels)
    return dg.AssetCheckResult(
        asset_key="release_candidate",
        check_name="promotion_gate",
        passed=manifest.decision.passed,
        description=manifest.decision.summary,
        metadata={"rules": table(pd.DataFrame([rule.model_dump() for rule in manifest.decision.rules]))},
    )
