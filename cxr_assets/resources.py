"""Resources: settings, the artefact store, and the hand-over of artefacts between assets."""

import json
from typing import Any

import dagster as dg
from pydantic import Field

from cxr_assets.gates import unpassed_gate
from cxr_core.dataset.opening import pixel_cache, preprocessing_of
from cxr_core.settings import Settings, load_settings
from cxr_core.store import Artefact, ArtefactStore

__all__ = ["ArtefactIOManager", "SettingsResource", "StoreResource", "pixel_cache", "preprocessing_of"]


class SettingsResource(dg.ConfigurableResource):
    """The settings of a run: profile and environment, changed by run config where a run wants it."""

    overrides: dict[str, Any] = Field(
        default={}, description='Dotted names to values, for example {"training.max_epochs": 3}.'
    )

    def load(self) -> Settings:
        """Settings with this run's overrides."""
        return load_settings(self.overrides)


class StoreResource(dg.ConfigurableResource):
    """The artefact store that the settings name."""

    settings: dg.ResourceDependency[SettingsResource]

    def open(self) -> ArtefactStore:
        """The store."""
        return ArtefactStore(self.settings.load().store)


class ArtefactIOManager(dg.ConfigurableIOManager):
    """Hands artefacts from asset to asset as small pointers; the content stays in the store.

    Loading is refused while a blocking check of the artefact has failed or is missing, so that no stage can be run
    around a gate by selecting it alone.
    """

    store: dg.ResourceDependency[StoreResource]

    def handle_output(self, context: dg.OutputContext, obj: Artefact) -> None:
        """Make ``obj`` the current artefact of its asset."""
        self.store.open().set_ref(_key(context), obj)
        context.add_output_metadata({"path": dg.MetadataValue.path(obj.path), "size_bytes": obj.size})

    def load_input(self, context: dg.InputContext) -> Artefact | dict[str, Artefact]:
        """The current artefact of an upstream asset; of several partitions, a mapping from partition to artefact.

        Raises:
            dagster.Failure: a blocking check of that asset has not passed.
        """
        if sentence := unpassed_gate(context.instance, context.asset_key):
            raise dg.Failure(sentence, allow_retries=False)
        shelf = self.store.open()
        if context.has_asset_partitions and len(keys := list(context.asset_partition_keys)) > 1:
            asset = "/".join(context.asset_key.path)
            return {key: shelf.get_ref(f"{asset}/{key}") for key in sorted(keys)}
        return shelf.get_ref(_key(context))


def _key(context: dg.OutputContext | dg.InputContext) -> str:
    parts = list(context.asset_key.path)
    if context.has_asset_partitions:
        parts.append(context.asset_partition_key)
    return "/".join(parts)


def dump_overrides(overrides: dict[str, Any]) -> dict[str, Any]:
    """Run config that gives ``overrides`` to the settings of a run."""
    return {"resources": {"settings": {"config": {"overrides": json.loads(json.dumps(overrides))}}}}
