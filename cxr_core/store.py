"""The artefact store: content-addressed tables, reports, figures and folders under one URL.

Objects never change once written: ``objects/<name>/<digest>.<ext>``. What is current is said by small pointer files,
``refs/<key>.json``, which are replaced atomically.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from cxr_core.digests import digest_bytes, digest_tree
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["Artefact", "ArtefactStore", "write_atomically"]

_NAME_DIGITS = 16  # of the digest in a path: 64 bits, no collision among billions of objects of one name


@dataclass(frozen=True)
class Artefact:
    """Where one immutable object lies and what it holds.

    Attributes:
        name: what it is, for example ``splits``.
        kind: ``table`` (Parquet), ``json`` or ``tree`` (a folder of files).
        path: path relative to the store's root.
        digest: SHA-256 of the content, 64 hexadecimal digits.
        size: bytes.
    """

    name: str
    kind: str
    path: str
    digest: str
    size: int


def write_atomically(path: Path, data: bytes) -> None:
    """Write a local file so that a reader, or a crash, sees all of it or nothing.

    Raises:
        CxrError: no space, no permission.
    """
    with explain_os_errors(path, "writing"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def _parquet_bytes(table: pd.DataFrame) -> bytes:
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    buffer = BytesIO()
    pq.write_table(arrow, buffer, compression="zstd")
    return buffer.getvalue()


class ArtefactStore:
    """Reads and writes artefacts under ``root``, a folder or any fsspec URL."""

    def __init__(self, root: str | Path | UPath) -> None:
        self.root = UPath(root)
        self._local = Path(self.root.path) if self.root.protocol in ("", "file", "local") else None

    # ------------------------------------------------------------------ writing
    def write_table(self, name: str, table: pd.DataFrame) -> Artefact:
        """Store a data frame as Parquet; equal frames give equal bytes (the index is not kept)."""
        return self._write_object(name, "table", "parquet", _parquet_bytes(table))

    def write_json(self, name: str, value: Any) -> Artefact:
        """Store a JSON value: sorted keys, NaN refused, so that equal values give equal bytes."""
        return self._write_object(name, "json", "json", _json_bytes(value))

    def write_tree(self, name: str, fill: Callable[[Path], None]) -> Artefact:
        """Store a folder of files that ``fill`` writes into the empty local folder it is given."""
        with tempfile.TemporaryDirectory(prefix="cxr-") as scratch:
            folder = Path(scratch) / "tree"
            folder.mkdir()
            with explain_os_errors(folder, f"writing {name}"):
                fill(folder)
            digest = digest_tree(folder)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            relative = f"objects/{name}/{digest[:_NAME_DIGITS]}"
            target = self.root / relative
            if not target.exists():
                self._put_tree(folder, target)
        return Artefact(name, "tree", relative, digest, size)

    def write_report(
        self,
        name: str,
        file: str,
        report: Any,
        figures: Mapping[str, bytes],
        tables: Mapping[str, pd.DataFrame] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Artefact:
        """Store a JSON report (sorted keys, NaN refused) with its figures and tables as one folder.

        Args:
            name: of the artefact.
            file: name of the report's file.
            report: JSON value.
            figures: PNG bytes by name; written as ``<name>.png``.
            tables: data frames by name; written as ``<name>.parquet``.
            files: further files by their whole name.
        """

        def fill(folder: Path) -> None:
            (folder / file).write_bytes(_json_bytes(report))
            for figure, png in figures.items():
                (folder / f"{figure}.png").write_bytes(png)
            for title, table in (tables or {}).items():
                (folder / f"{title}.parquet").write_bytes(_parquet_bytes(table))
            for title, data in (files or {}).items():
                (folder / title).write_bytes(data)

        return self.write_tree(name, fill)

    def _put_tree(self, folder: Path, target: UPath) -> None:
        if self._local is None:  # object stores have no rename: a tree there is whole once its ref is written
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    (target / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
            return
        final = Path(target.path)
        with explain_os_errors(final, "writing the store"):
            final.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=final.parent, prefix=".tmp-"))
            try:
                shutil.copytree(folder, staging / "tree")
                for path in (staging / "tree").rglob("*"):
                    if path.is_file():
                        with path.open("rb") as stream:
                            os.fsync(stream.fileno())
                (staging / "tree").replace(final)
                _sync_folder(final.parent)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _write_object(self, name: str, kind: str, extension: str, data: bytes) -> Artefact:
        digest = digest_bytes(data)
        relative = f"objects/{name}/{digest[:_NAME_DIGITS]}.{extension}"
        if not (self.root / relative).exists():
            self._put(relative, data)
        return Artefact(name, kind, relative, digest, len(data))

    def _put(self, relative: str, data: bytes) -> None:
        if self._local is None:
            (self.root / relative).write_bytes(data)
        else:
            write_atomically(self._local / relative, data)

    # ------------------------------------------------------------------ reading
    def read_table(
        self, artefact: Artefact, columns: Sequence[str] | None = None, where: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """Load a table, or only some of its columns and rows.

        Args:
            artefact: the table.
            columns: to load; None loads all.
            where: column to the value that a row must have to be loaded at all.

        Raises:
            CxrError: the object is gone.
        """
        filters = [(column, "==", value) for column, value in where.items()] if where else None
        content = BytesIO(self._get(artefact.path))
        return pq.read_table(content, columns=list(columns) if columns else None, filters=filters).to_pandas()

    def read_json(self, artefact: Artefact) -> Any:
        """Load a JSON value."""
        return json.loads(self._get(artefact.path))

    def local_tree(self, artefact: Artefact) -> Path:
        """A local folder with the files of a tree; copied from a remote store when it has to be.

        Raises:
            CxrError: the tree is gone.
        """
        if self._local is not None:
            path = self._local / artefact.path
            if not path.exists():
                raise CxrError(f"{path} is gone from the store: materialise {artefact.name} again.")
            return path
        copy = (
            Path(tempfile.gettempdir())
            / "cxr-store"
            / digest_bytes(str(self.root).encode())[:_NAME_DIGITS]
            / artefact.path
        )
        if not copy.exists():
            source = self.root / artefact.path
            staging = Path(tempfile.mkdtemp(prefix="cxr-"))
            for item in source.rglob("*"):
                if item.is_file():
                    target = staging / item.relative_to(source).as_posix()
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(item.read_bytes())
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(staging, copy)
        return copy

    def table_of(self, name: str, digest: str) -> Artefact | None:
        """The table that was once written under ``name`` with this digest; None where it is not there."""
        relative = f"objects/{name}/{digest[:_NAME_DIGITS]}.parquet"
        path = self.root / relative
        return Artefact(name, "table", relative, digest, int(path.stat().st_size)) if path.exists() else None

    def holds(self, artefact: Artefact) -> bool:
        """Whether the content of an artefact is there."""
        return bool((self.root / artefact.path).exists())

    def _get(self, relative: str) -> bytes:
        try:
            data: bytes = (self.root / relative).read_bytes()
        except FileNotFoundError as error:
            raise CxrError(f"{self.root / relative} is gone from the store: materialise its asset again.") from error
        return data

    # ------------------------------------------------------------------ pointers
    def set_ref(self, key: str, artefact: Artefact) -> None:
        """Make ``artefact`` the current one under ``key`` (``splits`` or ``drift/2026-01-31``)."""
        self._put(f"refs/{key}.json", _json_bytes(asdict(artefact)))

    def get_ref(self, key: str) -> Artefact:
        """The current artefact under ``key``.

        Raises:
            CxrError: nothing has been materialised under that key.
        """
        if (found := self.find_ref(key)) is None:
            raise CxrError(f"{key} has not been materialised in {self.root}: run `make run` first.")
        return found

    def find_ref(self, key: str) -> Artefact | None:
        """The current artefact under ``key``, None where there is none."""
        path = self.root / f"refs/{key}.json"
        return Artefact(**json.loads(path.read_bytes())) if path.exists() else None

    def ref_names(self, folder: str) -> list[str]:
        """Names of the pointers right under ``folder`` (``champions``), sorted."""
        where = self.root / f"refs/{folder}"
        return sorted(path.stem for path in where.glob("*.json")) if where.exists() else []
