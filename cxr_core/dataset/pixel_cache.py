"""The pixel cache: each file decoded once, ever. Sharded, memory-mapped, resumable, extendable without rebuilding.

A shard is a folder that never changes: ``frames.npy`` (n, size, size) uint8, ``thumbnails.npy`` (n, 64, 64) uint8 and
``records.parquet``, one row an image content with its statistics, or with the reason why it has no frame. Images are
known by the SHA-256 of their file, so a renamed or copied file is never decoded again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.digests import digest_json
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_sections import QualitySettings

__all__ = ["THUMBNAIL_SIDE", "CachedFrames", "PixelCache", "Record"]

THUMBNAIL_SIDE = 64  # of the near-duplicate test: TRAPS 3
_RECORD_VERSION = 1  # raise it whenever a record's columns or statistics change meaning


@dataclass(frozen=True)
class Record:
    """What one pass over one image content gives.

    Attributes:
        sha256: digest of the file.
        values: columns of the record: header, statistics; or ``code`` and ``reason`` of the refusal.
        frame: (size, size) uint8, ``None`` where the image was refused.
        thumbnail: (64, 64) uint8 of the film without its padding, ``None`` where refused.
    """

    sha256: str
    values: dict[str, Any]
    frame: npt.NDArray[np.uint8] | None
    thumbnail: npt.NDArray[np.uint8] | None


class PixelCache:
    """Frames and records of image contents, for one preprocessing and one set of size limits."""

    def __init__(self, cache_dir: Path, preprocessing: Preprocessing, limits: QualitySettings) -> None:
        sizes = [limits.min_side, limits.max_side, limits.max_pixels]
        self.key = digest_json([_RECORD_VERSION, preprocessing.frame_digest, sizes])
        self.folder = cache_dir / "pixels" / self.key[:16]
        self.size = preprocessing.size
        with explain_os_errors(self.folder, "opening the pixel cache"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()

    # ------------------------------------------------------------------ writing
    def add(self, records: Sequence[Record]) -> None:
        """Write records as one new shard; all of it is there afterwards, or nothing."""
        if not records:
            return
        framed = [record for record in records if record.frame is not None]
        rows = {record.sha256: row for row, record in enumerate(framed)}
        table = pd.DataFrame([{"sha256": r.sha256, "row": rows.get(r.sha256, -1), **r.values} for r in records])
        name = digest_json(sorted(record.sha256 for record in records))[:16]
        staging = self.folder / f".tmp-{os.getpid()}-{name}"
        with explain_os_errors(self.folder, "writing the pixel cache"):
            try:
                staging.mkdir()
                _save(staging / "frames.npy", [r.frame for r in framed], self.size)
                _save(staging / "thumbnails.npy", [r.thumbnail for r in framed], THUMBNAIL_SIDE)
                table.to_parquet(staging / "records.parquet", index=False)
                for path in staging.iterdir():
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
                if not (self.folder / name).exists():
                    staging.rename(self.folder / name)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        for path in self.folder.glob(".tmp-*"):
            if not _is_running(int(path.name.split("-")[1])):
                shutil.rmtree(path, ignore_errors=True)

    # ------------------------------------------------------------------ reading
    def records(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All records, with their ``shard``; sorted by sha256, one row a content.

        Args:
            columns: columns to read beside ``sha256``; all where left out.
        """
        wanted = None if columns is None else ["sha256", *columns]
        tables = []
        for shard in self._shards():
            table = pd.read_parquet(shard / "records.parquet", columns=wanted)
            tables.append(table.assign(shard=shard.name))
        if not tables:
            return pd.DataFrame(
                {"sha256": pd.Series(dtype=str), "row": pd.Series(dtype=int), "shard": pd.Series(dtype=str)}
            )
        table = pd.concat(tables, ignore_index=True)
        return table.drop_duplicates("sha256").sort_values("sha256", ignore_index=True)

    def frames(self, sha256s: Sequence[str]) -> CachedFrames:
        """Frames of the given contents, in that order.

        Raises:
            CxrError: one of them has no frame.
        """
        return CachedFrames(self, *self._locate(sha256s), "frames.npy", self.size)

    def thumbnails(self, sha256s: Sequence[str]) -> CachedFrames:
        """64 x 64 thumbnails of the given contents, in that order."""
        return CachedFrames(self, *self._locate(sha256s), "thumbnails.npy", THUMBNAIL_SIDE)

    def _locate(self, sha256s: Sequence[str]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
        places = self.records(["row"]).set_index("sha256").reindex(list(sha256s))
        lost = places.index[places["row"].isna() | (places["row"] < 0)]
        if len(lost):
            raise CxrError(
                f"The pixel cache in {self.folder} has no frame of {lost[0][:16]}: materialise image_index again."
            )
        return places["shard"].to_numpy(object), places["row"].to_numpy(np.intp)

    def _shards(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))


@dataclass(frozen=True)
class CachedFrames:
    """Frames that lie in the cache; see :class:`cxr_core.dataset.frames.Frames`.

    Shards are mapped only while rows are copied out of them, so resident memory does not grow with the data set.
    """

    cache: PixelCache
    shards: npt.NDArray[np.object_]
    rows: npt.NDArray[np.intp]
    file: str
    side: int

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Copy of the given rows, (len(rows), side, side) uint8."""
        out = np.empty((len(rows), self.side, self.side), np.uint8)
        shards = self.shards[rows]
        for shard in pd.unique(shards):
            here = np.flatnonzero(shards == shard)
            mapped = np.load(self.cache.folder / shard / self.file, mmap_mode="r")
            out[here] = mapped[self.rows[rows[here]]]
        return out


def _save(path: Path, arrays: Sequence[npt.NDArray[np.uint8] | None], side: int) -> None:
    stacked = np.stack([a for a in arrays if a is not None]) if arrays else np.zeros((0, side, side), np.uint8)
    with path.open("wb") as stream:  # numpy.save would hide the reason when the disk is full
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(stacked))
        stream.write(np.ascontiguousarray(stacked).data)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()
