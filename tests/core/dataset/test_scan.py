"""Scanning finds every candidate once, in one order, and says what is wrong with a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cxr_core.dataset.scan import scan
from cxr_core.errors import CxrError

LABELS = ("Normal", "Pneumonia", "Tuberculosis")


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    put(folder, "Normal/b.jpg", "Normal/a.JPG", "Pneumonia/c.PNG", "Tuberculosis/d.jpeg")
    return folder


def names(root: Path) -> list[tuple[str, str]]:
    return [(raw.file, raw.label) for raw in scan(root, LABELS)]


def test_files_come_sorted_whatever_their_extension(root: Path):
    put(root, "Normal/e.dat", "Normal/notes")
    found = [file for file, _ in names(root)]
    assert found == sorted(found)
    assert {"Normal/a.JPG", "Pneumonia/c.PNG", "Normal/e.dat", "Normal/notes"} <= set(found)


def test_publisher_splits_and_foreign_spellings_are_merged(tmp_path: Path):
    put(tmp_path, "set/train/NORMAL/a.jpg", "set/val/normal/b.jpg", "set/test/pneumonia/c.jpg", "set/TB/x/d.jpg")
    assert dict(names(tmp_path)) == {
        "set/train/NORMAL/a.jpg": "Normal",
        "set/val/normal/b.jpg": "Normal",
        "set/test/pneumonia/c.jpg": "Pneumonia",
        "set/TB/x/d.jpg": "Tuberculosis",
    }


def test_litter_and_hidden_files_are_no_candidates(root: Path):
    before = names(root)
    put(root, "Normal/.DS_Store", "Normal/Thumbs.db", ".truth/Normal/z.png", "__MACOSX/Normal/y.jpg")
    assert names(root) == before


def test_a_link_that_leads_back_up_ends(root: Path):
    (root / "Normal/loop").symlink_to(root)
    (root / "Pneumonia/linked").symlink_to(root / "Normal")
    found = names(root)
    assert ("Pneumonia/linked/a.JPG", "Pneumonia") in found
    assert len(found) < 20


def test_a_broken_link_is_kept_to_be_quarantined(root: Path):
    (root / "Normal/gone.jpg").symlink_to(root / "nowhere.jpg")
    assert {raw.file: raw.size for raw in scan(root, LABELS)}["Normal/gone.jpg"] == -1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: put(root, "Covid/x.jpg"), "Covid/x.jpg lies in the folder Covid"),
        (lambda root: put(root, "loose.png"), "loose.png lies in the top folder"),
        (lambda root: (root / "Tuberculosis/d.jpeg").unlink(), "CXR_LABELS=Normal,Pneumonia"),
    ],
)
def test_each_problem_is_one_sentence_that_names_it(root: Path, change, sentence: str):
    change(root)
    with pytest.raises(CxrError, match=sentence):
        scan(root, LABELS)


def test_an_empty_and_a_missing_folder_say_what_to_set(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(CxrError, match="CXR_RAW_DIR"):
            scan(tmp_path / folder, LABELS)


def test_two_classes_work_when_they_are_named(root: Path):
    (root / "Tuberculosis/d.jpeg").unlink()
    assert {raw.label for raw in scan(root, LABELS[:2])} == set(LABELS[:2])


def test_an_unreadable_folder_is_named():
    with TemporaryDirectory(prefix="cxr-test-") as scratch:  # not tmp_path: another user has to reach it
        root = Path(scratch)
        root.chmod(0o755)
        put(root, "Normal/a.jpg", "Pneumonia/c.jpg", "Tuberculosis/d.jpg")
        (root / "Pneumonia").chmod(0)
        code = (
            "import os, sys\nfrom pathlib import Path\nfrom cxr_core.dataset.scan import scan\n"
            "os.geteuid() or os.seteuid(65534)\n"  # root may read everything
            f"scan(Path({scratch!r}), {LABELS!r})\n"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        (root / "Pneumonia").chmod(0o755)
    assert f"CxrError: No permission while reading the image folder at {scratch}/Pneumonia" in result.stderr
