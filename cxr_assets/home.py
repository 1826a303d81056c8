"""The Dagster instance of this checkout: created when missing, telemetry off."""

from __future__ import annotations

import os
from pathlib import Path

from cxr_core.settings import project_root
from cxr_core.store import write_atomically

__all__ = ["ensure_dagster_home"]

_DAGSTER_YAML = """\
telemetry:
  enabled: false
run_monitoring:  # a run whose process died is marked failed, and gives back its places in pools
  enabled: true
  free_slots_after_run_end_seconds: 60
"""


def ensure_dagster_home() -> Path:
    """Set ``DAGSTER_HOME`` (default ``data/dagster``) and give it a configuration where it has none."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(project_root() / "data/dagster"))).expanduser().resolve()
    os.environ["DAGSTER_HOME"] = str(home)
    if not (home / "dagster.yaml").is_file():
        write_atomically(home / "dagster.yaml", _DAGSTER_YAML.encode())
    return home
