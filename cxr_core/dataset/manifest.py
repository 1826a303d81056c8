"""The frames of a data set by content, and frames with labels for the later stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.digests import digest_array

__all__ = ["frame_manifest", "labelled_frames"]

_BATCH = 256  # frames hashed at once: 13 MB at 224 px


def frame_manifest(cache: PixelCache, index: pd.DataFrame) -> pd.DataFrame:
    """Digest of the frame of each accepted film, read from the cache.

    Where a frame lies is the cache's own affair: a cache that was built in another order holds the same data.

    Args:
        cache: the pixel cache.
        index: columns image_id, sha256, status.

    Returns:
        Columns image_id, sha256, frame_digest; sorted by image_id.

    Raises:
        cxr_core.errors.CxrError: an accepted film has no frame in the cache.
    """
    films = index[index["status"] == "accepted"].drop_duplicates("image_id").sort_values("image_id", ignore_index=True)
    frames = cache.frames(films["sha256"].tolist())
    digests: list[str] = []
    for start in range(0, len(films), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(films)))
        digests += [digest_array(frame)[:16] for frame in frames.take(rows)]
    return films[["image_id", "sha256"]].assign(frame_digest=digests)


def labelled_frames(cache: PixelCache, splits: pd.DataFrame, names: Sequence[str]) -> LabelledFrames:
    """Frames and labels of some splits, sorted by image_id.

    Args:
        cache: the pixel cache.
        splits: columns image_id, sha256, split, label_index, source.
        names: which splits.
    """
    films = splits[splits["split"].isin(names)].sort_values("image_id")
    frames = cache.frames(films["sha256"].tolist())
    sources = films["source"].fillna("").astype(str).tolist()
    return LabelledFrames(frames, films["label_index"].to_numpy(np.int64), films["image_id"].tolist(), sources)
