import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_package import LABELS, PREPROCESSING, write_tiny_package

from cxr_core.digests import digest_bytes, digest_file, digest_tree
from cxr_core.errors import CxrError
from cxr_core.release.package import MANIFEST, ONNX, REFERENCE, WEIGHTS, load_manifest


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_package_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_tiny_package(tmp_path / "model")
    loaded = load_manifest(tmp_path / "model", LABELS)
    assert loaded == written
    assert loaded.preprocessing == PREPROCESSING
    assert loaded.files[ONNX] == digest_file(tmp_path / "model" / ONNX)
    assert loaded.gate["passed"] is True
    assert loaded.decision.rules[0].name == "macro_f1"


def test_a_package_from_before_the_newer_rules_is_what_it_was(tmp_path: Path) -> None:
    rule = {"name": "macro_f1", "value": 0.9, "limit": 0.75, "passed": True, "sentence": "Macro F1 is fine."}
    older = {"passed": True, "rules": [rule]}
    write_tiny_package(tmp_path, gate=older)
    assert json.loads((tmp_path / MANIFEST).read_text())["gate"] == older
    loaded = load_manifest(tmp_path, LABELS)
    assert loaded.digest == digest_file(tmp_path / MANIFEST)
    assert loaded.decision.passed
    assert loaded.decision.champion == ""
    assert loaded.decision.rules[0].needed


def test_documents_for_readers_travel_under_their_digests_and_never_in_place_of_a_file(tmp_path: Path) -> None:
    manifest = write_tiny_package(tmp_path / "a", documents={"model_card.md": b"# Card"})
    assert (tmp_path / "a/model_card.md").read_bytes() == b"# Card"
    assert manifest.files["model_card.md"] == digest_bytes(b"# Card")
    (tmp_path / "a/model_card.md").write_bytes(b"# Another")
    with pytest.raises(CxrError, match=r"model_card\.md"):
        load_manifest(tmp_path / "a")
    with pytest.raises(CxrError, match=r"document model\.onnx has the name of a file"):
        write_tiny_package(tmp_path / "b", documents={"model.onnx": b"x"})
    assert not (tmp_path / "b").exists()


def test_two_packages_of_one_model_are_known_as_such(tmp_path: Path) -> None:
    first = write_tiny_package(tmp_path / "a")
    measured_anew = write_tiny_package(tmp_path / "b", metrics={"macro_f1": 0.91})
    other = write_tiny_package(tmp_path / "c", weights_bytes=b"other")
    assert first.digest != measured_anew.digest
    assert first.model == measured_anew.model != other.model


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    first, second = write_tiny_package(tmp_path / "a"), write_tiny_package(tmp_path / "b")
    assert first.digest == second.digest
    assert digest_tree(tmp_path / "a") == digest_tree(tmp_path / "b")


def test_the_digest_covers_every_file(tmp_path: Path) -> None:
    assert (
        write_tiny_package(tmp_path / "a").digest != write_tiny_package(tmp_path / "b", weights_bytes=b"other").digest
    )


@pytest.mark.parametrize("name", [ONNX, WEIGHTS, REFERENCE])
def test_an_altered_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_tiny_package(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CxrError, match=name):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", [ONNX, WEIGHTS, REFERENCE])
def test_a_missing_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_tiny_package(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CxrError, match=name):
        load_manifest(tmp_path)


def test_another_preprocessing_is_refused_with_both_digests(tmp_path: Path) -> None:
    trained = write_tiny_package(tmp_path).preprocessing_digest
    other = replace(PREPROCESSING, clahe=True)
    rewrite_manifest(
        tmp_path, preprocessing={**json.loads((tmp_path / MANIFEST).read_text())["preprocessing"], "clahe": True}
    )
    with pytest.raises(CxrError) as caught:
        load_manifest(tmp_path)
    assert trained in str(caught.value)
    assert other.digest in str(caught.value)


def test_other_pixels_from_the_same_parameters_are_refused(tmp_path: Path) -> None:
    write_tiny_package(tmp_path)
    frame = cv2.imread(str(tmp_path / REFERENCE), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / REFERENCE), np.roll(frame, 1, axis=1))
    files = json.loads((tmp_path / MANIFEST).read_text())["files"]
    rewrite_manifest(tmp_path, files={**files, REFERENCE: digest_file(tmp_path / REFERENCE)})
    with pytest.raises(CxrError, match="other pixels"):
        load_manifest(tmp_path)


def test_another_label_order_is_refused(tmp_path: Path) -> None:
    write_tiny_package(tmp_path)
    with pytest.raises(CxrError, match="Tuberculosis, Pneumonia, Normal are expected"):
        load_manifest(tmp_path, LABELS[::-1])


@pytest.mark.parametrize("value", [2, "1", None])
def test_another_format_is_refused(tmp_path: Path, value: object) -> None:
    write_tiny_package(tmp_path)
    rewrite_manifest(tmp_path, format=value)
    with pytest.raises(CxrError, match="has format"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"format": 1}'])
def test_a_manifest_that_is_none_is_refused_in_one_sentence(tmp_path: Path, text: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(CxrError, match=MANIFEST):
        load_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="holds no manifest"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", ".hidden", ""])
def test_a_manifest_cannot_reach_outside_its_folder(tmp_path: Path, name: str) -> None:
    write_tiny_package(tmp_path / "model")
    files = json.loads((tmp_path / "model" / MANIFEST).read_text())["files"]
    rewrite_manifest(tmp_path / "model", files={**files, name: "0" * 64})
    with pytest.raises(CxrError, match="not a plain name"):
        load_manifest(tmp_path / "model")


def test_a_part_must_be_among_the_files(tmp_path: Path) -> None:
    write_tiny_package(tmp_path)
    rewrite_manifest(tmp_path, parts={"calibration": "calibration.json"})
    with pytest.raises(CxrError, match="part calibration"):
        load_manifest(tmp_path)


def test_a_package_is_never_overwritten(tmp_path: Path) -> None:
    write_tiny_package(tmp_path)
    before = digest_tree(tmp_path)
    with pytest.raises(CxrError, match="already"):
        write_tiny_package(tmp_path, weights_bytes=b"other")
    assert digest_tree(tmp_path) == before


def test_a_metric_that_is_not_a_number_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="finite"):
        write_tiny_package(tmp_path / "model", metrics={"macro_f1": float("nan")})
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("gate", [{}, {"passed": "perhaps", "rules": []}, {"passed": True}])
def test_a_gate_that_decided_nothing_is_refused(tmp_path: Path, gate: dict[str, Any]) -> None:
    with pytest.raises(CxrError, match="gate"):
        write_tiny_package(tmp_path / "model", gate=gate)
