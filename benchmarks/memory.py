"""Peak memory of indexing, splitting and reading every frame at 2,000 and 20,000 images."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.films import write_small_films
from benchmarks.harness import Benchmark
from cxr_core.settings import LABELS

_SMALL, _LARGE = 2_000, 20_000


def measure() -> Benchmark:
    """Largest resident set of a fresh process for each size (Linux)."""
    peaks = {}
    for count in (_SMALL, _LARGE):
        with TemporaryDirectory(prefix="cxr-bench-") as scratch:
            write_small_films(Path(scratch) / "raw", LABELS, count)
            command = [sys.executable, "-m", "benchmarks.memory", scratch]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[count] = int(done.stdout) / 1024
    note = f"{peaks[_SMALL]:.0f} MiB at {_SMALL} images, {peaks[_LARGE]:.0f} MiB at {_LARGE}"
    return Benchmark("peak_memory", peaks[_LARGE] / peaks[_SMALL], 1.5, "lower", "peak memory, 20,000 over 2,000", note)


def _work(scratch: Path) -> int:
    """Index, split, read every frame once in batches; returns the peak in KiB."""
    import numpy as np

    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.index import build_index
    from cxr_core.dataset.ingest import ingest
    from cxr_core.dataset.manifest import frame_manifest, labelled_frames
    from cxr_core.dataset.pixel_cache import PixelCache
    from cxr_core.dataset.scan import scan
    from cxr_core.dataset.splits import make_splits
    from cxr_core.imaging.preprocess import Preprocessing
    from cxr_core.settings import load_settings

    now = load_settings({"profile": "standard"})
    preprocessing = Preprocessing.from_settings(now.preprocessing, (0.5,) * 3, (0.5,) * 3)
    cache = PixelCache(scratch / "cache", preprocessing, now.quality)
    hashed = hash_files(scratch / "raw", scan(scratch / "raw", LABELS), scratch / "cache", workers=2)
    ingest(scratch / "raw", hashed, cache, preprocessing, now.quality, workers=2)
    index = build_index(scratch / "raw", hashed, cache, LABELS, now.quality, now.duplicates)
    frame_manifest(cache, index)
    train = labelled_frames(cache, make_splits(index, now.split), ["train"])
    order = np.random.default_rng(0).permutation(len(train))
    for start in range(0, len(order), 32):
        preprocessing.tensor(train.frames.take(order[start : start + 32]))
    # Not ru_maxrss: it starts from the size of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.stdout.write(f"{_work(Path(sys.argv[1]))}\n")
