"""The index finds every planted defect, invents none, and loses no file."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr_core.dataset.hashing import hash_files
from cxr_core.dataset.index import build_index, quarantine_of
from cxr_core.dataset.ingest import ingest
from cxr_core.dataset.phantom import PhantomSpec, generate_phantoms
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.dataset.scan import scan
from cxr_core.dataset.splits import make_splits
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_sections import DuplicateSettings, QualitySettings, SplitSettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
PLAIN = Preprocessing(224, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
QUALITY = QualitySettings()

# What the pipeline must say of each planted defect: status and reason codes, flags.
VERDICTS = {
    "": ("accepted", {""}, ""),
    "exact_duplicates": ("duplicate", {"exact_duplicate"}, ""),
    "near_duplicates": ("duplicate", {"near_duplicate"}, ""),
    "corrupt": ("quarantined", {"empty", "not_an_image", "corrupt"}, ""),
    "truncated": ("quarantined", {"truncated"}, ""),
    "too_small": ("quarantined", {"too_small"}, ""),
    "wrong_extension_ok": ("accepted", {""}, ""),
    "wrong_content": ("quarantined", {"not_an_image", "unsupported_format"}, ""),
    "under_exposed": ("accepted", {""}, "under_exposed"),
    "over_exposed": ("accepted", {""}, "over_exposed"),
    "near_uniform": ("quarantined", {"near_uniform"}, ""),
    "extreme_aspect": ("quarantined", {"aspect"}, ""),
    "multi_frame": ("quarantined", {"multi_frame"}, ""),
    "tinted": ("accepted", {""}, "tint"),
}


def index_of(root: Path, memory: Path, quality: QualitySettings = QUALITY) -> pd.DataFrame:
    hashed = hash_files(root, scan(root, LABELS), memory, workers=2)
    cache = PixelCache(memory, PLAIN, quality)
    ingest(root, hashed, cache, PLAIN, quality, workers=2)
    return build_index(root, hashed, cache, LABELS, quality, DuplicateSettings())


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index of a phantom folder, and the truth about it."""
    root = tmp_path_factory.mktemp("planted") / "raw"
    spec = PhantomSpec(patients_per_class=25, exact_duplicates=8, near_duplicates=12, corrupt=6, truncated=6,
                       too_small=5, wrong_extension_ok=4, wrong_content=4, under_exposed=6, over_exposed=6,
                       near_uniform=4, extreme_aspect=4, multi_frame=4, tinted=6)  # fmt: skip
    truth = generate_phantoms(root, spec).table
    return index_of(root, root.parent / "memory").set_index("file"), truth.set_index("file")


def test_no_file_is_lost(planted):
    index, truth = planted
    assert set(index.index) == set(truth.index)
    assert index["status"].isin(["accepted", "quarantined", "duplicate"]).all()


@pytest.mark.parametrize("defect", [name for name in VERDICTS if "duplicates" not in name])
def test_each_planted_defect_is_found_and_none_is_invented(planted, defect: str):
    index, truth = planted
    status, codes, flag = VERDICTS[defect]
    rows = index.loc[truth.index[truth["defect"].fillna("") == defect]]
    assert len(rows)
    if defect == "":  # a clean film may be the one that a larger near-duplicate stands for
        rows = rows[rows["status"] != "duplicate"]
    assert set(rows["status"]) == {status}
    assert set(rows["reason_code"]) <= codes
    assert set(rows["flags"]) == {flag}


def test_duplicate_clusters_are_exactly_those_planted(planted):
    index, truth = planted
    copies = truth[truth["duplicate_of"].fillna("") != ""]
    planted_clusters = {frozenset({original, *rows.index}) for original, rows in copies.groupby("duplicate_of")}
    byid = {row.image_id: file for file, row in index[index["status"] != "duplicate"].iterrows()}
    found = index[index["status"] == "duplicate"]
    found_clusters = {frozenset({byid[keeper], *rows.index}) for keeper, rows in found.groupby("duplicate_of")}
    assert found_clusters == planted_clusters


def test_a_patient_is_one_group_and_no_two_patients_are(planted):
    index, truth = planted
    rows = index[index["status"] == "accepted"].join(truth["patient_id"])
    assert (rows.groupby("patient_id")["group_id"].nunique() == 1).all()
    assert (rows.groupby("group_id")["patient_id"].nunique() == 1).all()
    assert rows["patient_known"].all()


def test_the_patient_identifier_is_nowhere_in_the_index(planted):
    index, truth = planted
    text = index.reset_index().drop(columns="file").to_csv()
    assert not any(patient in text for patient in truth["patient_id"].unique())


def test_every_quarantine_row_says_why(planted):
    index, _ = planted
    rows = quarantine_of(index.reset_index())
    assert len(rows) == (index["status"] == "quarantined").sum()
    assert (rows["reason"].str.len() > 20).all()


def test_splits_of_the_phantoms_leak_nothing(planted):
    index, truth = planted
    splits = make_splits(index.reset_index(), SplitSettings())
    files = index.reset_index().query("status == 'accepted'").set_index("image_id")["file"]
    patients = truth["patient_id"].loc[files.loc[splits["image_id"]]].to_numpy()
    assert splits.groupby(patients)["split"].nunique().max() == 1


@pytest.fixture
def root(tmp_path: Path, film, encode) -> Path:
    folder = tmp_path / "raw"
    for number in range(9):
        path = folder / LABELS[number % 3] / f"film{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(film(number)))
    return folder


def test_a_film_filed_under_two_classes_is_put_aside_from_both(root: Path, tmp_path: Path):
    shutil.copy(root / "Normal/film0.png", root / "Pneumonia/again.png")
    index = index_of(root, tmp_path).set_index("file")
    for file in ("Normal/film0.png", "Pneumonia/again.png"):
        assert index.loc[file, ["status", "reason_code"]].tolist() == ["quarantined", "contradictory_label"]
        assert "Normal and Pneumonia" in index.at[file, "reason"]


def test_the_largest_copy_stands_for_the_others(root: Path, tmp_path: Path, film, encode):
    larger = cv2.resize(film(3), (480, 400), interpolation=cv2.INTER_CUBIC)
    (root / "Normal/large.jpg").write_bytes(encode(larger, "JPEG", quality=95))
    index = index_of(root, tmp_path).set_index("file")
    assert index.at["Normal/large.jpg", "status"] == "accepted"
    assert index.loc["Normal/film3.png", ["status", "reason_code"]].tolist() == ["duplicate", "near_duplicate"]
    assert index.at["Normal/film3.png", "duplicate_of"] == index.at["Normal/large.jpg", "image_id"]
    assert index.at["Normal/film3.png", "group_id"] == index.at["Normal/large.jpg", "group_id"]


@pytest.mark.parametrize(
    ("label", "code"), [("", "missing_label"), ("Covid", "unknown_label"), ("Pneumonia", "label_mismatch")]
)
def test_a_sidecar_label_that_does_not_fit_quarantines_its_file(root: Path, tmp_path: Path, label: str, code: str):
    (root / "metadata.csv").write_text(f"file,label\nNormal/film0.png,{label}\nNormal/film3.png,normal\n")
    index = index_of(root, tmp_path).set_index("file")
    assert index.loc["Normal/film0.png", ["status", "reason_code"]].tolist() == ["quarantined", code]
    assert index.at["Normal/film3.png", "status"] == "accepted"
    assert index.at["Normal/film6.png", "status"] == "accepted"


def test_patients_come_from_sidecar_then_original_name_then_name(root: Path, tmp_path: Path):
    (root / "Normal/film0.png").rename(root / "Normal/person9_virus_1.png")
    (root / "metadata.csv").write_text(
        "file,patient_id,source,original_name\nNormal/film3.png,A1,x,\nNormal/film6.png,A1,x,\n"
        "Pneumonia/film1.png,,,person9_bacteria_2.jpeg\nPneumonia/film4.png,A1,y,\n"
    )
    groups = index_of(root, tmp_path).set_index("file")["group_id"]
    assert groups["Normal/film3.png"] == groups["Normal/film6.png"]
    assert groups["Pneumonia/film1.png"] == groups["Normal/person9_virus_1.png"]
    assert groups["Pneumonia/film4.png"] != groups["Normal/film3.png"]  # the same number in another hospital


def test_broken_links_and_unlisted_rows_are_kept_as_rows(root: Path, tmp_path: Path):
    (root / "Normal/gone.png").symlink_to(root / "nowhere.png")
    index = index_of(root, tmp_path).set_index("file")
    assert index.loc["Normal/gone.png", ["status", "reason_code"]].tolist() == ["quarantined", "unreadable"]


def test_thresholds_change_the_verdict_without_decoding_again(root: Path, tmp_path: Path):
    before = index_of(root, tmp_path)
    changed = index_of(root, tmp_path, QUALITY.model_copy(update={"under_exposed_mean": 255.0}))
    assert not before["flags"].str.contains("under_exposed").any()
    assert changed["flags"].str.contains("under_exposed").all()
    assert len(list((tmp_path / "pixels").iterdir())) == 1


def test_a_folder_without_one_good_image_still_gives_an_index(tmp_path: Path):
    for label in LABELS:
        (tmp_path / "raw" / label).mkdir(parents=True)
        (tmp_path / "raw" / label / "x.jpg").write_bytes(label.encode())
    index = index_of(tmp_path / "raw", tmp_path)
    assert index["reason_code"].tolist() == ["not_an_image"] * 3
    assert index["mean"].isna().all()


def test_two_builds_give_the_same_table(root: Path, tmp_path: Path):
    pd.testing.assert_frame_equal(index_of(root, tmp_path / "a"), index_of(root, tmp_path / "b"))


@pytest.mark.real_data
def test_real_films_have_no_invented_copies_and_planted_ones_are_found(real_films: Path, tmp_path: Path):
    rng = np.random.default_rng(7)
    for label in LABELS:
        (tmp_path / "raw" / label).mkdir(parents=True)
        files = sorted((real_films / label).iterdir())
        for at in rng.choice(len(files), 60, replace=False):
            shutil.copy(files[at], tmp_path / "raw" / label)
    originals = sorted((tmp_path / "raw").rglob("*.*"))
    copied = {}
    for at in rng.choice(len(originals), 30, replace=False):
        pixels = cv2.imread(str(originals[at]), cv2.IMREAD_GRAYSCALE)
        side = int(rng.integers(150, 400))
        small = cv2.resize(
            pixels, (side, max(128, side * pixels.shape[0] // pixels.shape[1])), interpolation=cv2.INTER_AREA
        )
        target = originals[at].with_name(f"copy{at}.jpg")
        cv2.imwrite(str(target), small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 90))])
        copied[target.relative_to(tmp_path / "raw").as_posix()] = originals[at].relative_to(tmp_path / "raw").as_posix()
    index = index_of(tmp_path / "raw", tmp_path).set_index("file")
    usable = index[index["status"] != "quarantined"]
    clusters = usable.reset_index().assign(
        keeper=lambda t: t["duplicate_of"].where(t["duplicate_of"] != "", t["image_id"])
    )
    found = {frozenset(files) for files in clusters.groupby("keeper")["file"].apply(list) if len(files) > 1}
    planted = {frozenset(pair) for pair in copied.items() if all(file in usable.index for file in pair)}
    assert found == planted
    assert len(planted) >= 25
