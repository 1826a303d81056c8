"""The sidecar is read as written, and patients are told from known names."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_core.dataset.sidecar import parse_patient, read_sidecar, rows_without_file
from cxr_core.errors import CxrError


def test_no_sidecar_is_no_problem(tmp_path: Path):
    assert read_sidecar(tmp_path) is None


def test_identifiers_keep_their_zeros_and_paths_their_slashes(tmp_path: Path):
    (tmp_path / "metadata.csv").write_text("\ufefffile,patient_id\nNormal\\a.png,007\n./Normal/b.png,NA\n")
    table = read_sidecar(tmp_path)
    assert table is not None
    assert table["patient_id"].to_dict() == {"Normal/a.png": "007", "Normal/b.png": "NA"}
    assert table["label"].isna().all()


def test_rows_without_a_file_are_counted(tmp_path: Path):
    assert rows_without_file(tmp_path, []) == 0
    (tmp_path / "metadata.csv").write_text("file\na.png\nb.png\n")
    assert rows_without_file(tmp_path, ["b.png", "c.png"]) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("name,label\na,b\n", "no column 'file'"), ("file,label\na,x\na,y\n", "lists a twice"), ("", "not a CSV table")],
)
def test_a_bad_sidecar_is_named(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(CxrError, match=sentence):
        read_sidecar(tmp_path)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("train/PNEUMONIA/person12_bacteria_46.jpeg", "kermany:12"),
        ("person12_virus_3.jpeg", "kermany:12"),
        ("NORMAL2-IM-0115-0001.jpeg", "kermany-normal:0115"),
        ("IM-0115-0001-0002.jpeg", "kermany-normal:0115"),
        ("00003748_002.png", "nih:00003748"),
        ("aug0_CHNCXR_0124_0.png", "shenzhen:0124"),
        ("MCUCXR_0002_1.png", "montgomery:0002"),
        ("image156.jpg", ""),
        ("1234567890_001.png", ""),
    ],
)
def test_known_name_schemes_give_the_patient(name: str, patient: str):
    assert parse_patient(name) == patient
