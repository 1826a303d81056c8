"""What every asset says of itself: versions, numbers, tables and figures in Dagster's terms."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from cxr_core.settings import Settings
from cxr_core.store import Artefact

__all__ = [
    "LOCAL",
    "SECTIONS",
    "SETTINGS",
    "artefact_output",
    "figure",
    "filled",
    "settings_digest",
    "table",
    "versioned",
]

SECTIONS = "cxr/sections"  # metadata of an asset: the sections of the settings that it reads
LOCAL = "cxr/local"  # metadata of a materialisation: a local folder that it filled beside the store
SETTINGS = "cxr/settings"  # metadata of a materialisation: digest of those sections as they were

_LARGEST_FIGURE = 2_000_000  # bytes of PNG that are put into the event log; larger ones are shown by their path


def versioned(version: int, settings: Settings, *sections: str) -> dict[str, Any]:
    """Arguments of an asset's decorator that say what it depends on beside its inputs.

    Args:
        version: raised by hand when the asset's code changes meaning.
        settings: those of the code location, so that the UI shows an asset as out of date when they change.
        sections: the sections of them that the asset reads.

    Returns:
        ``code_version``, and ``metadata`` with the sections for :mod:`cxr_assets.staleness`.
    """
    return {
        "code_version": f"{version}-{settings_digest(settings, sections)}",
        "metadata": {SECTIONS: dg.MetadataValue.json(list(sections))},
    }


def settings_digest(settings: Settings, sections: Sequence[str]) -> str:
    """Short digest of some sections of the settings."""
    return settings.section_digest(*sections)[:12]


def filled(folder: Path) -> dict[str, Any]:
    """Metadata that names a local folder filled beside the store; the asset is out of date when it is gone."""
    return {LOCAL: dg.MetadataValue.path(str(folder))}


def artefact_output(
    artefact: Artefact, settings: Settings, sections: tuple[str, ...], **metadata: Any
) -> dg.Output[Artefact]:
    """An artefact with its content digest as data version.

    Args:
        artefact: what was made.
        settings: the settings that it was made with.
        sections: the sections of them that it depends on.
        metadata: numbers, tables and figures for the UI.
    """
    return dg.Output(
        artefact,
        data_version=dg.DataVersion(artefact.digest),
        metadata={SETTINGS: settings_digest(settings, sections), **metadata},
    )


def figure(png: bytes, title: str) -> dg.MetadataValue:
    """A figure that the UI shows: Markdown with the image inside, so that it needs no file server."""
    if len(png) > _LARGEST_FIGURE:
        return dg.MetadataValue.text(f"{title}: {len(png)} bytes, see path")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def table(frame: pd.DataFrame, rows: int = 50) -> dg.MetadataValue:
    """The first rows of a data frame as a table in the UI."""
    shown = frame.head(rows)
    plain = shown.astype(object).where(shown.notna(), None)
    records = [
        dg.TableRecord({str(key): value if isinstance(value, (int, float, bool, str)) else _plain(value)
                        for key, value in record.items()})
        for record in plain.to_dict("records")
    ]  # fmt: skip
    schema = dg.TableSchema([dg.TableColumn(str(column)) for column in frame.columns])
    return dg.MetadataValue.table(records, schema=schema)


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    item = getattr(value, "item", None)
    return item() if item is not None else str(value)
