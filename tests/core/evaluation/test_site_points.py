"""``cxr fit-points``: what a site's films give, which films do not count, and whom the file is for."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from cxr_core.cli import main
from cxr_core.errors import CxrError
from cxr_core.evaluation.operating_points import fit_operating_points
from cxr_core.evaluation.site_points import SitePoints, load_site_points, read_site_points
from cxr_core.release.predictor import Predictor

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
LEVELS = (0.25, 0.5, 0.75)  # mean grey of each class


def _tiny() -> ModuleType:
    path = Path(__file__).parents[1] / "release/tiny_package.py"
    spec = importlib.util.spec_from_file_location("tiny_package_of_sites", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = _tiny()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A package that goes by brightness, and twelve films a class with a few that cannot count."""
    import cv2

    home = tmp_path_factory.mktemp("site")
    package, films = home / "package", home / "films"
    parts = {"calibration": tiny.calibration_part(2.0)}
    tiny.write_tiny_package(package, onnx_bytes=tiny.brightness_onnx(LEVELS), parts=parts)
    rng = np.random.default_rng(0)
    rows = ["file,label,patient_id,source"]
    for place, name in enumerate(NAMES):
        (films / "train" / name.upper()).mkdir(parents=True)
        for number in range(12):
            level = 255 * np.clip(LEVELS[place] + rng.normal(0, 0.15), 0.1, 0.9)
            pixels = np.clip(level + rng.normal(0, 8, (150, 160)), 0, 255).astype(np.uint8)
            file = f"train/{name.upper()}/film{number:02}.png"
            cv2.imwrite(str(films / file), pixels)
            rows.append(f"{file},{name},patient {number // 2} of {name},clinic")
    (films / "metadata.csv").write_text("\n".join(rows) + "\n")
    return package, films


@pytest.fixture
def folder(site: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the films that a test may spoil."""
    import shutil

    return Path(shutil.copytree(site[1], tmp_path / "films"))


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["fit-points", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_points_are_fitted_on_the_probabilities_that_the_package_answers(
    site: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, films = site
    monkeypatch.setenv("CXR_EVALUATION__RESAMPLES", "100")
    said = call(films, "--model", package, "--output", tmp_path / "new" / "points.json")
    record = read_site_points(tmp_path / "new" / "points.json")
    predictor = Predictor.load(package)
    paths = sorted(films.rglob("*.png"))
    answers = [list(predictor.predict(path.read_bytes()).probabilities.values()) for path in paths]
    labels = np.array([[name.upper() for name in NAMES].index(path.parent.name) for path in paths])
    patients = [f"{path.parent.name}{int(path.stem[4:]) // 2}" for path in paths]
    direct = fit_operating_points(np.array(answers), labels, patients, NAMES, 42, temperature=2.0, resamples=100)
    assert record.points.temperature == 2.0
    assert [point.threshold for point in record.points.points] == [point.threshold for point in direct.points]
    assert (record.points.films, record.points.groups, record.files) == (36, 18, 36)
    assert record.points.per_class == dict.fromkeys(NAMES, 12)
    assert (record.model_digest, record.package_digest) == (predictor.manifest.model, predictor.manifest.digest)
    assert record.preprocessing_digest == predictor.manifest.preprocessing_digest
    for point in record.points.points:
        assert f"{point.threshold:.4f}  {point.sensitivity.value:.1%}" in said
    assert "36 of 36 films (Normal 12, Pneumonia 12, Tuberculosis 12), 18 patients" in said
    assert not any(word in record.content.decode() for word in ("patient ", "film0", "clinic"))
    assert load_site_points(tmp_path / "new" / "points.json", predictor.manifest.model) == record.points


def test_films_that_do_not_count_are_named_with_the_reason(
    site: tuple[Path, Path], folder: Path, tmp_path: Path, encode: Callable[..., bytes], film: Callable[..., object]
) -> None:
    classes = [folder / "train" / name.upper() for name in NAMES]
    data = (classes[0] / "film00.png").read_bytes()
    (classes[0] / "film99.png").write_bytes(data)
    (classes[1] / "normal_too.png").write_bytes((classes[0] / "film05.png").read_bytes())
    (classes[1] / "cut.png").write_bytes(data[:200])
    (classes[2] / "small.png").write_bytes(encode(film(1, width=60, height=60)))
    (classes[2] / "gone.png").symlink_to(folder / "nowhere.png")
    sidecar = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(sidecar.replace("TUBERCULOSIS/film03.png,Tuberculosis",
                                                         "TUBERCULOSIS/film03.png,Normal"))  # fmt: skip
    said = call(folder, "--model", site[0], "--output", tmp_path / "points.json")
    record = read_site_points(tmp_path / "points.json")
    for file, words in {
        "NORMAL/film99.png": "An equal file was counted already",
        "PNEUMONIA/normal_too.png": "An equal file lies in another class",
        "NORMAL/film05.png": "An equal file lies in another class",
        "PNEUMONIA/cut.png": "",
        "TUBERCULOSIS/small.png": "the shortest side must be 128",
        "TUBERCULOSIS/gone.png": "cannot be read",
        "TUBERCULOSIS/film03.png": "disagree on the label",
    }.items():
        assert f"left out: train/{file}: " in said
        assert words in said.split(f"left out: train/{file}: ")[1].splitlines()[0]
    assert record.points.films + len(record.left_out) == record.files == 36 + 5
    assert [each.code for each in record.left_out].count("contradiction") == 2
    assert record.points.per_class == {"Normal": 11, "Pneumonia": 12, "Tuberculosis": 11}
    assert not any("film" in each.image_id or "/" in each.image_id for each in record.left_out)


def test_a_class_with_too_few_films_is_said_and_written(site: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    for number in range(3, 12):
        (folder / "train/TUBERCULOSIS" / f"film{number:02}.png").unlink()
    said = call(folder, "--model", site[0], "--output", tmp_path / "points.json")
    assert "tb_sensitivity_90    not available: 3 films of Tuberculosis; 10 or more are needed" in said
    point = read_site_points(tmp_path / "points.json").points.point("tb_sensitivity_90")
    assert (point.threshold, point.positives) == (None, 3)


def test_a_file_of_another_model_or_a_changed_one_is_refused(site: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    call(site[1], "--model", site[0], "--output", path)
    model = read_site_points(path).model_digest
    with pytest.raises(
        CxrError, match=rf"field model_digest: the points were fitted for model {model[:12]} \(cxr 1.0.0"
    ):
        load_site_points(path, "f" * 64)
    values = json.loads(path.read_text())
    values["points"]["points"][0]["threshold"] = 0.01
    path.write_text(json.dumps(values))
    with pytest.raises(CxrError, match=r"points.json, field points: .*changed after it was written"):
        load_site_points(path, model)
    path.write_text("{}")
    with pytest.raises(CxrError, match=r"points.json, field notice: .*write it again by cxr fit-points"):
        load_site_points(path, model)
    with pytest.raises(CxrError, match="is not there"):
        load_site_points(tmp_path / "none.json", model)


def test_equal_films_give_equal_files(site: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        call(site[1], "--model", site[0], "--output", tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert SitePoints.model_validate_json((tmp_path / "a.json").read_bytes()).format == 1


def test_a_site_without_one_of_the_classes_gets_the_points_that_need_none(
    site: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.rmtree(folder / "train/PNEUMONIA")
    rows = (folder / "metadata.csv").read_text().splitlines()
    (folder / "metadata.csv").write_text("\n".join(row for row in rows if "PNEUMONIA" not in row) + "\n")
    said = call(folder, "--model", site[0], "--output", tmp_path / "points.json")
    assert re.search(r"youden_Pneumonia +not available: 0 films of Pneumonia", said)
    record = read_site_points(tmp_path / "points.json")
    assert record.points.per_class == {"Normal": 12, "Pneumonia": 0, "Tuberculosis": 12}
    point = record.points.point("tb_sensitivity_90")
    assert point.threshold is not None
    assert point.sensitivity.value >= 0.9


@pytest.mark.parametrize(("path", "words"), [("nowhere", "is no folder"), ("empty", "No image in")])
def test_a_folder_without_films_is_refused(
    site: tuple[Path, Path], folder: Path, tmp_path: Path, path: str, words: str
) -> None:
    (folder / "empty").mkdir()
    said = call(folder / path, "--model", site[0], "--output", tmp_path / "points.json", code=1)
    assert words in said
    assert not (tmp_path / "points.json").exists()


def test_reading_points_and_temperatures_needs_nothing_heavy() -> None:
    code = (
        "import sys, cxr_core.evaluation.site_points, cxr_core.evaluation.operating_points, "
        "cxr_core.evaluation.temperature, cxr_core.evaluation.vector_scaling; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'pandas', 'scipy', 'sklearn', 'torch', 'matplotlib', 'dagster', 'mlflow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
