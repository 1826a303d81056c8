"""Limits of keys and of failed authentications, over real files and real processes."""

from __future__ import annotations

import logging
import math
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from bentoml_service import rate_limits, rate_storage
from bentoml_service.rate_limits import RateLimiter
from bentoml_service.rate_storage import SqliteStorage, sqlite_uri
from cxr_core.errors import CxrError
from cxr_core.settings import load_settings
from cxr_core.settings_service import ServiceSettings

KEY = b"k" * 32


class Clock:
    """The wall clock of the storage, set to the beginning of a window of any round length."""

    def __init__(self) -> None:
        self.now = 1_900_000_800.0  # divisible by 3600

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_storage, "time", clock)
    monkeypatch.setattr(rate_limits, "time", clock)
    return clock


def limiter(folder: Path, **changes: Any) -> RateLimiter:
    return RateLimiter(ServiceSettings(state_dir=folder, **changes), KEY)


def let_through(limits: RateLimiter, name: str, tries: int, cost: int = 1) -> int:
    return sum(limits.spend(name, cost) is None for _ in range(tries))


def test_a_key_gets_what_the_setting_says_and_then_waits(tmp_path: Path, clock: Clock) -> None:
    limits = limiter(tmp_path, rate_limit="5/minute")
    assert let_through(limits, "one", 8) == 5
    assert let_through(limits, "two", 8) == 5  # the other key's share is its own
    wait = limits.spend("one")
    assert wait is not None
    assert 60 < wait < 61 + 60 / 5  # this window ends, and one place of it has to slide out


@pytest.mark.parametrize("rate", ["5/minute", "1/second", "120/minute", "7/10 second", "3/second;10/minute"])
@pytest.mark.parametrize("cost", [1, 3])
def test_the_wait_that_is_told_is_enough_and_no_longer_than_needed(
    tmp_path: Path, clock: Clock, rate: str, cost: int
) -> None:
    limits = limiter(tmp_path, rate_limit=rate)
    for _ in range(6):
        let_through(limits, "one", 200, cost)
        wait = limits.spend("one", cost)
        assert wait is not None
        assert wait > 0
        clock.now += wait * 0.97
        assert limits.spend("one", cost) is not None
        clock.now += wait * 0.03 + 0.002
        assert limits.spend("one", cost) is None
        clock.now += 0.37


def test_the_window_slides_over_the_turn_of_the_minute(tmp_path: Path, clock: Clock) -> None:
    limits = limiter(tmp_path, rate_limit="100/minute")
    clock.now += 59
    assert let_through(limits, "one", 150) == 100
    clock.now += 2  # a fixed window would let another hundred through
    assert let_through(limits, "one", 150) < 5
    clock.now += 30
    assert 45 < let_through(limits, "one", 150) < 55
    clock.now += 300
    assert let_through(limits, "one", 150) == 100


def test_a_batch_counts_for_its_films_and_a_whole_window_is_never_refused_for_good(
    tmp_path: Path, clock: Clock
) -> None:
    limits = limiter(tmp_path, rate_limit="20/minute")
    assert let_through(limits, "one", 4, cost=10) == 2
    assert limits.spend("two", cost=500) is None
    assert limits.spend("two") is not None


def test_several_limits_all_hold(tmp_path: Path, clock: Clock) -> None:
    limits = limiter(tmp_path, rate_limit="3/second; 5/minute")
    assert let_through(limits, "one", 9) == 3
    clock.now += 2
    assert let_through(limits, "one", 9) <= 2


def test_workers_share_the_count(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cxr_core.settings_service import ServiceSettings\n"
        "from bentoml_service.rate_limits import RateLimiter\n"
        "limits = RateLimiter(ServiceSettings(state_dir=Path(sys.argv[1]), rate_limit='1000/day'), b'k' * 32)\n"
        "print('up', flush=True); sys.stdin.readline()\n"
        "print(sum(limits.spend('one') is None for _ in range(800)), limits._failed_at)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert [failed for _, failed in said] == ["None", "None"]
    assert sum(int(count) for count, _ in said) == 1000


def test_threads_share_the_count(tmp_path: Path) -> None:
    limits = limiter(tmp_path, rate_limit="500/day")
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: let_through(limits, "one", 100), range(8))) == 500


def test_a_restart_forgets_no_count(tmp_path: Path, clock: Clock) -> None:
    first = limiter(tmp_path, rate_limit="5/minute")
    assert let_through(first, "one", 3) == 3
    first.close()
    assert let_through(limiter(tmp_path, rate_limit="5/minute"), "one", 9) == 2


def test_failed_authentications_bar_one_address_in_every_worker_and_no_other(tmp_path: Path, clock: Clock) -> None:
    one, other = (limiter(tmp_path, failure_limit="4/minute") for _ in range(2))
    assert [one.strike("10.0.0.1") for _ in range(3)] == [None, None, None]
    assert one.barred("10.0.0.1") is None
    wait = other.strike("10.0.0.1")
    assert wait is not None
    assert one.barred("10.0.0.1") == other.barred("10.0.0.1") == wait
    assert one.strike("10.0.0.1") is not None
    assert one.barred("10.0.0.2") is None
    for _ in range(500):
        one.barred("10.0.0.3")  # to ask counts for nothing
    assert one.barred("10.0.0.3") is None
    clock.now += wait + 0.002
    assert one.barred("10.0.0.1") is None


def test_a_client_cannot_leave_its_count_behind_by_another_spelling_of_its_address(
    tmp_path: Path, clock: Clock
) -> None:
    limits = limiter(tmp_path, failure_limit="1/minute")
    limits.strike("2001:db8:1:2::1")
    assert limits.barred("2001:db8:1:2:ffff::9") is not None  # the same site
    assert limits.barred("2001:0DB8:0001:0002:0::3%eth0") is not None
    assert limits.barred("2001:db8:1:3::1") is None
    limits.strike("10.0.0.1")
    assert limits.barred("::ffff:10.0.0.1") is not None
    limits.strike("testclient")
    assert limits.barred("testclient") is not None
    assert limits.barred("") is None


def test_no_address_lies_in_the_file_and_without_the_key_none_can_be_looked_up(tmp_path: Path, clock: Clock) -> None:
    settings = ServiceSettings(state_dir=tmp_path, failure_limit="1/minute")
    limits = RateLimiter(settings, KEY)
    limits.strike("203.0.113.77")
    limits.spend("ward-3")
    limits.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ward-3" in kept
    assert b"203.0.113" not in kept
    assert RateLimiter(settings, KEY).barred("203.0.113.77") is not None
    assert RateLimiter(settings, b"x" * 32).barred("203.0.113.77") is None
    assert RateLimiter(settings).barred("203.0.113.77") is None


def test_only_the_owner_may_read_what_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "service"
    limiter(folder).spend("one")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert "limits.sqlite" in modes
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize("damage", [b"not a database" * 400, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "limits.sqlite").write_bytes(damage)
    limits = limiter(tmp_path, rate_limit="2/day")
    assert let_through(limits, "one", 5) == 2
    assert let_through(limiter(tmp_path, rate_limit="2/day"), "one", 5) == 0


def test_a_storage_that_fails_stops_no_request_and_lifts_no_limit(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    limits = limiter(tmp_path, rate_limit="3/minute", failure_limit="2/minute")
    blocker = sqlite3.connect(tmp_path / "limits.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.ERROR):
        assert let_through(limits, "one", 6) == 3
        for _ in range(3):
            limits.strike("10.0.0.1")
        assert limits.barred("10.0.0.1") is not None
    assert len(caplog.records) == 1  # left alone for a while, and said once
    assert "storage of the rate limits failed" in caplog.text
    blocker.execute("COMMIT")
    blocker.close()
    clock.now += 6
    assert let_through(limits, "two", 6) == 3
    assert let_through(limiter(tmp_path, rate_limit="3/minute"), "two", 6) == 0  # counted in the file again


def test_a_lock_held_by_another_process_holds_a_request_up_for_a_moment_only(tmp_path: Path) -> None:
    limits = limiter(tmp_path, rate_limit="3/day")
    blocker = sqlite3.connect(tmp_path / "limits.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    done = threading.Event()

    def spend() -> None:
        limits.spend("one")
        done.set()

    threading.Thread(target=spend, daemon=True).start()
    assert done.wait(4)  # far below the 5 seconds that opening may take
    blocker.close()


def test_a_short_wait_for_another_process_costs_no_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = limiter(tmp_path, rate_limit="3/day")
    blocker = sqlite3.connect(tmp_path / "limits.sqlite", isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.03, blocker.execute, ["COMMIT"])
    release.start()
    assert limits.spend("one") is None
    release.join()
    blocker.close()
    assert caplog.records == []
    assert let_through(limiter(tmp_path, rate_limit="3/day"), "one", 5) == 2


def test_windows_that_have_passed_are_deleted(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_storage, "_PURGE_EVERY", 50)
    limits = limiter(tmp_path, failure_limit="5/minute")
    for _ in range(400):
        clock.now += 20
        limits.strike(f"10.0.0.{int(clock.now) % 251}")
    with sqlite3.connect(tmp_path / "limits.sqlite") as database:
        assert database.execute("SELECT count(*) FROM counts").fetchone()[0] < 60


@pytest.mark.parametrize("rate", ["", "many", "0/minute", "5/fortnight", "-1/minute", "5", "5/minute;"])
@pytest.mark.parametrize("field", ["rate_limit", "failure_limit"])
def test_a_limit_that_is_none_is_refused(tmp_path: Path, field: str, rate: str) -> None:
    with pytest.raises(CxrError, match=f"Setting service.{field}"):
        limiter(tmp_path, **{field: rate})


@pytest.mark.parametrize("uri", ["nothing://x", "redis://:hunter2@127.0.0.1:1", "async+memory://", "plain"])
def test_a_storage_that_cannot_be_used_is_refused_without_its_password(tmp_path: Path, uri: str) -> None:
    with pytest.raises(CxrError, match=r"Setting service\.rate_storage") as refused:
        limiter(tmp_path, rate_storage=uri)
    assert "hunter2" not in str(refused.value)


def test_another_storage_of_limits_is_used_and_said_to_block(tmp_path: Path) -> None:
    limits = limiter(tmp_path, rate_storage="memory://", rate_limit="4/day")
    assert limits.blocking
    assert not limiter(tmp_path).blocking
    assert let_through(limits, "one", 9) == 4


def test_the_settings_of_the_project_make_a_limiter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_SERVICE__STATE_DIR", str(tmp_path / "with space & more"))
    monkeypatch.setenv("CXR_SERVICE__RATE_LIMIT", "2/day")
    limits = RateLimiter(load_settings().service)
    assert let_through(limits, "one", 5) == 2
    assert (tmp_path / "with space & more/limits.sqlite").is_file()


def test_the_storage_agrees_with_the_one_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hits at the same times through the package's own strategy and memory storage."""
    from limits import parse
    from limits.storage import memory

    clock = Clock()
    monkeypatch.setattr(rate_storage, "time", clock)
    theirs = MemoryStorage()
    monkeypatch.setattr(memory, "time", clock)
    ours = storage_from_string(sqlite_uri(tmp_path / "counts.sqlite"))
    assert isinstance(ours, SqliteStorage)
    item = parse("10/minute")
    strategies = [SlidingWindowCounterRateLimiter(storage) for storage in (ours, theirs)]
    seconds = [math.fmod(step * 7.31, 11.0) for step in range(300)]
    hits = []
    for pause in seconds:
        clock.now += pause
        hits.append([strategy.hit(item, "x") for strategy in strategies])
        windows = [strategy.get_window_stats(item, "x").remaining for strategy in strategies]
        assert windows[0] == windows[1]
    assert [one for one, _ in hits] == [other for _, other in hits]
    assert {one for one, _ in hits} == {True, False}
    assert (ours.incr("f", 60), ours.incr("f", 60, 4), ours.get("f")) == (1, 5, 5)
    assert ours.get_expiry("f") == clock.now + 60
    clock.now += 61
    assert (ours.get("f"), ours.incr("f", 60)) == (0, 1)
    assert ours.check()
    assert ours.reset() is not None
    assert ours.get("f") == 0
