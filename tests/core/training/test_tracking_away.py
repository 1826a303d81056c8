"""MLflow goes away and comes back: in the end it holds what it would hold had it never been away."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow_parts import EXPERIMENT, Mlflow, copy_of

from cxr_core.store import ArtefactStore
from cxr_core.training import tracking_client
from cxr_core.training.tracking import Tracker
from cxr_core.training.tracking_outbox import Kept, Outbox

DIGEST = "d" * 64
ROWS = [{"epoch": 1, "val_loss": 0.5, "auc": None}, {"epoch": 2, "val_loss": 0.1 + 0.2, "auc": float("nan")}]


class Clock:
    """The tracker's clock; it stands still until it is told to tick."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(tracking_client, "time", made)
    return made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A figure and a package, outside of any store."""
    folder = tmp_path / "made"
    (folder / "package/weights").mkdir(parents=True)
    (folder / "curve.svg").write_text("<svg/>")
    (folder / "package/manifest.json").write_text("{}")
    (folder / "package/weights/model.onnx").write_bytes(b"weights")
    return folder


def tell(tracker: Tracker, files: Path, now: Callable[[], None]) -> None:
    """A study of two trials, whose package is registered; ``now`` is called between any two things that are told."""
    now()
    with tracker.run("study", {"data": "abc"}) as study:
        now()
        study.params({"trials": 2, "sampler": "tpe"})
        for number in range(2):
            now()
            with tracker.run(f"trial-{number}", {"trial": str(number)}, study) as trial:
                now()
                trial.history(ROWS)
                now()
                trial.metrics({"log_loss": 0.125 * number})
        now()
        study.artefact(files / "curve.svg", "figures")
        study.text("trial,log_loss\n", "trials.csv")
        now()
        study.folder(files / "package", "package")
        now()
        study.register("cxr", "package", {"package_digest": DIGEST, "gate": "passed"}, ["challenger"])
        now()
        study.alias("cxr", DIGEST, "champion")
        study.tags({"best": "1"})
        now()


MOMENTS = 13  # calls of ``now``


@pytest.fixture
def expected(mlflow_template: Path, tmp_path: Path, files: Path, clock: Clock) -> tuple[Any, Any]:
    """What an MLflow that was never away holds."""
    steady = copy_of(mlflow_template, tmp_path / "steady")
    start, warnings = clock.now, []

    def now() -> None:
        clock.now += 1

    tell(Tracker(steady.uri, EXPERIMENT, warnings.append), files, now)
    assert (clock.now - start, warnings) == (MOMENTS, [])
    clock.now = start
    return steady.holds(), steady.versions("cxr")


def interrupted(mlflow: Mlflow, store: ArtefactStore, files: Path, clock: Clock, moment: int) -> list[str]:
    """Tell the story to an MLflow that is away from a moment on; the warnings."""
    warnings: list[str] = []
    moments = itertools.count()

    def now() -> None:
        clock.now += 1
        if next(moments) == moment:
            mlflow.go_away()

    tell(Tracker(mlflow.uri, EXPERIMENT, warnings.append, store), files, now)
    mlflow.come_back()
    return warnings


def upload(mlflow: Mlflow, store: ArtefactStore) -> int:
    warnings: list[str] = []
    tracker = Tracker(mlflow.uri, EXPERIMENT, warnings.append, store)
    assert tracker.connect()
    assert warnings == []
    return tracker.uploaded


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_whenever_mlflow_goes_away_it_gets_in_the_end_what_it_would_have_got(
    moment: int, mlflow: Mlflow, tmp_path: Path, files: Path, clock: Clock, expected: tuple[Any, Any]
) -> None:
    store = ArtefactStore(tmp_path / "store")
    warnings = interrupted(mlflow, store, files, clock, moment)
    assert len(warnings) == 1
    assert "kept in the store" in warnings[0]
    shutil.rmtree(files)  # the store has its own copies
    shutil.copytree(tmp_path / "store", tmp_path / "before")

    assert upload(mlflow, store) >= 1
    assert (mlflow.holds(), mlflow.versions("cxr")) == expected
    assert Outbox(store).pending() == []
    assert upload(mlflow, store) == 0

    shutil.rmtree(tmp_path / "store")  # as if the upload had been killed before it could forget anything
    (tmp_path / "before").rename(tmp_path / "store")
    assert upload(mlflow, store) >= 1
    assert (mlflow.holds(), mlflow.versions("cxr")) == expected
    assert [path for path in (tmp_path / "store/tracking").rglob("*") if path.is_file()] == [
        tmp_path / "store/tracking/.lock"
    ]


def test_a_half_written_run_survives_the_loss_of_the_database(
    mlflow: Mlflow, mlflow_template: Path, tmp_path: Path, files: Path, clock: Clock, expected: Any
) -> None:
    store = ArtefactStore(tmp_path / "store")
    interrupted(mlflow, store, files, clock, 12)
    shutil.copy(mlflow_template, mlflow.database)
    upload(mlflow, store)
    study, was = mlflow.holds()["study"], expected[0]["study"]
    assert {name: study[name] for name in ("params", "tags", "status", "start")} == {
        name: was[name] for name in ("params", "tags", "status", "start")
    }


def test_without_a_store_the_work_goes_on_and_the_warning_promises_nothing(mlflow: Mlflow, files: Path) -> None:
    mlflow.go_away()
    warnings: list[str] = []
    tell(Tracker(mlflow.uri, EXPERIMENT, warnings.append), files, lambda: None)
    assert [warning.endswith("the run goes on untracked.") for warning in warnings] == [True]


def test_a_store_that_cannot_be_written_costs_one_more_warning_only(mlflow: Mlflow, files: Path) -> None:
    mlflow.go_away()
    warnings: list[str] = []
    tell(Tracker(mlflow.uri, EXPERIMENT, warnings.append, ArtefactStore("/proc/no/store")), files, lambda: None)
    assert len(warnings) == 2
    assert "could not be kept in the store either" in warnings[1]


def test_objects_of_the_store_are_pointed_at_not_copied(mlflow: Mlflow, tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path / "store")
    tree = store.write_tree(
        "release_candidate", lambda folder: (folder / "model.onnx").write_bytes(b"weights") and None
    )
    mlflow.go_away()
    with Tracker(mlflow.uri, EXPERIMENT, lambda text: None, store).run("release") as run:
        run.folder(store.local_tree(tree), "package")
        run.artefact(store.local_tree(tree) / "model.onnx", "weights")
    assert not list((tmp_path / "store/tracking").rglob("*.onnx"))
    mlflow.come_back()
    upload(mlflow, store)
    assert mlflow.holds()["release"]["artefacts"] == {
        "package/model.onnx": b"weights",
        "weights/model.onnx": b"weights",
    }
    assert store.holds(tree)


def test_what_mlflow_refuses_is_kept_apart_and_holds_nothing_up(mlflow: Mlflow, tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path / "store")

    lost = tmp_path / "store/objects/gone.svg"

    def refused(tracker: Tracker) -> None:
        lost.parent.mkdir(parents=True, exist_ok=True)
        lost.write_text("<svg/>")
        with tracker.run("training") as run:
            run.metrics({"macro*auc": 0.9})
            run.metrics({"macro*auc": 0.9}, step=2)
            run.alias("cxr", DIGEST, "champion")
            run.register("cxr", "package", {"no": "digest"})
            run.artefact(lost)
            run.metrics({"macro_auc": 0.9})

    warnings: list[str] = []
    tracker = Tracker(mlflow.uri, EXPERIMENT, warnings.append, store)
    refused(tracker)
    assert not tracker.failed
    assert [warning.startswith("MLflow refuses a part of run training") for warning in warnings] == [True]
    live = mlflow.holds()["training"]["metrics"]
    assert list(live) == ["macro_auc"]

    mlflow.client().delete_run(mlflow.client().search_runs(["1"])[0].info.run_id)
    mlflow.go_away()
    refused(Tracker(mlflow.uri, EXPERIMENT, lambda text: None, store))
    mlflow.come_back()
    lost.unlink()  # while it waits
    warnings.clear()
    assert Tracker(mlflow.uri, EXPERIMENT, warnings.append, store).connect()
    assert len(warnings) == 5  # one for each batch
    assert list(mlflow.holds()["training"]["metrics"]) == ["macro_auc"]
    assert Outbox(store).pending() == []
    kept = sorted((tmp_path / "store/tracking/refused").rglob("*.json"))
    kinds = [event["kind"] for path in kept for event in json.loads(path.read_bytes())["events"]]
    assert sorted(kinds) == ["alias"] * 2 + ["files"] + ["log"] * 4 + ["register"] * 2


def test_neither_warnings_nor_the_store_hold_a_password(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = ArtefactStore(tmp_path / "store")
    with Tracker("http://user:secret@127.0.0.1:9", EXPERIMENT, warnings.append, store).run("training") as run:
        run.params({"a": 1})
    assert "127.0.0.1:9" in warnings[0]
    kept = [path.read_text() for path in (tmp_path / "store").rglob("*.json")]
    assert kept
    assert not [text for text in [*warnings, *kept] if "secret" in text]


@pytest.mark.parametrize("root", ["memory://cxr-tracking-test", "file://{}/store"])
def test_any_kind_of_store_keeps_and_gives_back_the_same(
    root: str, mlflow: Mlflow, tmp_path: Path, files: Path
) -> None:
    store = ArtefactStore(root.format(tmp_path))
    mlflow.go_away()
    tell(Tracker(mlflow.uri, EXPERIMENT, lambda text: None, store), files, lambda: None)
    mlflow.come_back()
    shutil.rmtree(files)
    assert upload(mlflow, store) == 3
    study = mlflow.holds()["study"]
    assert sorted(study["artefacts"]) == [
        "figures/curve.svg", "package/manifest.json", "package/weights/model.onnx", "trials.csv",
    ]  # fmt: skip
    assert study["artefacts"]["package/weights/model.onnx"] == b"weights"
    assert Outbox(store).pending() == []
    assert [path.name for path in (store.root / "tracking").rglob("*") if path.is_file()] in ([], [".lock"])


@pytest.mark.parametrize("root", ["file", "memory://cxr-claim-test"])
def test_one_process_uploads_at_a_time(root: str, tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path / "store" if root == "file" else root)
    with Outbox(store).claim() as first, Outbox(store).claim() as second:
        assert (first, second) == (True, False)
    with Outbox(store).claim() as again:
        assert again


def test_batches_come_back_oldest_first_and_in_the_order_of_their_writer(tmp_path: Path) -> None:
    outbox = Outbox(ArtefactStore(tmp_path))
    for writer, number, time in (("b", 2, 5), ("a", 1, 9), ("b", 1, 5), ("c", 1, 1)):
        outbox.keep(Kept(writer, number, {"time": time, "events": []}))
    assert [(kept.writer, kept.number) for kept in outbox.pending()] == [("c", 1), ("b", 1), ("b", 2), ("a", 1)]
