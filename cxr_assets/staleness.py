"""Which assets have to be made again, and why: from the versions that Dagster recorded with each materialisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import dagster as dg

from cxr_assets.gates import unpassed_gate
from cxr_assets.outputs import LOCAL, SECTIONS, SETTINGS, settings_digest
from cxr_core.errors import CxrError
from cxr_core.settings import Settings
from cxr_core.store import ArtefactStore

__all__ = ["Graph", "data_version", "next_wave", "stale_assets", "stale_partitions"]

_CODE_VERSION = "dagster/code_version"
_DATA_VERSION = "dagster/data_version"
_INPUT_VERSION = "dagster/input_data_version/"


@dataclass(frozen=True)
class Graph:
    """The asset graph as far as staleness needs it.

    Attributes:
        parents: upstream keys of every materialisable asset, in topological order.
        code: hand-raised version of each asset's code.
        settings: digest of the settings that each asset reads.
        partitions: keys of the partitions of each asset that is partitioned, in their order.
    """

    parents: Mapping[dg.AssetKey, frozenset[dg.AssetKey]]
    code: Mapping[dg.AssetKey, str]
    settings: Mapping[dg.AssetKey, str]
    partitions: Mapping[dg.AssetKey, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, defs: dg.Definitions, settings: Settings, *jobs: str) -> Graph:
        """Graph of the assets that jobs of the definitions make, under the settings of a run."""
        graph = defs.resolve_asset_graph()
        made = {key for job in jobs for key in defs.resolve_job_def(job).asset_layer.selected_asset_keys}
        nodes = [graph.get(key) for key in graph.toposorted_asset_keys if key in made]
        return cls(
            {node.key: frozenset(node.parent_keys) for node in nodes},
            {node.key: _code(node.code_version) for node in nodes},
            {node.key: settings_digest(settings, node.metadata[SECTIONS].value) for node in nodes},
            {node.key: node.partitions_def.get_partition_keys() for node in nodes if node.partitions_def},
        )

    def ancestors(self, key: dg.AssetKey) -> frozenset[dg.AssetKey]:
        """Everything that ``key`` depends on."""
        above = set(self.parents.get(key, ()))
        for parent in tuple(above):
            above |= self.ancestors(parent)
        return frozenset(above)


def stale_assets(graph: Graph, instance: dg.DagsterInstance, store: ArtefactStore) -> dict[dg.AssetKey, str]:
    """Reason of each asset that is missing or out of date, in topological order.

    An asset is up to date when it was made by the present code with the present settings from the present versions of
    its inputs, its content is still in the store, and its blocking checks passed; a partitioned one, when each of its
    partitions is.
    """
    stale: dict[dg.AssetKey, str] = {}
    for key in graph.parents:
        if key in graph.partitions:
            found = stale_partitions(graph, key, instance, store)
            reason = _summary(found, len(graph.partitions[key]))
        else:
            reason = _reason(graph, key, instance.get_latest_materialization_event(key), instance, store)
            reason = reason or unpassed_gate(instance, key)
        if reason:
            stale[key] = reason
    return stale


def stale_partitions(
    graph: Graph, key: dg.AssetKey, instance: dg.DagsterInstance, store: ArtefactStore
) -> dict[str, str]:
    """Reason of each partition of an asset that is missing or out of date, in the order of the partitions."""
    stale: dict[str, str] = {}
    for partition in graph.partitions[key]:
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
        records = instance.fetch_materializations(wanted, limit=1).records
        event = records[0].event_log_entry if records else None
        if reason := _reason(graph, key, event, instance, store, partition):
            stale[partition] = reason
    return stale


def _summary(stale: Mapping[str, str], partitions: int) -> str:
    if not stale:
        return ""
    reasons = ", ".join(sorted(set(stale.values())))
    return reasons if len(stale) == partitions else f"{len(stale)} of {partitions} partitions: {reasons}"


def _code(code_version: str | None) -> str:
    """The hand-raised part of a code version; the rest is a digest of the code location's settings."""
    return (code_version or "").partition("-")[0]


def _reason(
    graph: Graph,
    key: dg.AssetKey,
    event: dg.EventLogEntry | None,
    instance: dg.DagsterInstance,
    store: ArtefactStore,
    partition: str = "",
) -> str:
    made = event.asset_materialization if event else None
    if made is None:
        return "never materialised"
    tags = made.tags or {}
    if _code(tags.get(_CODE_VERSION)) != graph.code[key]:
        return "its code changed"
    made_with = made.metadata.get(SETTINGS)
    if made_with is None or made_with.value != graph.settings[key]:
        return "its settings changed"
    for parent in sorted(graph.parents[key], key=lambda parent: parent.to_user_string()):
        present = data_version(instance, parent, graph.partitions.get(parent, ()))
        if tags.get(_INPUT_VERSION + parent.to_user_string()) != present:
            return f"{parent.to_user_string()} changed"
    local = made.metadata.get(LOCAL)
    if local is not None and not _is_filled(Path(str(local.value))):
        return f"{local.value} is gone"
    try:
        ref = store.get_ref("/".join([*key.path, *([partition] if partition else [])]))
        gone = ref.digest != tags.get(_DATA_VERSION) or not store.holds(ref)
    except CxrError:
        gone = True
    return "its content is not in the store" if gone else ""


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def data_version(instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str] = ()) -> str | None:
    """Present data version of an asset or of an observed source; ``None`` where there is none.

    Args:
        instance: where versions are recorded.
        key: of the asset.
        partitions: its partitions, where it is partitioned: their versions are joined as Dagster joins them when it
            records the versions of inputs (``DataVersionCache``, all partitions of fewer than a hundred).
    """
    if partitions:
        found = instance.event_log_storage.get_latest_tags_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, [_DATA_VERSION], asset_partitions=list(partitions)
        )
        return sha256("".join(found[name][_DATA_VERSION] for name in sorted(found)).encode()).hexdigest()
    record = instance.get_latest_data_version_record(key)
    if record is None:
        return None
    event = record.asset_materialization or record.asset_observation
    return (event.tags or {}).get(_DATA_VERSION) if event else None


def next_wave(graph: Graph, stale: Mapping[dg.AssetKey, str]) -> list[dg.AssetKey]:
    """Stale assets that can be made now in one run.

    An asset waits when something up to date stands between it and a stale ancestor: whether that something changes is
    known only after the ancestor was made, and if it does the asset would have to be made twice.
    """
    wave: list[dg.AssetKey] = []
    chosen: set[dg.AssetKey] = set()
    for key in graph.parents:
        if key in stale and all(
            parent in chosen or (parent not in stale and not graph.ancestors(parent) & stale.keys())
            for parent in graph.parents[key]
        ):
            wave.append(key)
            chosen.add(key)
    return wave
