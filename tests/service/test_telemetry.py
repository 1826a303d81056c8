import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from bentoml_service import telemetry_counts, telemetry_store
from bentoml_service.latency_buckets import BOUNDS, HIGHEST, LOWEST, RELATIVE_ERROR, bucket_of, cumulative, quantile
from bentoml_service.metrics_report import report_metrics
from bentoml_service.telemetry import Observation, Telemetry
from bentoml_service.telemetry_counts import Tally
from bentoml_service.telemetry_store import Stored, TelemetryStore
from cxr_core.release.predictor import ModelIdentity
from cxr_core.settings_service import TelemetrySettings

WORKER = Path(__file__).with_name("telemetry_worker.py")
SEEN = Observation("Normal", 0.9, 120.0, 50.0, 1.2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service/telemetry.sqlite"


@contextmanager
def opened(path: Path, window: int = 1000, **more: Any) -> Iterator[Telemetry]:
    telemetry = Telemetry(path, TelemetrySettings(window=window), **more)
    try:
        yield telemetry
    finally:
        telemetry.close()


def model(digest: str) -> ModelIdentity:
    return ModelIdentity(name="cxr", version="1.0.0", digest=digest, preprocessing_digest="p")


def counted(telemetry: Telemetry) -> int:
    return int(telemetry.metrics()["overall"]["total"]["requests"])


def write(path: Path, tally: Tally) -> None:
    with closing(TelemetryStore(path, 1000, 60, "")) as store:
        store.write(tally)


def count_by_bucket(seconds: np.ndarray) -> dict[int, int]:
    buckets, numbers = np.unique([bucket_of(float(one)) for one in seconds], return_counts=True)
    return dict(zip(buckets.tolist(), numbers.tolist(), strict=True))


# ---------------------------------------------------------------------- percentiles
@pytest.mark.parametrize("spread", [0.02, 0.5, 1.5])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99, 1.0])
def test_percentiles_are_within_the_stated_error(spread: float, share: float) -> None:
    seconds = np.random.default_rng(1).lognormal(np.log(0.08), spread, 5000)
    true = np.quantile(seconds, share, method="inverted_cdf")
    assert quantile(count_by_bucket(seconds), share) == pytest.approx(true, rel=RELATIVE_ERROR + 1e-9)
    assert RELATIVE_ERROR <= 0.02


@pytest.mark.parametrize(("share", "nearest"), [(0.5, 0.2), (0.67, 0.4), (0.95, 0.4), (0.01, 0.1)])
def test_a_percentile_of_few_requests_is_one_of_them(share: float, nearest: float) -> None:
    found = quantile(count_by_bucket(np.array([0.4, 0.1, 0.2])), share)
    assert found == pytest.approx(nearest, rel=RELATIVE_ERROR)


def test_percentiles_of_two_workers_are_those_of_all_requests(path: Path) -> None:
    seconds = np.random.default_rng(2).lognormal(np.log(0.05), 1, 3000)
    with opened(path) as one, opened(path) as two:
        for i, duration in enumerate(seconds):
            (one if i % 3 else two).request("/predict", 200, float(duration))
        assert one.flush()
        latency = two.metrics()["overall"]["routes"]["/predict"]["latency_ms"]
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        true = 1000 * np.quantile(seconds, share, method="inverted_cdf")
        assert latency[name] == pytest.approx(true, rel=RELATIVE_ERROR + 1e-5)


def test_the_half_second_of_the_report_is_the_edge_of_a_bucket() -> None:
    assert 0.5 in BOUNDS
    seconds = np.array([0.4, 0.5, 0.5, np.nextafter(0.5, 1) + 1e-9, 0.7])
    assert cumulative(count_by_bucket(seconds), [0.5]) == [3]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e6, float("inf"), float("nan")])
def test_a_duration_outside_the_range_counts_at_its_end(seconds: float) -> None:
    found = quantile({bucket_of(seconds): 1}, 0.5)
    assert found == pytest.approx(HIGHEST if seconds > 1 else LOWEST, rel=2 * RELATIVE_ERROR)


# ---------------------------------------------------------------------- what is reported
def test_before_the_first_request_there_are_no_rates(path: Path) -> None:
    with opened(path) as telemetry:
        metrics = telemetry.metrics()
    for scope in ("recent", "overall"):
        total = metrics[scope]["total"]
        assert total.pop("requests") == 0
        assert total.pop("latency_ms") == {"p50": None, "p95": None, "p99": None}
        assert total.pop("statuses") == total.pop("outcomes") == {}
        assert set(total.values()) == {None}
        assert metrics[scope]["routes"] == {}


def test_errors_refusals_and_shed_load_are_told_apart(path: Path) -> None:
    """TRAPS 17: the reference implementation counted no error at all."""
    statuses = [200] * 80 + [404] * 6 + [422] * 4 + [429] * 3 + [503] * 2 + [500] * 5 + [0] * 7
    with opened(path) as telemetry:
        for status in statuses:
            telemetry.request("/predict", status, 0.02 if status == 200 else 2.0)
        total = telemetry.metrics()["recent"]["total"]
    assert total["requests"] == 107
    assert total["statuses"] == {"0": 7, "200": 80, "404": 6, "422": 4, "429": 3, "500": 5, "503": 2}
    assert total["outcomes"] == {"aborted": 7, "answered": 80, "failed": 5, "refused": 10, "shed": 5}
    assert (total["error_rate"], total["availability"]) == (0.07, 0.93)
    assert (total["refused_rate"], total["shed_rate"]) == (0.10, 0.05)
    assert total["latency_ms"]["p99"] == pytest.approx(20, rel=RELATIVE_ERROR)  # refusals do not count there


def test_probes_do_not_dilute_the_totals(path: Path) -> None:
    with opened(path) as telemetry:
        telemetry.request("/predict", 500, 0.1)
        for _ in range(99):
            telemetry.request("/health", 200, 0.001)
        overall = telemetry.metrics()["overall"]
    assert (overall["total"]["requests"], overall["total"]["error_rate"]) == (1, 1.0)
    assert overall["routes"]["/health"]["requests"] == 99


def test_recent_numbers_leave_out_what_is_older(path: Path) -> None:
    now = time.time()
    tally = Tally(10)
    tally.add_request(int(now // 60) - 61, "/predict", 500, 8.0)
    tally.add_request(int(now // 60) - 30, "/predict", 200, 0.1)
    write(path, tally)
    with opened(path) as telemetry:
        metrics = telemetry.metrics()
    assert report_metrics(Stored(now - 9000, tally), True, now, 60)["recent"] == {
        **metrics["recent"],
        "seconds": ANY,
        "total": {**metrics["recent"]["total"], "per_second": ANY},
        "routes": {"/predict": {**metrics["recent"]["routes"]["/predict"], "per_second": ANY}},
    }
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM minutes").fetchone() == (1,)  # no file that grows for ever
    assert metrics["recent"]["total"]["statuses"] == {"200": 1}
    assert metrics["overall"]["total"]["statuses"] == {"200": 1, "500": 1}


def test_an_idle_hour_has_a_throughput_of_zero_and_no_percentile(path: Path) -> None:
    with opened(path) as telemetry:
        older = Tally(10)
        older.add_request(int(time.time() // 60) - 90, "/predict", 200, 0.1)
        write(path, older)
        total = telemetry.metrics()["recent"]["total"]
    assert (total["per_second"], total["latency_ms"]["p50"], total["availability"]) == (0.0, None, None)


def test_throughput_is_requests_over_the_time_that_was_covered(path: Path) -> None:
    with opened(path) as telemetry:
        for _ in range(50):
            telemetry.request("/predict", 200, 0.1)
        telemetry.flush()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE meta SET value = value - 1000 WHERE name = 'since'")
        metrics = telemetry.metrics()
    assert 1000 <= metrics["overall"]["seconds"] < 1100
    assert metrics["recent"]["total"]["per_second"] == pytest.approx(50 / metrics["recent"]["seconds"], rel=0.01)


def test_an_unknown_route_is_counted_without_its_path(path: Path) -> None:
    with opened(path, routes={"/predict"}) as telemetry:
        telemetry.request("/scan/DOE_JOHN", 404, 0.01)
        telemetry.flush()
        said = f"{telemetry.metrics()}{telemetry.prometheus()}{telemetry.drift_report(None)}"
        assert telemetry.metrics()["overall"]["routes"]["other"]["statuses"] == {"404": 1}
        kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert "DOE_JOHN" not in said
    assert b"DOE_JOHN" not in kept


# ---------------------------------------------------------------------- counting
def test_counts_do_not_saturate_and_survive_a_restart(path: Path) -> None:
    """TRAPS 17: counters stopped at a thousand and were lost at a restart."""
    with opened(path) as telemetry:
        for _ in range(2500):
            telemetry.request("/predict", 200, 0.01)
            telemetry.prediction(SEEN)
        since = telemetry.metrics()["since"]
    with opened(path) as telemetry:
        telemetry.request("/predict", 200, 0.01)
        metrics = telemetry.metrics()
    assert metrics["overall"]["total"]["requests"] == 2501
    assert metrics["predictions"]["number"] == 2500
    assert metrics["since"] == since


def test_threads_lose_no_count(path: Path) -> None:
    with opened(path) as telemetry:

        def work() -> None:
            for _ in range(1000):
                telemetry.request("/predict", 200, 0.01)
                telemetry.prediction(SEEN)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        metrics = telemetry.metrics()
    assert (metrics["overall"]["total"]["requests"], metrics["predictions"]["number"]) == (8000, 8000)


def test_the_window_holds_the_latest_predictions_of_all_workers(path: Path) -> None:
    with opened(path, window=50) as one, opened(path, window=50) as two:
        for i in range(120):
            worker = one if i % 2 else two
            worker.prediction(Observation("Normal", 0.9, float(i), 50.0, 1.2, ("crop",)))
            assert worker.flush()
    with opened(path, window=50) as later:
        window = later.drift_report(None)["window"]
        assert later.metrics()["predictions"] == {"number": 120, "labels": {"Normal": 120}, "warnings": {"crop": 120}}
    assert window["number"] == window["size"] == 50
    assert window["features"]["mean"]["mean"] == pytest.approx(np.mean(range(70, 120)))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM observations").fetchone()[0] <= 100


def test_the_window_of_a_model_holds_its_own_predictions_alone(path: Path) -> None:
    with opened(path, model=model("old")) as telemetry:
        telemetry.prediction(Observation("Normal", 0.9, 10.0, 50.0, 1.2))
    with opened(path, model=model("new")) as telemetry:
        telemetry.prediction(Observation("Normal", 0.9, 20.0, 50.0, 1.2))
        window = telemetry.drift_report(None)["window"]
    assert (window["number"], window["features"]["mean"]["mean"]) == (1, 20.0)


def test_a_number_that_is_none_stops_nothing(path: Path) -> None:
    with opened(path) as telemetry:
        telemetry.prediction(Observation("Normal", 0.9, float("nan"), 50.0, 1.2))
        telemetry.prediction(SEEN)
        assert telemetry.flush()
        metrics = telemetry.metrics()
    assert (metrics["predictions"]["number"], metrics["lost_events"]) == (1, 1)


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    with opened(path) as telemetry:
        telemetry.request("/predict", 200, 0.01)
        telemetry.flush()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert {"telemetry.sqlite", "telemetry.sqlite-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# ---------------------------------------------------------------------- a file that fails
def test_a_file_that_cannot_be_written_costs_no_count(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.write_text("in the way of the folder")
    with opened(path) as telemetry:
        for _ in range(30):
            telemetry.request("/predict", 200, 0.01)
            telemetry.prediction(SEEN)
            assert not telemetry.flush()
        metrics = telemetry.metrics()
        assert (metrics["all_workers"], metrics["overall"]["total"]["requests"]) == (False, 30)
        assert "cxr_telemetry_up 0.0" in telemetry.prometheus()
        assert not telemetry.healthy
        path.parent.unlink()
        assert telemetry.flush()
        assert telemetry.healthy
        assert telemetry.metrics()["all_workers"]
    with opened(path) as later:
        metrics = later.metrics()
        assert (metrics["overall"]["total"]["requests"], metrics["predictions"]["number"]) == (30, 30)
        assert later.drift_report(None)["window"]["number"] == 30
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1  # and not thirty


def test_an_idle_worker_finds_that_its_file_works_again(path: Path) -> None:
    path.parent.write_text("in the way of the folder")
    with opened(path) as telemetry:
        assert not telemetry.metrics()["all_workers"]
        assert not telemetry.healthy
        path.parent.unlink()
        deadline = time.monotonic() + 60
        while not telemetry.healthy and time.monotonic() < deadline:
            time.sleep(0.05)
        assert telemetry.healthy


def test_a_locked_file_costs_no_count(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_store, "_BUSY_SECONDS", 0.05)
    with opened(path) as telemetry:
        assert telemetry.metrics()["all_workers"]
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            telemetry.request("/predict", 200, 0.01)
            assert not telemetry.flush()
            assert counted(telemetry) == 1
            other.execute("ROLLBACK")
        assert telemetry.flush()
        assert counted(telemetry) == 1


def test_memory_is_bounded_and_what_is_lost_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_counts, "_MOST_KEYS", 100)
    path.parent.write_text("in the way of the folder")
    with opened(path, window=20) as telemetry:
        for i in range(500):
            telemetry.request(f"/route/{i}", 200, 0.01)
            telemetry.prediction(SEEN)
        assert len(telemetry._pending.requests) + len(telemetry._pending.minutes) <= 102
        assert len(telemetry._pending.observations) == 20
        metrics = telemetry.metrics()
        path.parent.unlink()
        assert telemetry.flush()
        assert metrics["lost_events"] + metrics["overall"]["total"]["requests"] == 500
        assert telemetry.metrics()["lost_events"] == metrics["lost_events"] > 0


@pytest.mark.parametrize("pattern", ["telemetry.sqlite", "telemetry.sqlite*", "*"])
def test_a_deleted_file_is_made_anew_and_all_workers_find_it(path: Path, pattern: str) -> None:
    with opened(path) as one, opened(path) as two:
        for worker in (one, two):
            for _ in range(200):
                worker.request("/predict", 200, 0.01)
            assert worker.flush()
        assert counted(one) == 400
        for file in path.parent.glob(pattern):
            file.unlink()
        for _ in range(20):
            for worker in (one, two):
                worker.request("/predict", 200, 0.01)
                assert worker.flush()
        assert counted(one) == counted(two) == 40
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with opened(path) as later:
        assert counted(later) == 40


def test_a_folder_that_was_moved_away_is_made_anew(path: Path) -> None:
    with opened(path) as telemetry:
        telemetry.request("/predict", 200, 0.01)
        telemetry.flush()
        path.parent.rename(path.parent.with_name("elsewhere"))
        telemetry.request("/predict", 200, 0.01)
        assert telemetry.flush()
        assert counted(telemetry) == 1


@pytest.mark.parametrize("under_way", [False, True])
def test_a_damaged_file_is_put_aside(path: Path, under_way: bool) -> None:
    path.parent.mkdir()
    if not under_way:
        path.write_bytes(b"no database" * 1000)
    with opened(path) as telemetry:
        if under_way:
            telemetry.request("/predict", 200, 0.01)
            telemetry.flush()
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with path.open("r+b") as stream:
                stream.write(b"no database" * 500)
        for _ in range(3):  # one finds it, the next makes another
            telemetry.request("/predict", 200, 0.01)
            telemetry.flush()
        assert telemetry.healthy
        assert counted(telemetry) >= 3
    assert path.with_name("telemetry.sqlite.damaged").exists()


def test_a_file_of_another_version_is_left_alone(path: Path) -> None:
    write(path, Tally(10))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with opened(path) as telemetry:
        telemetry.request("/predict", 200, 0.01)
        assert not telemetry.flush()
        assert counted(telemetry) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
        assert connection.execute("SELECT COUNT(*) FROM requests").fetchone() == (0,)


# ---------------------------------------------------------------------- real processes
def start(path: Path, number: int, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(path), str(number), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_add_up(path: Path) -> None:
    workers = [start(path, 3000, "close") for _ in range(2)]
    assert [worker.communicate(timeout=120)[1] for worker in workers] == ["", ""]
    with opened(path) as telemetry:
        metrics = telemetry.metrics()
    assert metrics["overall"]["total"]["statuses"] == {"200": 4500, "500": 1500}
    assert metrics["predictions"] == {"number": 6000, "labels": {"Normal": 6000}, "warnings": {"crop": 3000}}
    assert metrics["lost_events"] == 0


def test_a_killed_worker_loses_nothing_that_was_flushed_and_hurts_no_other(path: Path) -> None:
    worker = start(path, 500, "hang")
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "counted\n"
        with opened(path) as telemetry:
            deadline = time.monotonic() + 60
            while counted(telemetry) < 500 and time.monotonic() < deadline:  # its thread writes without being asked
                time.sleep(0.05)
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait(timeout=30)
            telemetry.request("/predict", 200, 0.01)
            assert telemetry.flush()
            assert counted(telemetry) == 501
    finally:
        worker.kill()
        worker.communicate(timeout=30)
    with opened(path) as later:
        assert (counted(later), later.drift_report(None)["window"]["number"]) == (501, 500)


def test_a_worker_killed_amid_its_writes_leaves_a_sound_file(path: Path) -> None:
    for _ in range(3):
        worker = start(path, 1_000_000, "close")
        store = TelemetryStore(path, 1000, 60, "")
        deadline = time.monotonic() + 60
        before = after = sum(number for number, _ in store.read().tally.requests.values())
        while after == before and time.monotonic() < deadline:
            after = sum(number for number, _ in store.read().tally.requests.values())
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate(timeout=30)
        tally = store.read().tally
        store.close()
        requests = sum(number for number, _ in tally.requests.values())
        assert requests >= after > before
        # the worker counts a request, then a prediction: a flush may come between the two
        assert requests - 1 <= tally.labels.total() <= requests
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_workers_go_on_when_the_file_is_deleted_under_their_writes(path: Path) -> None:
    workers = [start(path, 1_000_000, "close") for _ in range(2)]
    try:
        for _ in range(4):
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.2)  # into the midst of their writes
            path.unlink()
        with opened(path) as telemetry:
            deadline = time.monotonic() + 60
            before = counted(telemetry)
            while counted(telemetry) == before and time.monotonic() < deadline:
                time.sleep(0.05)
            assert counted(telemetry) > before
        assert [worker.poll() for worker in workers] == [None, None]
    finally:
        for worker in workers:
            worker.kill()
        said = [worker.communicate(timeout=30)[1] for worker in workers]
    assert said == ["", ""]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
