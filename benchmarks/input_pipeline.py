"""Network input from the pixel cache against decoding and augmenting at native size in every epoch."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.films import write_films
from benchmarks.harness import Benchmark, side_by_side
from cxr_core.dataset.ingest import ingest
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import load_settings
from cxr_core.settings_sections import AugmentationSettings

_FILMS = 48


def measure() -> Benchmark:
    """Images per second of both ways, one thread each."""
    with TemporaryDirectory(prefix="cxr-bench-") as scratch:
        return _measure(Path(scratch))


def _measure(scratch: Path) -> Benchmark:
    from cxr_core.dataset.hashing import hash_files
    from cxr_core.dataset.scan import RawFile
    from cxr_core.training.augmentation import Augmenter

    settings = load_settings({"profile": "standard"})
    paths = write_films(scratch / "films", _FILMS)
    raw = [RawFile(path.name, "Normal", path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    preprocessing = Preprocessing.from_settings(settings.preprocessing, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    cache = PixelCache(scratch / "cache", preprocessing, settings.quality)
    hashed = hash_files(scratch / "films", raw, scratch / "cache")
    ingest(scratch / "films", hashed, cache, preprocessing, settings.quality)
    frames = cache.frames(hashed["sha256"].tolist())
    augmenter = Augmenter(settings.augmentation, 42)
    keys = [digest[:16] for digest in hashed["sha256"]]
    straight = _straight(settings.augmentation, settings.preprocessing.size)

    def ours() -> None:
        for start in range(0, _FILMS, 16):
            rows = np.arange(start, start + 16)
            preprocessing.tensor(augmenter.augment(frames.take(rows), [keys[row] for row in rows], 1))

    def theirs() -> None:
        for path in paths:
            grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            preprocessing.tensor(straight(image=grey)["image"][None])

    ratio, fast, slow = side_by_side(ours, theirs)
    note = f"{_FILMS / fast:.0f} against {_FILMS / slow:.0f} images/s on one thread, films of 1342 x 1215 pixels"
    return Benchmark("input_pipeline", ratio, 10.0, "higher", "images/s, cache over native", note)


def _straight(s: AugmentationSettings, size: int):  # type: ignore[no-untyped-def]
    """The report's transforms as a tutorial would write them: at native size, then resized and padded."""
    import albumentations as A  # noqa: N812  # its own convention

    p = s.optional_probability
    turn, shift = (-s.rotation_degrees, s.rotation_degrees), (-s.translation, s.translation)
    return A.Compose(
        [
            A.HorizontalFlip(p=s.flip_probability),
            A.Affine(rotate=turn, translate_percent=shift, p=1),
            A.RandomBrightnessContrast(brightness_limit=s.brightness, contrast_limit=s.contrast, p=p),
            A.GaussNoise(std_range=(s.noise_sigma, s.noise_sigma), p=p),
            A.GaussianBlur(blur_limit=(s.blur_kernel, s.blur_kernel), p=p),
            A.LongestMaxSize(size),
            A.PadIfNeeded(size, size),
        ]
    )
