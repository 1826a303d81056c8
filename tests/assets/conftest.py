"""A small data set and a Dagster instance of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from cxr_core.store import ArtefactStore

warnings.filterwarnings("ignore", category=dg.BetaWarning)

# Small enough for seconds: tiny frames, a tiny network without pretrained weights, one epoch.
QUICK: dict[str, Any] = {
    "preprocessing.size": 64,
    "gates.min_images_per_class": 6,
    "gates.max_class_share_shift": 0.5,
    "gates.min_macro_f1": 0.0,
    "network.backbone": "mobilenetv3_small_050",
    "network.weights": "none",
    "training.max_epochs": 1,
    "training.freeze_epochs": 0,
    "tuning.trials": 1,
    "tuning.epochs": 1,
    "tuning.image_side": 32,
    "explain.films_per_class": 1,
}


@pytest.fixture
def raw(tmp_path: Path, film: Callable[..., Any], encode: Callable[..., bytes]) -> Path:
    """Twelve random films a class, two a patient, from two sources."""
    folder = tmp_path / "raw"
    rows = ["file,label,patient_id,source"]
    for number in range(36):
        label = ("Normal", "Pneumonia", "Tuberculosis")[number % 3]
        name = f"{label}/film{number:02}.png"
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(film(number)))
        rows.append(f"{name},{label},P{number // 3 // 2}-{label},{'north' if number % 2 else 'south'}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def pipeline(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Definitions, instance, store, and ``refresh`` with settings overrides."""
    home = tmp_path / "home"
    for name, value in {"CXR_RAW_DIR": raw, "CXR_STORE": home / "store", "CXR_CACHE_DIR": home / "cache"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    from cxr_assets.definitions import OBSERVE_JOB, PIPELINE_JOB, defs
    from cxr_assets.refresh import Refresh, refresh
    from cxr_assets.resources import dump_overrides
    from cxr_core.settings import load_settings

    store = ArtefactStore(home / "store")
    (home / "dagster").mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(home / "dagster")) as instance:

        def run(changes: dict[str, Any] | None = None) -> Refresh:
            overrides = {**QUICK, **(changes or {})}
            config = dump_overrides(overrides)
            return refresh(defs, instance, store, load_settings(overrides), OBSERVE_JOB, PIPELINE_JOB, config)

        def materialise(*names: str, changes: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
            return defs.resolve_job_def(PIPELINE_JOB).execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in names],
                run_config=dump_overrides({**QUICK, **(changes or {})}),
                raise_on_error=False,
            )

        yield SimpleNamespace(defs=defs, instance=instance, store=store, refresh=run, materialise=materialise, raw=raw)


def made_in(result: dg.ExecuteInProcessResult) -> set[str]:
    """Names of the assets that a run materialised."""
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
