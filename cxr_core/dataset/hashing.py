"""SHA-256 of every raw file, remembered by size and time so that a second look reads nothing again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from cxr_core.dataset.scan import SIDECAR, RawFile
from cxr_core.digests import digest_bytes, digest_file, digest_json
from cxr_core.progress import Log, progress
from cxr_core.store import write_atomically

__all__ = ["hash_files", "version_of"]

_RACY_NS = 2_000_000_000  # a file changed within 2 s of the look may change again unseen (as in git's index)
_MEMO_COLUMNS = ["file", "size", "mtime_ns", "sha256"]


def hash_files(
    raw_dir: Path, files: Sequence[RawFile], memory_dir: Path, workers: int = 1, log: Log | None = None
) -> pd.DataFrame:
    """Digest of each file's content.

    Args:
        raw_dir: folder that the paths are relative to.
        files: what :func:`cxr_core.dataset.scan.scan` found.
        memory_dir: local folder that keeps digests between calls.
        workers: reading threads.
        log: where progress lines go.

    Returns:
        Columns file, label, size, mtime_ns, sha256; sha256 is empty where a file could not be read. Order of ``files``.
    """
    memory = memory_dir / f"hashes-{digest_bytes(str(raw_dir.resolve()).encode())[:16]}.parquet"
    known = _recall(memory)
    table = pd.DataFrame([vars(raw) for raw in files], columns=["file", "label", "size", "mtime_ns"])
    keys = list(zip(table["file"], table["size"], table["mtime_ns"], strict=True))
    digests = [known.get(key) for key in keys]
    todo = [position for position, digest in enumerate(digests) if digest is None]
    if todo:
        with progress(len(todo), "hashing files", "files", log) as advance, ThreadPoolExecutor(workers) as pool:
            for position, digest in zip(
                todo, pool.map(lambda at: _try_digest(raw_dir / keys[at][0]), todo), strict=True
            ):
                digests[position] = digest
                advance(1)
    table["sha256"] = digests
    fresh = time.time_ns() - _RACY_NS
    keep = table[(table["sha256"] != "") & (table["mtime_ns"] < fresh)]
    if todo:
        write_atomically(memory, keep[_MEMO_COLUMNS].to_parquet(index=False))
    return table


def version_of(raw_dir: Path, hashed: pd.DataFrame) -> str:
    """Digest of the raw data as a whole: every path with its content, and the sidecar."""
    sidecar = raw_dir / SIDECAR
    beside = digest_file(sidecar) if sidecar.is_file() else ""
    return digest_json([beside, hashed[["file", "label", "sha256"]].to_numpy().tolist()])


def _recall(memory: Path) -> dict[tuple[str, int, int], str]:
    if not memory.is_file():
        return {}
    table = pd.read_parquet(memory)
    return {(f, int(s), int(m)): d for f, s, m, d in table[_MEMO_COLUMNS].itertuples(index=False)}


def _try_digest(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError:  # unreadable: an empty digest becomes a quarantine row
        return ""
