"""The one pass over the pixels: read, check, decode, measure, frame; each content once, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from cxr_core.dataset.pixel_cache import THUMBNAIL_SIDE, PixelCache, Record
from cxr_core.digests import digest_bytes
from cxr_core.eda.statistics import film_statistics
from cxr_core.errors import CxrError, ImageRejected
from cxr_core.imaging.decode import decode
from cxr_core.imaging.preprocess import Preprocessing, content_box
from cxr_core.progress import Log, progress
from cxr_core.settings_sections import QualitySettings

__all__ = ["ingest", "record_of"]

_SHARD_IMAGES = 512  # 26 MB of frames at 224 px: at most so much work is lost when the pass is killed
_AHEAD = 4  # images in flight a thread: keeps threads busy and memory flat


def ingest(
    raw_dir: Path,
    hashed: pd.DataFrame,
    cache: PixelCache,
    preprocessing: Preprocessing,
    limits: QualitySettings,
    workers: int = 1,
    log: Log | None = None,
    shard_images: int = _SHARD_IMAGES,
) -> int:
    """Bring every content of ``hashed`` into the cache that is not there yet.

    What is finished is kept when the pass is interrupted: shards are written as they fill, and the last one on the
    way out.

    Args:
        raw_dir: folder that the paths are relative to.
        hashed: columns file and sha256, as :func:`cxr_core.dataset.hashing.hash_files` gives them.
        cache: where frames and records go.
        preprocessing: how frames are made.
        limits: sizes that are refused.
        workers: decoding threads (decoders release the interpreter's lock).
        log: where progress lines go.
        shard_images: images a shard.

    Returns:
        Number of contents decoded in this pass.

    Raises:
        CxrError: no space left, or a file that changes while it is read.
    """
    known = set(cache.records([])["sha256"])
    todo = hashed[(hashed["sha256"] != "") & ~hashed["sha256"].isin(known)].drop_duplicates("sha256")
    if todo.empty:
        return 0
    jobs = [(raw_dir / file, sha256) for file, sha256 in zip(todo["file"], todo["sha256"], strict=True)]
    pending: list[Record] = []
    done = 0
    with progress(len(jobs), "decoding", "images", log) as advance:
        try:
            for record in _in_order(jobs, preprocessing, limits, workers):
                pending.append(record)
                done += 1
                advance(1)
                if len(pending) >= shard_images:
                    cache.add(pending)
                    pending = []
        finally:
            cache.add(pending)
    return done


def _in_order(
    jobs: list[tuple[Path, str]], preprocessing: Preprocessing, limits: QualitySettings, workers: int
) -> Iterator[Record]:
    waiting: deque[Future[Record]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for path, sha256 in jobs:
                waiting.append(pool.submit(_read, path, sha256, preprocessing, limits))
                if len(waiting) >= workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read(path: Path, sha256: str, preprocessing: Preprocessing, limits: QualitySettings) -> Record:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CxrError(f"{path} was there a moment ago and cannot be read now: run again.") from error
    if digest_bytes(data) != sha256:
        raise CxrError(f"{path} changed while it was being read: run again when nobody writes to the folder.")
    return record_of(data, sha256, preprocessing, limits)


def record_of(data: bytes, sha256: str, preprocessing: Preprocessing, limits: QualitySettings) -> Record:
    """Record of one image content.

    Args:
        data: the file's bytes.
        sha256: their digest.
        preprocessing: how the frame is made.
        limits: sizes that are refused.

    Returns:
        Frame, thumbnail and values: code, reason, format, mode, width, height (upright), bit_depth, tint, and those of
        :func:`cxr_core.eda.statistics.film_statistics`. A refused image has code and reason only.
    """
    try:
        decoded = decode(data, limits)
    except ImageRejected as rejected:
        return Record(sha256, {"code": rejected.code, "reason": rejected.reason}, None, None)
    height, width = decoded.grey.shape
    frame = preprocessing.frame(decoded.grey)
    box = content_box(width, height, preprocessing.size)
    film = frame[box.top : box.bottom, box.left : box.right]
    thumbnail = cv2.resize(film, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    values: dict[str, Any] = {
        "code": "",
        "reason": "",
        "format": decoded.header.format,
        "mode": decoded.header.mode,
        "width": width,
        "height": height,
        "bit_depth": decoded.bit_depth,
        "tint": decoded.tint,
        **film_statistics(decoded.grey, frame, box),
    }
    return Record(sha256, values, frame, thumbnail)
