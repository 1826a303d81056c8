"""Several processes write one chain, and none that is killed takes an acknowledged row with it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from audit_trails import check, fill, found

from bentoml_service.audit_reading import exported
from bentoml_service.secret_keys import Secrets

WRITER = Path(__file__).with_name("audit_writer.py")
WRITERS = 3


@contextmanager
def writer(
    path: Path, name: str, output: Path, rows: int = 0, tasks: int = 8, fsync: str = "off", start: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    given = [str(path), name, str(rows), str(tasks), fsync]
    if start is not None:
        given += [str(output.with_suffix(".ready")), str(start)]
    with output.open("wb") as stream:
        process = subprocess.Popen([sys.executable, str(WRITER), *given], stdout=stream)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def acknowledged(output: Path) -> dict[int, str]:
    """Sequence number to request id of each whole line."""
    lines = output.read_text().split("\n")[:-1]
    return {int(sequence): name for sequence, name in (line.split() for line in lines)}


def written(path: Path, secrets: Secrets) -> dict[int, str]:
    return {row["sequence"]: row["request_id"] for row in exported(path, secrets.audit, secrets.cipher, None, None)}


@pytest.mark.parametrize("fsync", ["always", "off"])
def test_processes_that_start_and_write_at_once_make_one_chain(fsync: str, secrets: Secrets, tmp_path: Path) -> None:
    path, rows = tmp_path / "new/audit.sqlite", 3000
    outputs = [tmp_path / f"out{number}" for number in range(WRITERS)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(writer(path, f"w{number}", output, rows, fsync=fsync, start=tmp_path / "go"))
            for number, output in enumerate(outputs)
        ]
        deadline = time.monotonic() + 60
        while not all(output.with_suffix(".ready").exists() for output in outputs):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (tmp_path / "go").touch()
        assert [process.wait(60) for process in running] == [0] * WRITERS
    said = [acknowledged(output) for output in outputs]
    everything = {sequence: name for one in said for sequence, name in one.items()}
    assert len(everything) == sum(map(len, said)) == WRITERS * rows  # no number was given twice
    assert sorted(everything) == list(range(1, WRITERS * rows + 1))
    assert written(path, secrets) == everything
    assert found(check(path, secrets)) == []
    assert any(sorted(one) != list(range(min(one), min(one) + rows)) for one in said)  # they did write at once


@pytest.mark.slow
@pytest.mark.parametrize("fsync", ["always", "off"])
def test_processes_killed_in_the_midst_of_load_lose_no_acknowledged_row(
    fsync: str, secrets: Secrets, tmp_path: Path
) -> None:
    path, chance = tmp_path / "audit.sqlite", random.Random(3)
    promised: dict[int, str] = {}
    for round_number in range(4):
        outputs = [tmp_path / f"out{round_number}-{number}" for number in range(2)]
        with (
            writer(path, f"r{round_number}a", outputs[0], fsync=fsync) as one,
            writer(path, f"r{round_number}b", outputs[1], fsync=fsync) as other,
        ):
            wait_for_lines(outputs, 50)
            time.sleep(chance.uniform(0, 0.3))
            for process in (one, other):
                assert process.poll() is None
                os.kill(process.pid, signal.SIGKILL)
                time.sleep(chance.uniform(0, 0.05))
        for output in outputs:
            promised |= acknowledged(output)
        after = fill(path, secrets, 1, first=round_number)  # the trail goes on at once
        promised[after[0]] = f"request-{round_number}"
    assert len(promised) > 400
    rows = written(path, secrets)
    assert promised.items() <= rows.items()
    assert found(check(path, secrets)) == []


def wait_for_lines(outputs: list[Path], lines: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(output.read_bytes().count(b"\n") >= lines for output in outputs):
            return
        time.sleep(0.01)
    raise AssertionError("the writers do not write")


def test_a_process_killed_while_it_holds_the_lock_does_not_stop_the_others(secrets: Secrets, tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    fill(path, secrets, 3)
    holds = "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
    holds += (
        "db.execute('BEGIN IMMEDIATE'); db.execute('DELETE FROM entries'); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holds, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    process.kill()
    process.wait(30)
    process.stdout.close()
    assert fill(path, secrets, 2) == [4, 5]
    assert found(check(path, secrets)) == []
