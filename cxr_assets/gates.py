"""Gates: blocking asset checks, and the question whether an asset has passed its own."""

from __future__ import annotations

import dagster as dg

__all__ = ["gate_specs", "register_gates", "unpassed_gate"]

_GATES: dict[dg.AssetKey, list[dg.AssetCheckSpec]] = {}


def register_gates(*specs: dg.AssetCheckSpec) -> list[dg.AssetCheckSpec]:
    """Remember which of an asset's checks are blocking; returns the specs for the check's decorator."""
    for spec in specs:
        known = _GATES.setdefault(spec.asset_key, [])
        if spec.blocking and spec not in known:
            known.append(spec)
    return list(specs)


def gate_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Blocking checks of an asset."""
    return _GATES.get(key, [])


def unpassed_gate(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    """Why an asset may not be relied on: a sentence, empty when every blocking check passed for its latest version."""
    specs = gate_specs(key)
    if not specs:
        return ""
    latest = instance.get_latest_materialization_event(key)
    for spec in specs:
        record = instance.get_latest_asset_check_evaluation_record(spec.key)
        evaluation = record.evaluation if record else None
        target = evaluation.target_materialization_data if evaluation else None
        if latest is None or target is None or evaluation is None or target.timestamp < latest.timestamp:
            return (
                f"{key.to_user_string()} has not been through its check {spec.name} since it was made: "
                f"materialise {key.to_user_string()} together with its checks."
            )
        if not evaluation.passed:
            why = f": {evaluation.description}" if evaluation.description else ""
            return f"{key.to_user_string()} failed its check {spec.name}{why}"
    return ""
