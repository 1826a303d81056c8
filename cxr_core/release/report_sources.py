"""The stored reports as a document's builders read them: each number with the place that it was read from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_core.errors import CxrError
from cxr_core.release.document import Missing, Number, Picture, is_png
from cxr_core.release.document_pointers import escape_step, follow, is_number, unescape_step
from cxr_core.release.evidence import REPORTS, SAYS
from cxr_core.release.published_derived import TECHNICAL_REPORT, technical_report
from cxr_core.store import Artefact, ArtefactStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sources"]

_FILES: Mapping[str, str] = {"release_candidate": "manifest.json", "trained_model": "training.json"}
_ROWS = "/rows"  # pointer of the number of rows of a stored table
_DISTINCT, _SHARED = "/distinct", "/shared"  # of different values in a column, of values shared by several parts


class Sources:
    """Reads reports, figures and tables of the artefacts that it was opened on; what is not there is no error.

    A report that says it is of another model than ``trained_model`` is read as if it were not there, and its numbers
    say so: two models never meet in one document.
    """

    def __init__(self, store: ArtefactStore, artefacts: Mapping[str, Artefact]) -> None:
        self._store = store
        self._artefacts = {name: artefacts[name] for name in sorted(artefacts)}
        self._reports: dict[str, dict[str, Any]] = {}
        self._tables: dict[tuple[str, str], pd.DataFrame | None] = {}

    @classmethod
    def open(cls, store: ArtefactStore, artefacts: Mapping[str, Artefact]) -> Sources:
        """Sources over some artefacts.

        Args:
            store: where they lie.
            artefacts: the artefact of each asset, by its name.
        """
        return cls(store, artefacts)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the assets that are there, sorted."""
        return tuple(self._artefacts)

    def digest(self, asset: str) -> str | None:
        """SHA-256 of what is stored of an asset; None where nothing is."""
        found = self._artefacts.get(asset)
        return found.digest if found is not None else None

    def report(self, asset: str) -> dict[str, Any]:
        """The JSON report of an asset; empty where it has none."""
        return {} if self._is_of_another_model(asset) else self._stored(asset)

    def find(self, asset: str, pointer: str) -> Any:
        """What stands at a JSON pointer (RFC 6901) of a report; None where nothing does."""
        return follow(self.report(asset), pointer)

    def number(self, asset: str, pointer: str, unit: str = "", bounds: str = "") -> Number:
        """A number of a report, with its interval, or the reason why there is none.

        Args:
            asset: whose report.
            pointer: to a number, or to an entry with ``value``, ``low``, ``high`` or ``reason``.
            unit: see :class:`cxr_core.release.document.Number`.
            bounds: pointer to an entry with ``low`` and ``high``, where the interval stands apart from its number.
        """
        source = f"{asset}#{pointer}"
        entry = self.find(asset, pointer)
        value = entry.get("value") if isinstance(entry, dict) else entry
        if not is_number(value):
            return Number(None, unit=unit, source=source, reason=self._why(asset, entry))
        ends = self.find(asset, bounds) if bounds else entry
        low, high = (ends.get("low"), ends.get("high")) if isinstance(ends, dict) else (None, None)
        if not (is_number(low) and is_number(high)):
            return Number(value, unit=unit, source=source)
        return Number(value, low, high, unit, source, bounds=f"{asset}#{bounds}" if bounds else "")

    def count(self, asset: str, where: Mapping[str, str] | None = None, name: str = "", unit: str = "") -> Number:
        """How many rows of a stored table are such and such.

        Args:
            asset: a table, or a folder that holds one.
            where: column to the value that a row must have, compared as text; None counts all rows.
            name: of the table inside a folder.
            unit: see :class:`cxr_core.release.document.Number`.
        """
        asked = dict(sorted((where or {}).items()))
        place = [name] if name else []
        steps = [escape_step(step) for step in (*place, *(f"{column}={value}" for column, value in asked.items()))]
        source = f"{asset}#" + "/".join([_ROWS, *steps])
        table = self.table(asset, name)
        if table is None:
            return Number(None, unit=unit, source=source, reason=f"no table of {asset} is stored")
        if absent := sorted(set(asked) - set(table.columns)):
            return Number(None, unit=unit, source=source, reason=f"the table has no column {absent[0]}")
        for column, value in asked.items():
            table = table[table[column].astype(str) == value]
        return Number(len(table), unit=unit, source=source)

    def distinct(self, asset: str, column: str, where: Mapping[str, str] | None = None, unit: str = "") -> Number:
        """How many different values a column of a stored table has, in the rows that are such and such.

        Args:
            asset: a table.
            column: whose values are counted.
            where, unit: as for :meth:`count`.
        """
        asked = dict(sorted((where or {}).items()))
        steps = [escape_step(step) for step in (column, *(f"{name}={value}" for name, value in asked.items()))]
        source = f"{asset}#" + "/".join([_DISTINCT, *steps])
        table = self.table(asset)
        if (why := _absent(asset, table, {column, *asked})) or table is None:
            return Number(None, unit=unit, source=source, reason=why)
        for name, value in asked.items():
            table = table[table[name].astype(str) == value]
        return Number(int(table[column].nunique()), unit=unit, source=source)

    def shared(self, asset: str, column: str, over: str) -> Number:
        """How many values of a column of a stored table occur with several values of the column ``over``."""
        source, table = f"{asset}#{_SHARED}/{escape_step(column)}/{escape_step(over)}", self.table(asset)
        if (why := _absent(asset, table, {column, over})) or table is None:
            return Number(None, source=source, reason=why)
        return Number(int((table.groupby(column)[over].nunique() > 1).sum()), source=source)

    def figure(self, asset: str, name: str) -> bytes | None:
        """PNG bytes of a stored figure (its name without ``.png``); None where it is not there."""
        path = self._file(asset, f"{name}.png")
        return path.read_bytes() if path is not None and not self._is_of_another_model(asset) else None

    def picture(self, asset: str, name: str, alt: str, caption: str) -> Picture | Missing:
        """A stored figure as a block of a document, or that it is not there."""
        png = self.figure(asset, name)
        if png is None:
            other = self._is_of_another_model(asset)
            return Missing(self._why(asset, None) if other else f"no figure {name} of {asset} is stored")
        return Picture(png, alt, caption) if is_png(png) else Missing(f"the figure {name} of {asset} is no PNG")

    def table(self, asset: str, name: str = "") -> pd.DataFrame | None:
        """A stored table: the asset itself, or the named one of its folder; None where it is not there."""
        if (asset, name) not in self._tables:
            self._tables[asset, name] = None if self._is_of_another_model(asset) else self._read_table(asset, name)
        return self._tables[asset, name]

    def resolve(self, source: str, unit: str = "", bounds: str = "") -> Number:
        """The number that a source names, read again: equal to the one that a document shows.

        Args:
            source: of a :class:`Number`.
            unit, bounds: of it.

        Raises:
            CxrError: not of the form ``asset#/pointer``.
        """
        asset, mark, pointer = source.partition("#")
        if not mark:
            raise CxrError(f"The source {source!r} of a number is no asset#/pointer.")
        if self.find(asset, pointer) is not None:  # a report may have a key of that name
            return self.number(asset, pointer, unit, bounds.partition("#")[2])
        if pointer == _ROWS or pointer.startswith(f"{_ROWS}/"):
            steps = [unescape_step(step) for step in pointer.split("/")[2:]]
            name = steps.pop(0) if steps and "=" not in steps[0] else ""
            return self.count(asset, dict(step.split("=", 1) for step in steps), name, unit)
        column, *rest = [unescape_step(step) for step in pointer.split("/")[2:]] or [""]
        if pointer.startswith(f"{_DISTINCT}/"):
            return self.distinct(asset, column, dict(step.split("=", 1) for step in rest), unit)
        if pointer.startswith(f"{_SHARED}/"):
            return self.shared(asset, column, rest[0])
        return self.number(asset, pointer, unit, bounds.partition("#")[2])

    def _why(self, asset: str, entry: Any) -> str:
        if isinstance(entry, dict) and entry.get("reason"):
            return str(entry["reason"])
        if self.digest(asset) is None:
            return f"no report of {asset} is stored"
        if self._is_of_another_model(asset):
            return f"the report of {asset} is of another model"
        return f"the report of {asset} holds no such number"

    def _is_of_another_model(self, asset: str) -> bool:
        stored, model = self._stored(asset), self.digest("trained_model")
        data = stored.get("data")
        said = stored.get(SAYS, data.get(SAYS) if isinstance(data, dict) else None)
        return isinstance(said, str) and model is not None and said != model

    def _stored(self, asset: str) -> dict[str, Any]:
        if asset not in self._reports:
            self._reports[asset] = self._load(asset)
        return self._reports[asset]

    def _load(self, asset: str) -> dict[str, Any]:
        if asset == TECHNICAL_REPORT:
            return technical_report()
        artefact = self._artefacts.get(asset)
        if artefact is None or not self._store.holds(artefact) or artefact.kind == "table":
            return {}
        if artefact.kind == "json":
            found = self._store.read_json(artefact)
        else:
            wanted = [name for name in (REPORTS.get(asset), _FILES.get(asset), f"{asset}.json") if name]
            paths = [path for name in wanted if (path := self._file(asset, name)) is not None]
            paths = paths or sorted(self._store.local_tree(artefact).glob("*.json"))
            found = json.loads(paths[0].read_bytes()) if paths else {}
        return found if isinstance(found, dict) else {}

    def _file(self, asset: str, name: str) -> Path | None:
        artefact = self._artefacts.get(asset)
        if artefact is None or artefact.kind != "tree" or not self._store.holds(artefact):
            return None
        path = self._store.local_tree(artefact) / name
        return path if path.is_file() else None

    def _read_table(self, asset: str, name: str) -> pd.DataFrame | None:
        artefact = self._artefacts.get(asset)
        if artefact is not None and artefact.kind == "table" and not name and self._store.holds(artefact):
            return self._store.read_table(artefact)
        path = self._file(asset, f"{name}.parquet")
        if path is None:
            return None
        import pandas

        return pandas.read_parquet(path)


def _absent(asset: str, table: pd.DataFrame | None, columns: set[str]) -> str:
    """Why columns of a table cannot be read; empty where they can."""
    if table is None:
        return f"no table of {asset} is stored"
    absent = sorted(columns - set(table.columns))
    return f"the table has no column {absent[0]}" if absent else ""
