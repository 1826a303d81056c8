"""The pixel cache decodes each content once, survives interruption and a full disk, and grows without rebuilding."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cxr_core.dataset import ingest as module
from cxr_core.dataset.hashing import hash_files
from cxr_core.dataset.ingest import ingest
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.dataset.scan import scan
from cxr_core.errors import CxrError
from cxr_core.imaging.decode import decode
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_sections import QualitySettings

LABELS = ("Normal", "Pneumonia")
PLAIN = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LIMITS = QualitySettings()


@pytest.fixture
def root(tmp_path: Path, film, encode) -> Path:
    folder = tmp_path / "raw"
    for number in range(12):
        path = folder / LABELS[number % 2] / f"film{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(film(number)))
    return folder


def run(root: Path, cache_dir: Path, **options) -> tuple[int, PixelCache, list[str]]:
    hashed = hash_files(root, scan(root, LABELS), cache_dir)
    cache = PixelCache(cache_dir, PLAIN, LIMITS)
    done = ingest(root, hashed, cache, PLAIN, LIMITS, **options)
    return done, cache, hashed["sha256"].tolist()


def test_frames_equal_the_preprocessing_of_the_file(root: Path, tmp_path: Path):
    _, cache, digests = run(root, tmp_path / "cache", shard_images=5, workers=2)
    frames = cache.frames(digests)
    rows = np.array([7, 0, 7, 11])
    expected = [PLAIN.frame(decode((root / raw.file).read_bytes(), LIMITS).grey) for raw in scan(root, LABELS)]
    np.testing.assert_array_equal(frames.take(rows), np.stack([expected[row] for row in rows]))
    assert len(list(cache.folder.iterdir())) == 3


def test_nothing_is_decoded_twice_not_even_under_another_name(root: Path, tmp_path: Path):
    assert run(root, tmp_path / "cache")[0] == 12
    assert run(root, tmp_path / "cache")[0] == 0
    shutil.copy(root / "Normal/film00.png", root / "Pneumonia/copy.png")
    assert run(root, tmp_path / "cache")[0] == 0


def test_ten_new_files_cost_ten_decodings_and_touch_no_old_shard(root: Path, tmp_path: Path, film, encode):
    _, cache, _ = run(root, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*") if path.is_file()}
    for number in range(10):
        (root / f"Normal/new{number}.png").write_bytes(encode(film(100 + number)))
    assert run(root, tmp_path / "cache")[0] == 10
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_equal_inputs_give_equal_bytes(root: Path, tmp_path: Path):
    caches = [run(root, tmp_path / name, workers=workers)[1] for name, workers in (("a", 1), ("b", 4))]
    contents = [
        {path.relative_to(cache.folder): path.read_bytes() for path in cache.folder.rglob("*") if path.is_file()}
        for cache in caches
    ]
    assert contents[0] == contents[1]


def test_a_refused_image_is_remembered_with_its_reason(root: Path, tmp_path: Path):
    (root / "Normal/bad.png").write_bytes(b"no image")
    assert run(root, tmp_path / "cache")[0] == 13
    done, cache, _ = run(root, tmp_path / "cache")
    assert done == 0
    refused = cache.records().query("code != ''")
    assert refused["code"].tolist() == ["not_an_image"]
    with pytest.raises(CxrError, match="no frame"):
        cache.frames(refused["sha256"].tolist())


def test_an_interrupted_pass_keeps_what_it_finished(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = 0
    real = module.record_of

    def interrupted(*arguments):
        nonlocal calls
        calls += 1
        if calls > 7:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "record_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(root, tmp_path / "cache", shard_images=3)
    done, cache, digests = run(root, tmp_path / "cache")
    assert done == 12 - 7
    assert len(cache.frames(digests)) == 12


def test_a_killed_pass_leaves_whole_shards_and_continues(root: Path, tmp_path: Path, film, encode):
    for number in range(150):
        (root / f"Normal/more{number}.png").write_bytes(encode(film(1000 + number, 900, 900)))
    code = f"""
from pathlib import Path
from cxr_core.dataset.hashing import hash_files
from cxr_core.dataset.ingest import ingest
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.dataset.scan import scan
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_sections import QualitySettings
root, folder = Path({str(root)!r}), Path({str(tmp_path / "cache")!r})
plain, limits = Preprocessing(64, False, 2.0, 8, (.5, .5, .5), (.5, .5, .5)), QualitySettings()
hashed = hash_files(root, scan(root, {LABELS!r}), folder)
ingest(root, hashed, PixelCache(folder, plain, limits), plain, limits, shard_images=4)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    pixels = tmp_path / "cache/pixels"
    while process.poll() is None and len(list(pixels.glob("*/[!.]*/records.parquet"))) < 3:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done, cache, digests = run(root, tmp_path / "cache")
    assert 0 < done <= 162 - 12
    assert len(cache.frames(digests)) == 162
    assert not list(cache.folder.glob(".tmp-*"))


def test_other_preprocessing_has_a_cache_of_its_own(tmp_path: Path):
    other = Preprocessing(64, True, 2.0, 8, PLAIN.mean, PLAIN.std)
    assert PixelCache(tmp_path, PLAIN, LIMITS).folder != PixelCache(tmp_path, other, LIMITS).folder


def test_a_file_that_changes_while_it_is_read_is_named(root: Path, tmp_path: Path):
    hashed = hash_files(root, scan(root, LABELS), tmp_path)
    (root / hashed["file"][0]).write_bytes(b"other")
    with pytest.raises(CxrError, match=r"film00\.png changed"):
        ingest(root, hashed, PixelCache(tmp_path, PLAIN, LIMITS), PLAIN, LIMITS)


def test_a_full_disk_is_one_sentence_and_the_pass_continues_elsewhere(root: Path, tmp_path: Path, small_disk: Path):
    large = Preprocessing(1024, False, 2.0, 8, PLAIN.mean, PLAIN.std)
    hashed = hash_files(root, scan(root, LABELS), tmp_path / "memory")
    cache = PixelCache(small_disk, large, LIMITS)
    with pytest.raises(CxrError, match="No space left while writing the pixel cache"):
        ingest(root, hashed, cache, large, LIMITS)
    assert not list(small_disk.glob("pixels/*/.tmp-*"))
    assert run(root, tmp_path / "cache")[0] == 12


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)
