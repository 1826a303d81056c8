"""Labels that readers gave reach the films they are about, and a table that is not as it was written is refused."""

from __future__ import annotations

import multiprocessing
import shutil
import stat
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest

from cxr_core.dataset.hashing import hash_files
from cxr_core.dataset.index import build_index
from cxr_core.dataset.ingest import ingest
from cxr_core.dataset.label_corrections import CORRECTION_COLUMNS, read_corrections, write_corrections
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.dataset.scan import scan
from cxr_core.digests import digest_bytes, digest_file
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import load_settings
from cxr_core.settings_sections import DuplicateSettings, QualitySettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
PLAIN = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
QUALITY = QualitySettings()
CANARY = "DOE-JANE-19560412"


def row(content: str, label: str, **changes: str) -> dict[str, str]:
    values = {
        "content_digest": content,
        "label": label,
        "action": "correct",
        "reviewer": "reader-anna",
        "decided": "2026-11-24T12:00:00.000+00:00",
        "model_digest": "a" * 64,
    }
    return {**values, **changes}


def number(at: int) -> str:
    return digest_bytes(str(at).encode())


# ------------------------------------------------------------------ versions
def test_a_version_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [row(number(at), LABELS[at % 3]) for at in range(30)]
    written = write_corrections(tmp_path / "labels", rows)
    found = read_corrections(tmp_path / "labels", LABELS)
    assert found.labels == {one["content_digest"]: one["label"] for one in rows}
    assert found.table == written
    assert written.version == digest_file(written.path)
    assert read_corrections(written.path, LABELS) == found
    assert stat.S_IMODE(written.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.path.parent.stat().st_mode) == 0o700


def test_a_number_is_given_once_and_only_to_something_new(tmp_path: Path) -> None:
    first, second = [row(number(1), "Normal")], [row(number(1), "Normal"), row(number(2), "Pneumonia")]
    one = write_corrections(tmp_path, first)
    assert write_corrections(tmp_path, first) == one
    two = write_corrections(tmp_path, second)
    assert write_corrections(tmp_path, list(reversed(second))) == two
    three = write_corrections(tmp_path, first)  # labels that were taken back
    assert (one.number, two.number, three.number) == (1, 2, 3)
    assert (one.version == three.version, one.version == two.version) == (True, False)
    assert read_corrections(tmp_path, LABELS).table == three
    assert read_corrections(two.path, LABELS).labels == {number(1): "Normal", number(2): "Pneumonia"}
    kept = [one.path.name, two.path.name, three.path.name]
    assert sorted(path.name for path in tmp_path.glob("*")) == [".labels.lock", *kept]


def test_no_label_at_all_is_a_version_too(tmp_path: Path) -> None:
    assert write_corrections(tmp_path, []).number == 1
    assert read_corrections(tmp_path, LABELS).labels == {}


def _export(folder: Path, at: int) -> None:
    write_corrections(folder, [row(number(at), "Normal")])


def test_exports_at_the_same_time_take_different_numbers(tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=_export, args=(tmp_path, at)) for at in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    numbers = sorted(int(path.name[7:13]) for path in tmp_path.glob("labels-*"))
    assert numbers == list(range(1, 9))


# ------------------------------------------------------------------ refusals
def text(*rows: dict[str, str]) -> str:
    lines = [",".join(CORRECTION_COLUMNS), *(",".join(one[column] for column in CORRECTION_COLUMNS) for one in rows)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "must have the columns content_digest, label, action"),
        ("file,label\na,Normal\n", "must have the columns content_digest, label, action"),
        (text(row(number(1), "Normal"), row(number(1), "Normal")), "line 3: the film has a label already"),
        (text(row(number(1), CANARY)), "line 2: the label is no class"),
        (text(row(number(1), "")), "line 2: the label is no class"),
        (text(row(CANARY, "Normal")), "line 2: content_digest must be a SHA-256"),
        (text(row(number(1).upper(), "Normal")), "line 2: content_digest must be a SHA-256"),
        (text(row(number(1), "Normal", model_digest=CANARY)), "line 2: model_digest must be a SHA-256"),
        (text(row(number(1), "Normal", action=CANARY)), "line 2: action must be accept or correct"),
        (
            text(row(number(1), "Normal", decided=CANARY)),
            "accept or correct, and decided a time in ISO 8601",
        ),
        (text(row(number(1), "Normal")) + f"{CANARY},1\n", "line 3: it must have 6 values"),
        (text(row(number(1), "Normal")) + '"', "is not a CSV table in UTF-8"),
        (text(row(number(1), "Normal")).encode("utf-16"), "is not a CSV table in UTF-8"),
    ],
)
def test_a_malformed_table_is_one_sentence_that_quotes_nothing(
    tmp_path: Path, content: str | bytes, sentence: str
) -> None:
    path = tmp_path / "hand.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CxrError, match=sentence) as refused:
        read_corrections(path, LABELS)
    assert str(path) in str(refused.value)
    assert CANARY not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_table_that_an_office_program_saved_again_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hand.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text(row(number(1), "normal")).replace("\n", "\r\n").encode() + b"\r\n")
    found = read_corrections(path, LABELS)
    assert (found.labels, found.table.number) == ({number(1): "Normal"}, 0)


def test_a_version_that_was_edited_is_refused(tmp_path: Path) -> None:
    written = write_corrections(tmp_path, [row(number(1), "Normal")])
    written.path.write_text(written.path.read_text().replace("Normal", "Pneumonia"))
    for path in (tmp_path, written.path):
        with pytest.raises(CxrError, match="was changed after it was exported"):
            read_corrections(path, LABELS)


def test_a_folder_without_a_table_and_two_with_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="write one with cxr review export"):
        read_corrections(tmp_path, LABELS)
    with pytest.raises(CxrError, match="is not there"):
        read_corrections(tmp_path / "nowhere.csv", LABELS)
    written = write_corrections(tmp_path, [])
    shutil.copy(written.path, tmp_path / "labels-000001-0123456789ab.csv")
    with pytest.raises(CxrError, match="have the same number"):
        read_corrections(tmp_path, LABELS)


# ------------------------------------------------------------------ in the index
@pytest.fixture
def root(tmp_path: Path, film: Any, encode: Any) -> Path:
    folder = tmp_path / "raw"
    for at in range(9):
        path = folder / LABELS[at % 3] / f"film{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(film(at)))
    return folder


def index_of(root: Path, said: dict[str, str] | None = None, quality: QualitySettings = QUALITY) -> pd.DataFrame:
    """The index with the labels that readers gave to some files; without any where ``said`` is None."""
    corrections = None
    if said is not None:
        rows = [row(digest_file(root / file), label) for file, label in said.items()]
        write_corrections(root.parent / "labels", rows)
        corrections = read_corrections(root.parent / "labels", LABELS)
    hashed = hash_files(root, scan(root, LABELS), root.parent, workers=2)
    cache = PixelCache(root.parent, PLAIN, quality)
    ingest(root, hashed, cache, PLAIN, quality, workers=2)
    index = build_index(root, hashed, cache, LABELS, quality, DuplicateSettings(), corrections=corrections)
    return index.set_index("file")


def test_the_reader_s_label_is_the_film_s_label(root: Path) -> None:
    before = index_of(root)
    after = index_of(root, {"Normal/film0.png": "Tuberculosis", "Pneumonia/film1.png": "Pneumonia"})
    assert after.at["Normal/film0.png", "label"] == "Tuberculosis"
    assert after.at["Normal/film0.png", "label_index"] == 2
    assert after.at["Normal/film0.png", "status"] == "accepted"
    assert after["original_label"].to_dict() == before["label"].to_dict()
    by_reader = after.index[after["label_source"] == "review"]
    assert set(by_reader) == {"Normal/film0.png", "Pneumonia/film1.png"}
    assert set(after["label_source"].drop(by_reader)) == {"folder"}
    others = after.drop("Normal/film0.png")[before.columns]
    pd.testing.assert_frame_equal(others, before.drop("Normal/film0.png"))


def test_without_the_setting_there_is_no_trace_of_it_and_an_empty_table_changes_no_label(root: Path) -> None:
    before = index_of(root)
    assert not {"original_label", "label_source"} & set(before.columns)
    pd.testing.assert_frame_equal(index_of(root, {})[before.columns], before)


def test_a_film_keeps_its_reader_s_label_wherever_it_is_filed(root: Path) -> None:
    index_of(root, {"Normal/film0.png": "Tuberculosis"})
    (root / "Normal/film0.png").rename(root / "Pneumonia/moved.png")
    said = read_corrections(root.parent / "labels", LABELS)
    hashed = hash_files(root, scan(root, LABELS), root.parent)
    cache = PixelCache(root.parent, PLAIN, QUALITY)
    index = build_index(root, hashed, cache, LABELS, QUALITY, DuplicateSettings(), corrections=said).set_index("file")
    assert index.loc["Pneumonia/moved.png", ["label", "original_label"]].tolist() == ["Tuberculosis", "Pneumonia"]


@pytest.mark.parametrize("stated", ["", "Covid", "Pneumonia", "Normal"])
def test_a_reader_settles_what_folder_and_sidecar_disagree_about(root: Path, stated: str) -> None:
    (root / "metadata.csv").write_text(
        f"file,label,patient_id\nNormal/film0.png,{stated},P1\nNormal/film3.png,NORMAL,P1\nNormal/film6.png,Covid,P2\n"
    )
    index = index_of(root, {"Normal/film0.png": "Tuberculosis"})
    assert index.loc["Normal/film0.png", ["label", "status", "label_source"]].tolist() == [
        "Tuberculosis",
        "accepted",
        "review",
    ]
    assert index.at["Normal/film3.png", "label_source"] == "sidecar"
    assert index.at["Pneumonia/film1.png", "label_source"] == "folder"
    assert index.loc["Normal/film6.png", ["status", "reason_code"]].tolist() == ["quarantined", "unknown_label"]
    assert index.at["Normal/film0.png", "group_id"] == index.at["Normal/film3.png", "group_id"]


def test_a_film_that_is_put_aside_for_its_pixels_stays_so_with_its_reason(root: Path, film: Any, encode: Any) -> None:
    whole = encode(film(20))
    (root / "Normal/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "metadata.csv").write_text("file,label\nNormal/cut.png,Covid\n")
    index = index_of(root, {"Normal/cut.png": "Tuberculosis"})
    assert index.loc["Normal/cut.png", ["status", "reason_code"]].tolist() == ["quarantined", "truncated"]
    assert len(index.at["Normal/cut.png", "reason"]) > 20


def test_copies_of_a_film_take_its_reader_s_label_and_are_not_called_contradictory(root: Path, film: Any, encode: Any):
    (root / "Normal/small.jpg").write_bytes(
        encode(cv2.resize(film(0), (200, 167), interpolation=cv2.INTER_AREA), "JPEG", quality=95)
    )
    shutil.copy(root / "Normal/film0.png", root / "Pneumonia/again.png")
    files = ["Normal/film0.png", "Normal/small.jpg", "Pneumonia/again.png"]
    before = index_of(root)
    assert set(before.loc[files, "reason_code"]) == {"contradictory_label"}
    index = index_of(root, {"Normal/small.jpg": "Tuberculosis"})
    assert set(index.loc[files, "label"]) == {"Tuberculosis"}
    assert set(index.loc[files, "label_source"]) == {"review"}
    assert sorted(index.loc[files, "status"]) == ["accepted", "duplicate", "duplicate"]
    assert index.at["Normal/film3.png", "label"] == "Normal"


def test_readers_who_contradict_each_other_about_copies_put_the_film_aside(root: Path, film: Any, encode: Any) -> None:
    (root / "Normal/small.jpg").write_bytes(
        encode(cv2.resize(film(0), (200, 167), interpolation=cv2.INTER_AREA), "JPEG", quality=95)
    )
    index = index_of(root, {"Normal/small.jpg": "Tuberculosis", "Normal/film0.png": "Pneumonia"})
    assert set(index.loc[["Normal/film0.png", "Normal/small.jpg"], "reason_code"]) == {"contradictory_label"}


# ------------------------------------------------------------------ the setting
def test_the_setting_is_absolute_and_counts_only_where_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = load_settings()
    assert without.label_corrections is None
    sections = ("labels", "preprocessing", "quality", "duplicates")
    assert without.section_digest(*sections, "label_corrections") == without.section_digest(*sections)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_LABEL_CORRECTIONS", "labels")
    now = load_settings()
    assert now.label_corrections == tmp_path / "labels"
    assert now.section_digest(*sections, "label_corrections") != now.section_digest(*sections)
    monkeypatch.setenv("CXR_LABEL_CORRECTIONS", "")
    assert load_settings().label_corrections is None
