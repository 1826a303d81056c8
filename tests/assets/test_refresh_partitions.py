"""A refresh makes the partitions that are missing or out of date, each in a run of its own, before what needs them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from cxr_assets.outputs import artefact_output, versioned
from cxr_assets.refresh import Refresh, refresh
from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource
from cxr_core.settings import load_settings
from cxr_core.store import Artefact, ArtefactStore

PARTS = ["blur", "dark", "noise"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A model, what it says under three conditions, and their sum; ``refresh`` brings them up to date."""
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    store = ArtefactStore(tmp_path / "store")
    world: dict[str, Any] = {"model": 1, "failing": "", "runs": []}
    now = load_settings()

    def kept(name: str, value: int) -> dg.Output[Artefact]:
        return artefact_output(store.write_json(name, {"value": value}), now, ())

    @dg.observable_source_asset
    def raw() -> dg.DataVersion:
        return dg.DataVersion("1")

    @dg.asset(deps=[raw], **versioned(1, now))
    def model() -> dg.Output[Artefact]:
        return kept("model", world["model"])

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(PARTS), **versioned(1, now))
    def conditions(context: dg.AssetExecutionContext, model: Artefact) -> dg.Output[Artefact]:
        world["runs"].append(context.partition_key)
        if context.partition_key == world["failing"]:
            raise ValueError(f"no {context.partition_key}")
        return kept("conditions", store.read_json(model)["value"] * len(context.partition_key))

    @dg.asset(**versioned(1, now))
    def total(conditions: dict[str, Artefact]) -> dg.Output[Artefact]:
        assert list(conditions) == PARTS
        return kept("total", sum(store.read_json(part)["value"] for part in conditions.values()))

    settings = SettingsResource()
    shelf = StoreResource(settings=settings)
    whole = dg.AssetSelection.all() - dg.AssetSelection.assets("raw")
    swept = dg.AssetSelection.assets("conditions")
    defs = dg.Definitions(
        assets=[raw, model, conditions, total],
        resources={"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)},
        jobs=[
            dg.define_asset_job("observe", selection=[raw]),
            dg.define_asset_job("pipeline", selection=whole - swept),
            dg.define_asset_job("sweep", selection=swept),
        ],
        executor=dg.in_process_executor,
    )
    instance = dg.DagsterInstance.ephemeral()
    said: list[str] = []

    def run() -> Refresh:
        world["runs"].clear()
        return refresh(
            defs, instance, store, load_settings(), "observe", "pipeline", say=said.append, partitioned_jobs=["sweep"]
        )

    def value(name: str) -> int:
        return int(store.read_json(store.get_ref(name))["value"])

    return SimpleNamespace(refresh=run, value=value, world=world, store=store, said=said)


def test_every_partition_is_made_once_before_what_needs_them(site: SimpleNamespace) -> None:
    first = site.refresh()
    assert first.problem == ""
    assert list(first.made) == ["model", "conditions", "total"]
    assert site.world["runs"] == PARTS
    assert site.value("total") == sum(map(len, PARTS))
    assert site.value("conditions/noise") == 5
    assert site.said[2:5] == [f"  conditions {number} of 3: {name}" for number, name in enumerate(PARTS, 1)]
    again = site.refresh()
    assert (again.made, again.fresh, site.world["runs"]) == ({}, 3, [])


def test_a_new_model_makes_every_partition_again_and_then_their_sum(site: SimpleNamespace) -> None:
    site.refresh()
    site.world["model"] = 2
    ref = site.store.get_ref("model")
    (site.store.root / ref.path).unlink()
    second = site.refresh()
    assert second.made["conditions"] == "model changed"
    assert second.made["total"] == "conditions changed"
    assert site.world["runs"] == PARTS
    assert site.value("total") == 2 * sum(map(len, PARTS))


def test_a_partition_that_is_gone_is_made_alone(site: SimpleNamespace) -> None:
    site.refresh()
    ref = site.store.get_ref("conditions/noise")
    (site.store.root / ref.path).unlink()
    second = site.refresh()
    assert second.made == {"conditions": "1 of 3 partitions: its content is not in the store"}
    assert site.world["runs"] == ["noise"]


def test_a_partition_that_fails_stops_what_needs_it_and_the_others_are_kept(site: SimpleNamespace) -> None:
    site.world["failing"] = "dark"
    stopped = site.refresh()
    assert "no dark" in stopped.problem
    assert list(stopped.made) == ["model"]
    assert site.world["runs"] == ["blur", "dark"]
    site.world["failing"] = ""
    assert site.refresh().problem == ""
    assert site.world["runs"] == ["dark", "noise"]
