"""The phantom films: same spec, same bytes; every planted defect is what it says; the truth is the truth."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError
from scipy.stats import rankdata

from cxr_core.dataset.phantom import (
    DEFECTS,
    PhantomSpec,
    PhantomTruth,
    ensure_phantoms,
    generate_phantoms,
    iter_films,
    load_truth,
    plan_files,
    render_film,
    sample_anatomy,
    tree_digest,
)
from cxr_core.errors import CxrError
from cxr_core.settings import LABELS

SPEC = PhantomSpec(patients_per_class=12, films_per_patient=(2, 2), seed=7, wrong_labels=4, near_duplicates=9)
NO_DEFECTS = dict.fromkeys(DEFECTS, 0)
SMALL = PhantomSpec(
    patients_per_class=1, films_per_patient=(1, 1), seed=3, **(NO_DEFECTS | {"corrupt": 1, "tinted": 1})
)
UNDECODED = {"corrupt", "truncated", "wrong_content"}
COPY_CORRELATION = 0.98  # TRAPS 3: true copies lie above
DISTINCT_CORRELATION = 0.95  # and all other pairs below


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    return generate_phantoms(tmp_path_factory.mktemp("phantoms"), SPEC)


@pytest.fixture(scope="module")
def pixels(truth: PhantomTruth) -> dict[str, npt.NDArray[np.uint8]]:
    """Grey pixels of every decodable file."""
    table = truth.table[~truth.table["defect"].isin(UNDECODED)]
    return {file: np.asarray(Image.open(truth.root / file).convert("L")) for file in table["file"]}


def _rows(truth: PhantomTruth, *defects: str) -> pd.DataFrame:
    return truth.table[truth.table["defect"].isin(defects)]


def _mask(truth: PhantomTruth, path: str) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(truth.root / path))


def _descriptor(film: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The duplicate test's view: padded to 224, 64 x 64, high pass of sigma 4, unit norm."""
    height, width = film.shape
    scale = 224 / max(height, width)
    small = cv2.resize(film, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    frame = np.zeros((224, 224), np.uint8)
    top, left = (224 - small.shape[0]) // 2, (224 - small.shape[1]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    grey = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    grey -= cv2.GaussianBlur(grey, (0, 0), 4.0)
    grey -= grey.mean()
    return (grey / np.linalg.norm(grey)).ravel()


def _auc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> float:
    ranks = rankdata(score)
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def _clean(truth: PhantomTruth) -> pd.DataFrame:
    return _rows(truth, "", "wrong_labels")


def test_the_same_spec_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    first, second = generate_phantoms(tmp_path / "a", SMALL), generate_phantoms(tmp_path / "b", SMALL)
    other = generate_phantoms(tmp_path / "c", SMALL.model_copy(update={"seed": 4}))
    assert first.digest == second.digest == tree_digest(tmp_path / "b")
    assert other.digest != first.digest


def test_a_film_does_not_depend_on_the_films_rendered_before_it(truth: PhantomTruth) -> None:
    planned, film = next(pair for pair in iter_films(SPEC) if pair[0].container == "png")
    np.testing.assert_array_equal(film.pixels, np.asarray(Image.open(truth.root / planned.file)))


def test_layout_and_sidecar_are_complete(truth: PhantomTruth) -> None:
    on_disk = {f"{label}/{path.name}" for label in LABELS for path in (truth.root / label).iterdir()}
    metadata = pd.read_csv(truth.root / "metadata.csv", dtype=str)
    assert len(truth.table) == SPEC.total_files
    assert set(truth.table["file"]) == on_disk == set(metadata["file"])
    assert list(metadata.columns) == ["file", "label", "patient_id", "source"]
    assert (metadata["label"] == metadata["file"].str.split("/").str[0]).all()
    assert metadata["patient_id"].str.fullmatch(r"P\d{4}").all()
    assert set(metadata["source"]) == {"north", "south"}
    assert Counter(_clean(truth)["true_label"]) == dict.fromkeys(LABELS, 24)
    assert Counter(truth.table["defect"]) == {"": 68} | {name: getattr(SPEC, name) for name in DEFECTS}


def test_file_numbers_tell_nothing_about_the_class(truth: PhantomTruth) -> None:
    numbers = truth.table["file"].str.extract(r"film-(\d{6})\.")[0].astype(int)
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    for label in LABELS:
        assert 0.35 < _auc((truth.table["true_label"] == label).to_numpy(), numbers.to_numpy(float)) < 0.65


def test_upper_case_extensions_have_their_share(truth: PhantomTruth) -> None:
    upper = truth.table["file"].str.rpartition(".")[2].str.isupper().sum()
    assert upper == round(SPEC.upper_case_share * SPEC.total_files)


def test_masks_have_the_size_of_their_film_and_only_two_values(
    truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]
) -> None:
    masked = truth.table[truth.table["lung_mask"] != ""]
    assert set(truth.table["defect"]) - set(masked["defect"]) == UNDECODED | {"near_uniform", "multi_frame"}
    for row in masked.itertuples():
        lung, lesion = _mask(truth, row.lung_mask), _mask(truth, row.lesion_mask)
        assert lung.shape == lesion.shape == pixels[row.file].shape
        assert set(np.unique(lung)) | set(np.unique(lesion)) <= {0, 255}
        if row.defect != "extreme_aspect":  # a strip may miss the lesion
            assert lesion.any() == (row.true_label != "Normal")
            assert 0.08 < (lung > 0).mean() < 0.5


def test_lesions_lie_in_the_lungs_and_in_the_zone_of_their_disease(truth: PhantomTruth) -> None:
    heights: dict[str, list[float]] = {"Pneumonia": [], "Tuberculosis": []}
    for row in _clean(truth).itertuples():
        if row.true_label == "Normal":
            continue
        lung, lesion = _mask(truth, row.lung_mask) > 0, _mask(truth, row.lesion_mask) > 0
        assert (lesion & lung).sum() > 0.9 * lesion.sum()
        assert 0.01 < lesion.sum() / lung.sum() < 0.6
        extent = np.flatnonzero(lung.any(axis=1))
        heights[row.true_label].append((np.nonzero(lesion)[0].mean() - extent[0]) / (extent[-1] - extent[0]))
    assert np.mean(heights["Pneumonia"]) > 0.55
    assert np.mean(heights["Tuberculosis"]) < 0.42
    assert np.mean(np.array(heights["Tuberculosis"]) < 0.5) > 0.9


def test_lesions_are_denser_than_the_lung_beside_them(
    truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]
) -> None:
    contrast: dict[str, list[float]] = {"Pneumonia": [], "Tuberculosis": []}
    for row in _clean(truth).itertuples():
        if row.true_label == "Normal":
            continue
        lung, lesion = _mask(truth, row.lung_mask) > 0, _mask(truth, row.lesion_mask) > 0
        level = lung & ~lesion & lesion.any(axis=1)[:, None]
        contrast[row.true_label].append(pixels[row.file][lesion].mean() - pixels[row.file][level].mean())
    assert np.mean(contrast["Pneumonia"]) > 15
    assert np.mean(contrast["Tuberculosis"]) > 5
    assert np.ptp(contrast["Pneumonia"]) > 15  # faint and plain cases


def test_clean_films_break_no_quality_rule(truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]) -> None:
    for row in _clean(truth).itertuples():
        film = pixels[row.file]
        assert Image.open(truth.root / row.file).mode == "L"
        assert 60 < film.mean() < 190
        assert film.std() > 30
        assert min(film.shape) >= 256
        assert 0.8 < film.shape[1] / film.shape[0] < 1.25


def test_sites_differ_in_resolution(truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]) -> None:
    sides = {site: [max(pixels[f].shape) for f in rows["file"]] for site, rows in _clean(truth).groupby("site")}
    assert max(sides["south"]) <= 640 <= min(sides["north"])


def test_mean_grey_does_not_separate_the_classes(truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]) -> None:
    clean = _clean(truth)
    means = np.array([pixels[file].mean() for file in clean["file"]])
    for label in LABELS:
        assert 0.3 < _auc((clean["true_label"] == label).to_numpy(), means) < 0.7


def test_no_two_distinct_films_are_near_copies_and_planted_copies_are(
    truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]
) -> None:
    table = truth.table[truth.table["file"].isin(pixels) & (truth.table["defect"] != "near_uniform")]
    assert len(table) > 100
    codes = np.stack([_descriptor(pixels[file]) for file in table["file"]])
    correlation = codes @ codes.T
    original = table["duplicate_of"].where(table["duplicate_of"] != "", table["file"]).to_numpy()
    same = original[:, None] == original[None, :]
    assert correlation[~same].max() < DISTINCT_CORRELATION
    assert correlation[same].min() > COPY_CORRELATION


def test_duplicates_keep_the_person_but_are_registered_again(truth: PhantomTruth) -> None:
    table = truth.table.set_index("file")
    registered = pd.read_csv(truth.root / "metadata.csv", dtype=str).set_index("file")["patient_id"]
    for row in _rows(truth, "exact_duplicates", "near_duplicates").itertuples():
        assert row.patient_id == table.loc[row.duplicate_of, "patient_id"]
        assert row.true_label == table.loc[row.duplicate_of, "true_label"]
        assert registered[row.file] != registered[row.duplicate_of]
        same = (truth.root / row.file).read_bytes() == (truth.root / row.duplicate_of).read_bytes()
        assert same == (row.defect == "exact_duplicates")


def test_wrong_labels_are_clean_films_in_another_folder(truth: PhantomTruth) -> None:
    misfiled = truth.table["true_label"] != truth.table["filed_label"]
    assert (truth.table[misfiled & (truth.table["duplicate_of"] == "")]["defect"] == "wrong_labels").all()
    assert (_rows(truth, "wrong_labels")["true_label"] != _rows(truth, "wrong_labels")["filed_label"]).all()


def test_systematic_label_errors_are_the_normals_of_one_site() -> None:
    spec = PhantomSpec(patients_per_class=20, wrong_labels=9, wrong_label_pattern="south_normals_as_pneumonia")
    wrong = [f for f in plan_files(spec) if f.defect == "wrong_labels"]
    assert len(wrong) == 9
    assert {(f.true_label, f.filed_label, f.site) for f in wrong} == {("Normal", "Pneumonia", "south")}
    with pytest.raises(CxrError, match=r"only \d+ films fit the pattern"):
        plan_files(spec.model_copy(update={"wrong_labels": 20}))


@pytest.mark.parametrize("defect", ["corrupt", "truncated"])
def test_broken_files_cannot_be_decoded(truth: PhantomTruth, defect: str) -> None:
    for row in _rows(truth, defect).itertuples():
        with pytest.raises((OSError, SyntaxError)):  # Pillow's own for a damaged PNG is a SyntaxError
            Image.open(truth.root / row.file).load()


def test_truncated_files_come_as_jpeg_and_png(truth: PhantomTruth) -> None:
    formats = Counter(Image.open(truth.root / file).format for file in _rows(truth, "truncated")["file"])
    assert set(formats) == {"JPEG", "PNG"}


def test_wrong_extension_ok_holds_the_other_format_and_decodes(truth: PhantomTruth) -> None:
    for row in _rows(truth, "wrong_extension_ok").itertuples():
        image = Image.open(truth.root / row.file)
        image.load()
        named = "PNG" if row.file.lower().endswith(".png") else "JPEG"
        assert {image.format, named} == {"PNG", "JPEG"}


def test_wrong_content_is_neither_jpeg_nor_png(truth: PhantomTruth) -> None:
    for row in _rows(truth, "wrong_content").itertuples():
        assert row.file.lower().endswith((".jpg", ".jpeg", ".png"))
        with pytest.raises(UnidentifiedImageError):
            Image.open(truth.root / row.file, formats=("JPEG", "PNG"))


def test_multi_frame_files_hold_more_than_one_frame(truth: PhantomTruth) -> None:
    images = [Image.open(truth.root / file) for file in _rows(truth, "multi_frame")["file"]]
    assert {image.format for image in images} == {"PNG", "MPO"}
    assert all(getattr(image, "n_frames", 1) == 2 for image in images)


@pytest.mark.parametrize(
    ("defect", "low", "high", "measure"),
    [
        ("under_exposed", 5, 50, np.mean),
        ("over_exposed", 200, 250, np.mean),
        ("near_uniform", 0, 3, np.std),
        ("too_small", 40, 127, lambda film: max(film.shape)),
    ],
)
def test_pixel_defects_have_their_property(
    truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]], defect: str, low: float, high: float, measure
) -> None:
    values = [measure(pixels[file]) for file in _rows(truth, defect)["file"]]
    assert len(values) == getattr(SPEC, defect)
    assert all(low < value < high for value in values)


def test_exposure_defects_still_show_anatomy(truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]) -> None:
    for row in _rows(truth, "under_exposed", "over_exposed").itertuples():
        assert pixels[row.file].std() > 10


def test_extreme_aspects_lie_on_both_sides(truth: PhantomTruth, pixels: dict[str, npt.NDArray[np.uint8]]) -> None:
    strips = [pixels[file] for file in _rows(truth, "extreme_aspect")["file"]]
    aspects = sorted(strip.shape[1] / strip.shape[0] for strip in strips)
    assert aspects[0] < 0.5
    assert aspects[-1] > 2
    assert all(50 < strip.mean() < 200 and min(strip.shape) >= 128 for strip in strips)


def test_tinted_films_have_a_colour_cast(truth: PhantomTruth) -> None:
    for file in _rows(truth, "tinted")["file"]:
        channels = np.asarray(Image.open(truth.root / file)).reshape(-1, 3).mean(axis=0)
        assert np.ptp(channels) > 8


def _association(shortcut: float) -> float:
    """Cramer's V between label and site over the clean films."""
    spec = PhantomSpec(patients_per_class=40, films_per_patient=(1, 3), site_shortcut=shortcut)
    rows = [(f.true_label, f.site) for f in plan_files(spec) if f.defect in ("", "wrong_labels")]
    table = pd.crosstab(*zip(*rows, strict=True)).to_numpy(float)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum()))


def test_site_shortcut_ties_the_site_to_the_label() -> None:
    strengths = [_association(shortcut) for shortcut in (0.0, 0.5, 1.0)]
    assert strengths[0] < 0.12
    assert strengths[2] == pytest.approx(1.0)
    assert all(low < high for low, high in pairwise(strengths))


def test_a_patient_has_one_site_and_one_true_label(truth: PhantomTruth) -> None:
    assert (truth.table.groupby("patient_id")[["site", "true_label"]].nunique() == 1).all(axis=None)


def test_a_finished_tree_is_left_alone_and_another_spec_replaces_it(tmp_path: Path) -> None:
    first = ensure_phantoms(tmp_path, SMALL)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = ensure_phantoms(tmp_path, SMALL, progress=lambda done, total: pytest.fail("rendered again"))
    assert again.digest == first.digest
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    other = ensure_phantoms(tmp_path, SMALL.model_copy(update={"corrupt": 0}))
    assert len(other.table) == len(first.table) - 1
    assert tree_digest(tmp_path) == other.digest


def test_an_interrupted_generation_is_recognised_and_done_again(tmp_path: Path) -> None:
    whole = generate_phantoms(tmp_path / "whole", SMALL)

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_phantoms(tmp_path / "cut", SMALL, interrupt)
    assert any((tmp_path / "cut").glob("*/film-*"))
    with pytest.raises(CxrError, match="no finished phantom data set"):
        load_truth(tmp_path / "cut")
    calls: list[tuple[int, int]] = []
    repaired = ensure_phantoms(tmp_path / "cut", SMALL, lambda done, total: calls.append((done, total)))
    assert repaired.digest == whole.digest
    assert calls == [(i + 1, SMALL.total_files) for i in range(SMALL.total_files)]


def test_a_lost_film_is_made_again(tmp_path: Path) -> None:
    first = ensure_phantoms(tmp_path, SMALL)
    (tmp_path / first.table["file"][0]).unlink()
    assert ensure_phantoms(tmp_path, SMALL).digest == first.digest == tree_digest(tmp_path)


@pytest.mark.parametrize("foreign", ["notes.txt", "Normal/film-000001.jpg", ".truth/truth.csv"])
def test_a_folder_with_foreign_files_is_refused_and_untouched(tmp_path: Path, foreign: str) -> None:
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    with pytest.raises(CxrError, match="did not make"):
        ensure_phantoms(tmp_path, SMALL)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / foreign]


def test_what_a_file_browser_leaves_behind_is_not_foreign(tmp_path: Path) -> None:
    ensure_phantoms(tmp_path, SMALL)
    (tmp_path / "Normal" / ".DS_Store").write_bytes(b"view")
    assert len(ensure_phantoms(tmp_path, SMALL.model_copy(update={"seed": 8})).table) == SMALL.total_files


def test_a_file_added_to_a_finished_tree_is_never_deleted(tmp_path: Path) -> None:
    ensure_phantoms(tmp_path, SMALL)
    added = tmp_path / "Normal" / "real-patient.jpg"
    added.write_bytes(b"film")
    with pytest.raises(CxrError, match=r"Normal/real-patient\.jpg"):
        ensure_phantoms(tmp_path, SMALL.model_copy(update={"seed": 9}))
    assert added.read_bytes() == b"film"


def test_render_film_refuses_an_unknown_class() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="unknown class"):
        render_film(rng, sample_anatomy(rng), "Fracture", "north")


@pytest.mark.parametrize(
    "fields",
    [
        {"films_per_patient": (2, 1)},
        {"site_shortcut": 1.5},
        {"patients_per_class": 2, "films_per_patient": (1, 1), "exact_duplicates": 7},
        {"rotated": 3},
    ],
)
def test_specs_that_cannot_be_met_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PhantomSpec(**fields)


def test_the_settings_do_not_load_the_renderer() -> None:
    code = "import cxr_core.settings, sys; sys.exit(bool({'cv2', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
