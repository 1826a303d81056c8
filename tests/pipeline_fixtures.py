"""Fixtures of the tests that run the pipeline: a small data set and a Dagster instance of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from cxr_core.store import Artefact, ArtefactStore

__all__ = ["QUICK", "PointedInputs", "pipeline", "raw"]

warnings.filterwarnings("ignore", category=dg.BetaWarning)

# Small enough for seconds: tiny frames, a tiny network without pretrained weights, one epoch.
QUICK: dict[str, Any] = {
    "preprocessing.size": 64,
    "gates.min_images_per_class": 6,
    "gates.max_class_share_shift": 0.5,
    "gates.min_macro_f1": 0.0,
    "network.backbone": "test_efficientnet",
    "network.weights": "none",
    "training.max_epochs": 1,
    "training.freeze_epochs": 0,
    "tuning.trials": 1,
    "tuning.epochs": 1,
    "tuning.image_side": 32,
    "explain.films_per_class": 1,
    "lungs.phantom_patients": 5,
    "evaluation.resamples": 100,
    "faithfulness.films": 2,
    "faithfulness.occlusion_films": 1,
    "faithfulness.steps": 4,
    "faithfulness.random_maps": 1,
    "faithfulness.draws": 1,
    "uncertainty.passes": 10,
    "shortcuts.permutations": 39,
    "shortcuts.table_permutations": 99,
    "shortcuts.blanked_pretrained": False,
    "label_audit.resamples": 100,
    "film_detector.pictures": 4,
    "mitigation.conditions": ("severe", "jpeg-3"),
    "mitigation.epochs": 1,
    "mitigation.frozen_stages": 0,
    "shift.permutations": 199,
    "shift.halves": 40,
    "shift.matched_halves": 5,
    "gates.allow_shortcut": True,  # so few films of noise may look like anything
}


class PointedInputs(dg.IOManager):
    """Hands over what the store's pointers name; no gate stands between, as nothing is made here."""

    def __init__(self, store: ArtefactStore) -> None:
        self.store = store

    def handle_output(self, context: dg.OutputContext, obj: Artefact) -> None:
        self.store.set_ref(context.asset_key.to_user_string(), obj)

    def load_input(self, context: dg.InputContext) -> Artefact:
        return self.store.get_ref(context.asset_key.to_user_string())


@pytest.fixture
def raw(tmp_path: Path, film: Callable[..., Any], encode: Callable[..., bytes]) -> Path:
    """Twenty random films a class from two sources; the first four patients of each class have two films."""
    folder = tmp_path / "raw"
    rows = ["file,label,patient_id,source"]
    for number in range(60):
        label = ("Normal", "Pneumonia", "Tuberculosis")[number % 3]
        name = f"{label}/film{number:02}.png"
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(film(number)))
        patient = number // 3 // 2 if number < 24 else number
        rows.append(f"{name},{label},P{patient}-{label},{'north' if number % 2 else 'south'}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def data_definitions() -> dg.Definitions:
    """The code location without the assets that need a network, which are tested end to end elsewhere."""
    from cxr_assets.dataset import assets, checks
    from cxr_assets.definitions import OBSERVE_JOB, PIPELINE_JOB, defs
    from cxr_assets.eda.assets import eda_assets

    return dg.Definitions(
        assets=[assets.raw_images, assets.image_index, assets.quarantine, assets.pixel_cache_manifest, assets.splits,
                *eda_assets],
        asset_checks=[checks.image_index_checks, checks.splits_checks],
        resources=defs.resources,
        jobs=[
            dg.define_asset_job(OBSERVE_JOB, selection=[assets.raw_images]),
            dg.define_asset_job(
                PIPELINE_JOB, selection=dg.AssetSelection.all() - dg.AssetSelection.assets("raw_images")
            ),
        ],
        executor=dg.in_process_executor,
    )  # fmt: skip


@pytest.fixture(params=["data"])
def pipeline(
    request: pytest.FixtureRequest, tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """Definitions, instance, store; ``refresh`` and ``materialise`` with settings overrides.

    Parametrised with ``whole`` it is the whole code location, otherwise its data part.
    """
    home = tmp_path / "home"
    for name, value in {"CXR_RAW_DIR": raw, "CXR_STORE": home / "store", "CXR_CACHE_DIR": home / "cache"}.items():
        monkeypatch.setenv(name, str(value))
    from cxr_assets.definitions import OBSERVE_JOB, PIPELINE_JOB, ROBUSTNESS_JOB
    from cxr_assets.definitions import defs as whole
    from cxr_assets.refresh import Refresh, refresh
    from cxr_assets.resources import dump_overrides
    from cxr_core.settings import load_settings

    defs = whole if request.param == "whole" else data_definitions()
    store = ArtefactStore(home / "store")
    (home / "dagster").mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(home / "dagster"), overrides={"telemetry": {"enabled": False}}) as instance:

        def run(changes: dict[str, Any] | None = None) -> Refresh:
            overrides = {**QUICK, **(changes or {})}
            config = dump_overrides(overrides)
            swept = [ROBUSTNESS_JOB] if defs is whole else []
            now = load_settings(overrides)
            return refresh(defs, instance, store, now, OBSERVE_JOB, PIPELINE_JOB, config, partitioned_jobs=swept)

        def execute(job: str, config: dict[str, Any], **what: Any) -> dg.ExecuteInProcessResult:
            return defs.resolve_job_def(job).execute_in_process(
                instance=instance, run_config=config, raise_on_error=False, **what
            )

        def materialise(*names: str, changes: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
            """Make these assets; partitions, if they are among them, between what they need and what needs them."""
            config = dump_overrides({**QUICK, **(changes or {})})
            keys = {dg.AssetKey(name) for name in names}
            swept = dg.AssetKey("robustness_conditions")
            after = set()
            if swept in keys:
                graph = defs.resolve_asset_graph()
                after = {key for key in keys if swept in graph.get_ancestor_asset_keys(key)}
            result = execute(PIPELINE_JOB, config, asset_selection=sorted(keys - after - {swept}))
            if swept in keys:
                for partition in graph.get(swept).partitions_def.get_partition_keys():
                    result = execute(ROBUSTNESS_JOB, config, partition_key=partition) if result.success else result
                if result.success and after:
                    result = execute(PIPELINE_JOB, config, asset_selection=sorted(after))
            return result

        yield SimpleNamespace(defs=defs, instance=instance, store=store, refresh=run, materialise=materialise, raw=raw)
