"""Content digests: one way to name bytes, JSON values, arrays and folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["digest_array", "digest_bytes", "digest_file", "digest_json", "digest_tree"]

_CHUNK = 1 << 20  # bytes read at a time: large enough for a disk, small enough for flat memory


def digest_bytes(data: bytes) -> str:
    """SHA-256 of ``data`` as 64 hexadecimal digits (FIPS 180-4)."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of the canonical JSON text of ``value`` (sorted keys, no spaces, NaN refused)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)
    return digest_bytes(text.encode())


def digest_array(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's dtype, shape and C-order bytes."""
    header = f"{array.dtype.str}{array.shape}".encode()
    return digest_bytes(header + np.ascontiguousarray(array).tobytes())


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_tree(folder: Path) -> str:
    """SHA-256 over the sorted relative paths of a folder's files and their digests."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_json([(path.relative_to(folder).as_posix(), digest_file(path)) for path in files])
