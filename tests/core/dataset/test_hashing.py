"""File digests are remembered, and never remembered wrongly."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cxr_core.dataset import hashing
from cxr_core.dataset.hashing import hash_files, version_of
from cxr_core.dataset.scan import scan
from cxr_core.digests import digest_bytes

LABELS = ("Normal", "Pneumonia")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    for name, data in {"Normal/a.png": b"one", "Pneumonia/b.png": b"two"}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(data)
        os.utime(folder / name, (1, 1))
    return folder


def hashed(root: Path, memory: Path):
    return hash_files(root, scan(root, LABELS), memory)


def test_digests_are_those_of_the_content(root: Path, tmp_path: Path):
    assert hashed(root, tmp_path)["sha256"].tolist() == [digest_bytes(b"one"), digest_bytes(b"two")]


def test_a_second_look_reads_no_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = hashed(root, tmp_path)
    read: list[Path] = []
    monkeypatch.setattr(hashing, "digest_file", lambda path: read.append(path) or "")
    assert hashed(root, tmp_path).equals(first)
    assert read == []


def test_a_changed_file_is_read_again(root: Path, tmp_path: Path):
    hashed(root, tmp_path)
    (root / "Normal/a.png").write_bytes(b"new")
    assert hashed(root, tmp_path)["sha256"][0] == digest_bytes(b"new")


def test_a_file_changed_just_now_is_not_remembered(root: Path, tmp_path: Path):
    path = root / "Normal/a.png"
    path.write_bytes(b"abc")
    stamp = path.stat().st_mtime_ns
    hashed(root, tmp_path)
    path.write_bytes(b"xyz")  # same size, and on a coarse clock the same time
    os.utime(path, ns=(stamp, stamp))
    assert time.time_ns() - stamp < 2_000_000_000
    assert hashed(root, tmp_path)["sha256"][0] == digest_bytes(b"xyz")


def test_an_unreadable_file_has_an_empty_digest(root: Path, tmp_path: Path):
    (root / "Normal/gone.png").symlink_to(root / "nowhere")
    table = hashed(root, tmp_path).set_index("file")
    assert table.at["Normal/gone.png", "sha256"] == ""


def test_the_version_covers_names_contents_and_sidecar(root: Path, tmp_path: Path):
    seen = {version_of(root, hashed(root, tmp_path))}
    (root / "metadata.csv").write_text("file\n")
    seen.add(version_of(root, hashed(root, tmp_path)))
    (root / "Normal/a.png").rename(root / "Normal/c.png")
    seen.add(version_of(root, hashed(root, tmp_path)))
    assert len(seen) == 3
    assert version_of(root, hashed(root, tmp_path)) in seen
