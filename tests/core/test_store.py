"""The store is content-addressed, atomic, and the same on a disk and on an object store."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_core.errors import CxrError
from cxr_core.store import ArtefactStore, write_atomically

TABLE = pd.DataFrame({"name": ["b", "a"], "n": pd.array([1, None], dtype="Int64"), "x": [0.5, np.nan]})


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "store" if request.param == "disk" else f"memory://{tmp_path.name}/store")


def fill(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner/a.txt").write_text("a")
    (folder / "b.bin").write_bytes(b"\0b")


def test_tables_come_back_whole_or_by_column(store: ArtefactStore):
    artefact = store.write_table("films", TABLE)
    pd.testing.assert_frame_equal(store.read_table(artefact), TABLE, check_dtype=False)
    assert store.read_table(artefact, ["x"]).columns.tolist() == ["x"]


def test_equal_content_has_one_object_and_one_digest(store: ArtefactStore):
    assert store.write_table("films", TABLE) == store.write_table("films", TABLE.copy())
    assert store.write_json("report", {"b": 1, "a": 2}) == store.write_json("report", {"a": 2, "b": 1})
    assert store.write_tree("model", fill) == store.write_tree("model", fill)


def test_other_content_has_another_digest(store: ArtefactStore):
    assert store.write_json("report", {"a": 1}).path != store.write_json("report", {"a": 2}).path


def test_trees_come_back_as_local_folders(store: ArtefactStore):
    folder = store.local_tree(store.write_tree("model", fill))
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "inner/a.txt",
        "b.bin",
    }
    assert (folder / "b.bin").read_bytes() == b"\0b"


def test_references_are_replaced(store: ArtefactStore):
    first, second = store.write_json("r", 1), store.write_json("r", 2)
    store.set_ref("drift/2026-01-31", first)
    store.set_ref("drift/2026-01-31", second)
    assert store.get_ref("drift/2026-01-31") == second
    with pytest.raises(CxrError, match="splits has not been materialised"):
        store.get_ref("splits")


def test_pointers_are_listed_in_order_and_a_missing_one_is_none(store: ArtefactStore):
    assert store.ref_names("champions") == []
    one = store.write_json("report", 1)
    for name in ("000002", "000001"):
        store.set_ref(f"champions/{name}", one)
    store.set_ref("champion", one)
    assert store.ref_names("champions") == ["000001", "000002"]
    assert store.find_ref("champion") == one
    assert store.find_ref("challenger") is None


def test_a_table_is_found_again_by_its_digest(store: ArtefactStore):
    table = store.write_table("splits", pd.DataFrame({"a": [1]}))
    assert store.table_of("splits", table.digest) == table
    assert store.table_of("splits", "0" * 64) is None
    assert store.table_of("splits", "") is None


def test_not_a_number_is_refused_in_reports(store: ArtefactStore):
    with pytest.raises(ValueError, match="JSON"):
        store.write_json("report", {"auc": float("nan")})


def test_a_failed_fill_leaves_nothing(tmp_path: Path):
    store = ArtefactStore(tmp_path)

    def fails(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_tree("model", fails)
    assert list(tmp_path.rglob("*")) == []


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "file"
    write_atomically(target, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_lost_object_is_named(tmp_path: Path):
    store = ArtefactStore(tmp_path)
    artefact = store.write_json("report", 1)
    (tmp_path / artefact.path).unlink()
    assert not store.holds(artefact)
    with pytest.raises(CxrError, match="gone from the store"):
        store.read_json(artefact)
