"""Index, duplicates, statistics and frames in one pass over the pixels against a pass for each."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from benchmarks.films import write_films
from benchmarks.harness import Benchmark, side_by_side
from cxr_core.dataset.ingest import record_of
from cxr_core.digests import digest_bytes
from cxr_core.eda.statistics import film_statistics
from cxr_core.imaging.decode import decode
from cxr_core.imaging.preprocess import Preprocessing, content_box
from cxr_core.settings import load_settings

_FILMS = 32


def measure() -> Benchmark:
    """Seconds for all films, one thread each."""
    settings = load_settings({"profile": "standard"})
    preprocessing = Preprocessing.from_settings(settings.preprocessing, (0.5,) * 3, (0.5,) * 3)
    limits = settings.quality
    with TemporaryDirectory(prefix="cxr-bench-") as scratch:
        paths = write_films(Path(scratch), _FILMS)

        def ours() -> None:
            for path in paths:
                data = path.read_bytes()
                record_of(data, digest_bytes(data), preprocessing, limits)

        def theirs() -> None:
            for path in paths:  # index: is it an image, and which
                data = path.read_bytes()
                digest_bytes(data)
                decode(data, limits)
            for path in paths:  # duplicates
                grey = decode(path.read_bytes(), limits).grey
                cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
            for path in paths:  # statistics
                grey = decode(path.read_bytes(), limits).grey
                box = content_box(grey.shape[1], grey.shape[0], preprocessing.size)
                film_statistics(grey, preprocessing.frame(grey), box)
            for path in paths:  # frames
                preprocessing.frame(decode(path.read_bytes(), limits).grey)

        ratio, fast, slow = side_by_side(ours, theirs)
    note = f"{1000 * fast / _FILMS:.1f} against {1000 * slow / _FILMS:.1f} ms a film of 1342 x 1215 pixels, one thread"
    return Benchmark("one_pass", ratio, 3.0, "higher", "time, four passes over one", note)
