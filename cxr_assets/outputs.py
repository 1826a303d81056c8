"""What every asset says of itself: versions, numbers, tables and figures in Dagster's terms."""

from __future__ import annotations

import base64
from typing import Any

import dagster as dg
import pandas as pd

from cxr_core.settings import Settings
from cxr_core.store import Artefact

__all__ = ["SETTINGS_TAG", "artefact_output", "code_version", "figure", "table"]

SETTINGS_TAG = "cxr/settings"  # metadata key: digest of the settings that a materialisation was made with

_LARGEST_FIGURE = 2_000_000  # bytes of PNG that are put into the event log; larger ones are shown by their path


def code_version(version: int, settings: Settings, *sections: str) -> str:
    """Code version of an asset: raised by hand when its code changes meaning, and by any change of its settings."""
    return f"{version}-{settings.section_digest(*sections)[:12]}" if sections else str(version)


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
    used = settings.section_digest(*sections)[:12] if sections else ""
    return dg.Output(
        artefact,
        data_version=dg.DataVersion(artefact.digest),
        metadata={SETTINGS_TAG: used, **metadata},
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
