"""The trail of one process: what a row holds, when it is acknowledged, and what happens when it cannot be written."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from audit_trails import FAST, attack, check, copy, event, fill, found, raw_rows

from bentoml_service import audit_log, audit_store
from bentoml_service.audit_log import AuditEvent, AuditTrail, AuditUnavailable
from bentoml_service.audit_reading import exported
from bentoml_service.audit_store import AuditStore
from bentoml_service.secret_keys import Secrets, create_secrets, load_secrets
from cxr_core.errors import CxrError
from cxr_core.settings_service import AuditSettings


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "_LOOK_SECONDS", 0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/audit.sqlite"


@pytest.fixture
def trail(path: Path, secrets: Secrets) -> Iterator[AuditTrail]:
    trail = AuditTrail(path, secrets, FAST)
    trail.open()
    yield trail
    trail.close()


def record(trail: AuditTrail, *events: AuditEvent) -> list[int]:
    async def all_of_them() -> list[int]:
        return list(await asyncio.gather(*map(trail.record, events)))

    return asyncio.run(all_of_them())


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def rows_of(path: Path, secrets: Secrets) -> list[dict[str, object]]:
    return list(exported(path, secrets.audit, secrets.cipher, None, None))


# ---------------------------------------------------------------------- what is kept
def test_a_row_holds_what_is_known_of_the_request(trail: AuditTrail, path: Path, secrets: Secrets) -> None:
    pseudonym = secrets.pseudonym("CANARY^PATIENT")
    known = AuditEvent("r-1", "ward-3", "radiologist", "POST", "/predict", 422, "too_small", "abc", pseudonym, {"n": 1})
    assert record(trail, known) == [1]
    assert record(trail, AuditEvent("r-2")) == [2]
    first, second = rows_of(path, secrets)
    assert first.pop("time") <= second.pop("time")  # type: ignore[operator]
    assert first == {"sequence": 1, **vars(known), "detail": {"n": 1}}
    assert second == {"sequence": 2, **vars(AuditEvent("r-2")), "detail": {}}


def test_nothing_of_a_request_can_be_read_in_the_files(path: Path, secrets: Secrets) -> None:
    trail = AuditTrail(path, secrets, FAST)
    trail.open()
    record(trail, event(7, key_id="CANARY-KEY", route="/canary", patient=secrets.pseudonym("CANARY")))
    files = [file.read_bytes() for file in path.parent.iterdir()]
    trail.close()
    files.append(path.read_bytes())
    assert sum(map(len, files)) > 10_000
    for hidden in (b"CANARY", b"/canary", b"request-7", secrets.pseudonym("CANARY").encode()):
        assert not any(hidden in content for content in files)


def test_only_the_service_may_read_the_files(trail: AuditTrail, path: Path) -> None:
    record(trail, event())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    names = ("audit.sqlite", "audit.sqlite-wal", "audit.sqlite-shm", ".audit.sqlite.lock")
    assert modes == dict.fromkeys(names, 0o600)


def test_a_trail_that_is_opened_again_is_continued(path: Path, secrets: Secrets) -> None:
    assert fill(path, secrets, 3) == [1, 2, 3]
    assert fill(path, secrets, 2) == [4, 5]
    assert found(check(path, secrets)) == []


def test_a_row_is_in_the_file_when_it_is_acknowledged(trail: AuditTrail, path: Path) -> None:
    async def look() -> None:
        for expected in range(1, 20):
            assert await trail.record(event(expected)) == expected
            with contextlib.closing(sqlite3.connect(path)) as connection:
                assert connection.execute("SELECT max(sequence) FROM entries").fetchone() == (expected,)

    asyncio.run(look())


def test_rows_that_come_together_are_written_together(trail: AuditTrail, path: Path, secrets: Secrets) -> None:
    assert record(trail, *map(event, range(3000))) == list(range(1, 3001))
    times = [row[1] for row in raw_rows(path)]
    assert len(set(times)) < 300  # one time a transaction
    assert found(check(path, secrets)) == []


def test_a_request_that_gives_up_leaves_the_others_and_its_row(trail: AuditTrail, path: Path, secrets: Secrets) -> None:
    async def give_up() -> list[int]:
        tasks = [asyncio.create_task(trail.record(event(number))) for number in range(10)]
        await asyncio.sleep(0)
        tasks[4].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[4], asyncio.CancelledError)
        return [number for number in done if isinstance(number, int)]

    assert len(asyncio.run(give_up())) == 9
    assert len(rows_of(path, secrets)) == 10


@pytest.mark.parametrize("detail", [{"x": object()}, {"x": float("nan")}, {"x": "a" * 9000}, {"x": {1, 2}}])
def test_a_detail_that_cannot_be_kept_harms_no_other_row(
    trail: AuditTrail, path: Path, secrets: Secrets, detail: dict[str, object]
) -> None:
    async def mixed() -> list[object]:
        return list(
            await asyncio.gather(trail.record(event(1)), trail.record(event(2, detail=detail)), trail.record(event(3)),
                                 return_exceptions=True)
        )  # fmt: skip

    first, wrong, last = asyncio.run(mixed())
    assert isinstance(wrong, CxrError)
    assert {first, last} == {1, 2}
    assert trail.healthy


@pytest.mark.parametrize(("fsync", "level"), [("always", 2), ("off", 1)])
def test_the_setting_says_whether_a_commit_waits_for_the_disk(
    path: Path, secrets: Secrets, fsync: str, level: int
) -> None:
    """SQLite: FULL (2) syncs the log at each commit, NORMAL (1) at checkpoints."""
    trail = AuditTrail(path, secrets, AuditSettings.model_validate({"fsync": fsync}))
    trail.open()
    try:
        assert trail._store is not None
        assert trail._store._connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert trail._store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        trail.close()


def test_close_writes_what_waits(path: Path, secrets: Secrets) -> None:
    trail = AuditTrail(path, secrets, FAST)
    trail.open()

    async def leave() -> list[int]:
        tasks = [asyncio.create_task(trail.record(event(number))) for number in range(500)]
        await asyncio.sleep(0)
        await asyncio.to_thread(trail.close)
        return list(await asyncio.gather(*tasks))

    assert asyncio.run(leave()) == list(range(1, 501))
    assert not trail.healthy
    assert not list(path.parent.glob("*-wal"))
    with pytest.raises(AuditUnavailable):
        record(trail, event())


def test_a_trail_that_was_not_opened_takes_no_row(path: Path, secrets: Secrets) -> None:
    trail = AuditTrail(path, secrets, FAST)
    assert not trail.healthy
    with pytest.raises(AuditUnavailable, match="not open"):
        record(trail, event())


# ------------------------------------------------------- when it cannot be written
def refused(trail: AuditTrail, match: str) -> None:
    with pytest.raises(AuditUnavailable, match=match):
        record(trail, event())
    assert not trail.healthy


def recovers(trail: AuditTrail, expected: int) -> None:
    until(lambda: trail.healthy, "the trail does not recover by itself")
    assert record(trail, event()) == [expected]


def test_a_full_disk_stops_the_trail_until_there_is_space(secrets: Secrets, small_disk: Path) -> None:
    path = small_disk / "audit.sqlite"
    trail = AuditTrail(path, secrets, AuditSettings(fsync="always"))
    trail.open()
    try:
        assert record(trail, *map(event, range(20))) == list(range(1, 21))
        use_up(small_disk)
        written = write_until_refused(trail)
        assert not trail.healthy
        time.sleep(0.4)  # several looks
        assert not trail.healthy
        (small_disk / "filler").unlink()
        recovers(trail, written + 1)
    finally:
        trail.close()
    assert found(check(path, secrets)) == []


def use_up(folder: Path) -> None:
    filler = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY)
    try:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(filler, bytes(size))
    finally:
        os.close(filler)


def write_until_refused(trail: AuditTrail) -> int:
    """The last sequence number that was acknowledged: what the log has room for is written."""
    written = 20
    with pytest.raises(AuditUnavailable, match="No space left"):  # noqa: PT012
        for _ in range(1000):
            written = record(trail, event(1, detail={"x": "a" * 5000}))[0]
    return written


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_deleted_file_is_not_begun_anew_and_the_trail_waits_for_it(
    trail: AuditTrail, path: Path, secrets: Secrets, tmp_path: Path
) -> None:
    record(trail, *map(event, range(5)))
    aside = tmp_path / "aside"
    aside.mkdir()
    for file in path.parent.iterdir():
        shutil.move(file, aside / file.name)
    until(lambda: not trail.healthy, "an idle trail does not see that its file is gone")
    refused(trail, "cannot be reached")
    assert not path.exists()
    for file in aside.iterdir():
        shutil.move(file, path.parent / file.name)
    recovers(trail, 6)
    assert found(check(path, secrets)) == []


def test_an_older_copy_in_the_place_of_the_file_is_refused(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    fill(path, secrets, 5)
    old = copy(path, tmp_path / "old/audit.sqlite")
    trail = AuditTrail(path, secrets, FAST)
    trail.open()
    record(trail, *map(event, range(5)))
    kept = tmp_path / "kept"
    shutil.move(path.parent, kept)
    path.parent.mkdir()
    shutil.copy(old, path)
    refused(trail, "replaced|older copy")
    refused(trail, "older copy")
    assert len(list(raw_rows(path))) == 5
    shutil.rmtree(path.parent)
    shutil.move(kept, path.parent)
    recovers(trail, 11)
    trail.close()


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_a_log_that_is_deleted_takes_no_acknowledged_row_with_it(
    trail: AuditTrail, path: Path, secrets: Secrets, ending: str
) -> None:
    record(trail, *map(event, range(5)))
    path.with_name(path.name + ending).unlink()
    until(lambda: not trail.healthy, "an idle trail does not see that its log is gone")
    recovers(trail, 6)
    assert len(rows_of(path, secrets)) == 6
    assert found(check(path, secrets)) == []


def test_another_trail_in_the_place_of_the_file_is_refused(
    trail: AuditTrail, path: Path, secrets: Secrets, tmp_path: Path
) -> None:
    record(trail, *map(event, range(5)))
    fill(tmp_path / "other.sqlite", secrets, 50)
    for file in path.parent.iterdir():
        file.unlink()
    shutil.copy(tmp_path / "other.sqlite", path)
    refused(trail, "replaced|older copy")
    refused(trail, "older copy")
    assert len(list(raw_rows(path))) == 50


def test_a_lock_that_is_held_too_long_stops_the_trail_until_it_is_free(
    trail: AuditTrail, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_store, "_BUSY_SECONDS", 0.3)
    record(trail, event())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(trail, "Another program holds")
        other.execute("ROLLBACK")
    recovers(trail, 2)


def test_a_lock_that_is_held_for_a_moment_is_waited_for(trail: AuditTrail, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        async def wait() -> int:
            task = asyncio.create_task(trail.record(event()))
            await asyncio.sleep(0.3)
            assert not task.done()
            other.execute("ROLLBACK")
            return await task

        assert asyncio.run(wait()) == 1


DAMAGES: dict[str, tuple[str, str]] = {
    "head signature": ("UPDATE head SET mac = replace(mac, substr(mac, 1, 4), '0000')", "The head of"),
    "head number": ("UPDATE head SET text = replace(text, '\"sequence\": 5', '\"sequence\": 4')", "The head of"),
    "head gone": ("DELETE FROM head", "The head of"),
    "tail cut": ("DELETE FROM entries WHERE sequence = 5", "The end of"),
    "row behind the head": (
        "INSERT INTO entries SELECT 6, time, sealed, hash, key_id, mark FROM entries LIMIT 1",
        "The end of",
    ),
    "last hash": ("UPDATE entries SET hash = zeroblob(32) WHERE sequence = 5", "The end of"),
    "trigger": ("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM head; END", "has not the tables"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_end_takes_no_more_rows_while_the_service_runs(trail: AuditTrail, path: Path, name: str) -> None:
    record(trail, *map(event, range(5)))
    statement, match = DAMAGES[name]
    before = len(list(raw_rows(path)))
    attack(path, lambda db: db.execute(statement))
    after = len(list(raw_rows(path)))
    refused(trail, match)
    assert len(list(raw_rows(path))) == after
    assert before == 5


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_end_is_found_when_the_trail_is_opened(path: Path, secrets: Secrets, name: str) -> None:
    fill(path, secrets, 5)
    statement, match = DAMAGES[name]
    good = path.read_bytes()
    attack(path, lambda db: db.execute(statement))
    trail = AuditTrail(path, secrets, FAST)
    with pytest.raises(AuditUnavailable, match=match):
        trail.open()
    try:
        assert not trail.healthy
        path.write_bytes(good)
        recovers(trail, 6)
    finally:
        trail.close()


@pytest.mark.parametrize("content", [b"no database, only text " * 500, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_trail_is_refused_and_left_alone(path: Path, secrets: Secrets, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    trail = AuditTrail(path, secrets, FAST)
    with pytest.raises(AuditUnavailable):
        trail.open()
    trail.close()
    assert path.read_bytes() == content


def test_a_middle_that_was_altered_does_not_stop_the_service(path: Path, secrets: Secrets) -> None:
    """It is the verification's to find: the cheap check at the end must not read years of rows."""
    fill(path, secrets, 5)
    attack(path, lambda db: db.execute("UPDATE entries SET sealed = zeroblob(9) WHERE sequence = 2"))
    assert fill(path, secrets, 1) == [6]
    assert found(check(path, secrets)) == [("altered", 2, 2)]


def test_a_trail_signed_with_keys_that_are_not_here_is_refused(
    path: Path, secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, secrets, 2)
    create_secrets(tmp_path / "other.json")
    monkeypatch.setenv("CXR_SECRETS", str(tmp_path / "other.json"))
    with pytest.raises(AuditUnavailable, match=r"damaged, or signed with a key that is not here"):
        fill(path, load_secrets(), 1)


def test_a_fault_of_ours_stops_no_later_row(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(AuditStore, "extend", fails)
        refused(trail, "the log says where")
    recovers(trail, 1)
