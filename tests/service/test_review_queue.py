"""The review queue keeps what a reader has to see, loses no decision, and shows nothing to who has no key."""

from __future__ import annotations

import logging
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from review_parts import CANARY, LABELS, MODEL, age, digest_of, new_case, open_queue, stored

from bentoml_service.encryption import CannotOpen
from bentoml_service.problems import RequestError
from bentoml_service.review import queue as queue_module
from cxr_core.errors import CxrError


def test_a_case_comes_back_as_it_was_put_in(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    given = new_case()
    case_id = queue.add(given)
    assert case_id is not None
    case = queue.case(case_id)
    assert uuid.UUID(case_id).version == 4
    for name in ("content_digest", "model_digest", "reasons", "prediction", "confidence", "warnings", "request_id"):
        assert getattr(case, name) == getattr(given, name)
    assert list(case.probabilities.items()) == list(given.probabilities.items())
    assert (case.state, case.decision, case.decisions) == ("open", None, 0)
    assert (queue.film(case_id), queue.frame(case_id)) == (given.film, given.frame)


def test_the_same_film_and_model_is_one_case_and_another_model_is_another(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    first = queue.add(new_case(1))
    assert first is not None
    assert queue.add(new_case(1, prediction="Normal")) == first
    queue.decide(first, "accept", None, "", "anna")
    assert queue.add(new_case(1)) == first  # and it stays decided
    assert queue.known(digest_of(1), MODEL) == first
    assert queue.known(digest_of(1), "b" * 64) is None
    assert queue.add(new_case(1, model="b" * 64)) not in (first, None)
    assert (queue.counts()["open"], queue.counts()["decided"]) == (1, 1)


def test_pages_go_through_every_case_once_and_the_oldest_comes_first(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    added = [queue.add(new_case(number)) for number in range(7)]
    seen: list[str] = []
    for _ in range(4):
        seen += [case.id for case in queue.cases(limit=3, after=seen[-1] if seen else None)]
        if len(seen) == 3:
            queue.decide(seen[0], "accept", None, "", "anna")  # deciding in between skips nothing
    assert seen == added
    assert [case.id for case in queue.cases("decided")] == seen[:1]
    with pytest.raises(RequestError) as refused:
        queue.cases(after=str(uuid.uuid4()))
    assert (refused.value.status, refused.value.code) == (404, "unknown_case")


def test_a_later_decision_replaces_the_earlier_one_and_both_are_kept(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    case_id = queue.add(new_case())
    assert case_id is not None
    accepted = queue.decide(case_id, "accept", None, "", "anna")
    assert accepted.state == "decided"
    assert accepted.decision is not None
    assert (accepted.decision.action, accepted.decision.label) == ("accept", "Pneumonia")
    corrected = queue.decide(case_id, "correct", "Normal", "clear lungs", "boris")
    assert corrected.decision is not None
    assert (corrected.decision.label, corrected.decision.comment, corrected.decision.reviewer) == (
        "Normal",
        "clear lungs",
        "boris",
    )
    assert corrected.decisions == 2
    assert [decision.reviewer for decision in queue.history(case_id)] == ["anna", "boris"]
    assert corrected.decision.decided >= corrected.created


@pytest.mark.parametrize("label", ["Covid", "", "normal", None])
def test_only_a_label_of_the_model_can_be_given(tmp_path: Path, label: str | None) -> None:
    queue = open_queue(tmp_path)
    case_id = queue.add(new_case())
    assert case_id is not None
    with pytest.raises(RequestError) as refused:
        queue.decide(case_id, "correct", label, "", "anna")
    assert (refused.value.status, refused.value.code) == (422, "unknown_label")
    assert queue.case(case_id).state == "open"


def test_an_unknown_case_is_said_to_be_unknown(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    nobody = str(uuid.uuid4())
    for call in (queue.case, queue.film, queue.frame, lambda i: queue.decide(i, "accept", None, "", "anna")):
        with pytest.raises(RequestError) as refused:
            call(nobody)
        assert (refused.value.status, refused.value.code) == (404, "unknown_case")


def test_a_full_queue_gives_up_decided_cases_and_never_an_open_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = open_queue(tmp_path, max_cases=3)
    first, second, third = (queue.add(new_case(number)) for number in range(3))
    assert first is not None
    assert second is not None
    queue.decide(second, "correct", "Normal", CANARY, "anna")
    fourth = queue.add(new_case(3))
    assert [case.id for case in queue.cases()] == [first, third, fourth]
    with caplog.at_level(logging.WARNING):
        assert queue.add(new_case(4)) is None
        assert queue.add(new_case(5)) is None
    assert [case.id for case in queue.cases()] == [first, third, fourth]
    counts = queue.counts()
    assert (counts["open"], counts["removed_decided"], counts["refused_full"]) == (3, 1, 2)
    assert "2 films refused so far" in caplog.text
    assert queue.add(new_case(0)) == first  # a film that has its place is not refused
    assert [(one.label, one.content_digest) for one in queue.corrections()] == [("Normal", digest_of(1))]
    assert [decision.comment for decision in queue.history(second)] == [""]


def test_the_retention_removes_films_and_comments_and_keeps_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = open_queue(tmp_path, retention_days=90)
    unread, decided, young = (queue.add(new_case(number)) for number in range(3))
    assert unread is not None
    assert decided is not None
    assert young is not None
    queue.decide(decided, "correct", "Normal", CANARY, "anna")
    age(tmp_path, unread, 91)
    age(tmp_path, decided, 91)
    age(tmp_path, young, 89)
    with caplog.at_level(logging.WARNING):
        assert queue.prune() == {"expired_decided": 1, "expired_unread": 1}
    assert "1 cases of the review queue expired before a reader decided" in caplog.text
    assert [case.id for case in queue.cases()] == [young]
    with pytest.raises(RequestError):
        queue.film(decided)
    assert [(one.label, one.reviewer) for one in queue.corrections()] == [("Normal", "anna")]
    assert [decision.comment for decision in queue.history(decided)] == [""]
    assert queue.counts() == {
        "open": 1,
        "decided": 0,
        "refused_full": 0,
        "removed_decided": 0,
        "expired_decided": 1,
        "expired_unread": 1,
    }


def test_more_cases_than_one_transaction_holds_expire_at_once(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    for number in range(120):
        case_id = queue.add(new_case(number, film=b"film", frame=b"frame"))
        assert case_id is not None
        age(tmp_path, case_id, 91)
    assert queue.prune()["expired_unread"] == 120
    assert queue.cases() == []


def test_a_starting_service_removes_what_expired_while_it_was_away(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    case_id = queue.add(new_case())
    assert case_id is not None
    queue.close()
    age(tmp_path, case_id, 91)
    assert open_queue(tmp_path).counts()["expired_unread"] == 1


def test_a_case_expires_while_nobody_asks_for_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_PRUNE_SECONDS", 0.05)
    queue = open_queue(tmp_path)
    case_id = queue.add(new_case())
    assert case_id is not None
    age(tmp_path, case_id, 91)
    deadline = time.monotonic() + 30
    while queue.counts()["open"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert queue.counts()["expired_unread"] == 1
    queue.close()


def test_the_label_of_a_content_is_that_of_the_latest_decision_about_it(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    old, new = queue.add(new_case(1)), queue.add(new_case(1, model="b" * 64))
    other = queue.add(new_case(0))
    assert old is not None
    assert new is not None
    assert other is not None
    assert queue.corrections() == []
    queue.decide(new, "correct", "Normal", "", "anna")
    queue.decide(old, "correct", "Tuberculosis", "", "boris")
    queue.decide(other, "accept", None, "", "anna")
    found = queue.corrections()
    assert [one.content_digest for one in found] == sorted([digest_of(0), digest_of(1)])
    by_digest = {one.content_digest: one for one in found}
    assert (by_digest[digest_of(1)].label, by_digest[digest_of(1)].model_digest) == ("Tuberculosis", MODEL)
    assert (by_digest[digest_of(0)].label, by_digest[digest_of(0)].action) == ("Pneumonia", "accept")


# ------------------------------------------------------------------ secrecy
def test_nothing_on_disk_can_be_read_without_the_key(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    case = new_case(7, request_id=CANARY)
    case_id = queue.add(case)
    assert case_id is not None
    queue.decide(case_id, "correct", "Normal", f"{CANARY}: no infiltrate", "reader-anna")
    kept = stored(tmp_path)
    assert case.content_digest.encode() in kept  # the search sees what is there
    for secret in (CANARY.encode(), b"infiltrate", b"reader-anna", b"low_confidence", b"Pneumonia", b"Normal"):
        assert secret not in kept
    assert b"\x89PNG\r\n\x1a\n" not in kept
    assert case.film[40:72] not in kept
    assert CANARY not in repr(queue.case(case_id).decision)
    assert stat.S_IMODE((tmp_path / "review.sqlite").stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    open_queue(tmp_path / "service")
    assert stat.S_IMODE((tmp_path / "service").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cases SET content_digest = (SELECT content_digest FROM other)",
        "UPDATE cases SET model_digest = 'b'",
        "UPDATE cases SET id = 'c'",
        "UPDATE cases SET record = frame, frame = record",
        "UPDATE cases SET record = (SELECT record FROM other)",
        "UPDATE decisions SET content_digest = 'd'",
        "UPDATE decisions SET record = zeroblob(80)",
    ],
)
def test_what_is_moved_or_edited_in_the_file_does_not_open(tmp_path: Path, change: str) -> None:
    queue = open_queue(tmp_path)
    first, second = queue.add(new_case(1)), queue.add(new_case(2))
    assert first is not None
    assert second is not None
    queue.decide(first, "correct", "Normal", "", "anna")
    connection = sqlite3.connect(tmp_path / "review.sqlite")
    connection.execute("CREATE TABLE other AS SELECT * FROM cases WHERE id = ?", (second,))
    connection.execute("DELETE FROM cases WHERE id = ?", (second,))
    connection.execute(change)
    connection.commit()
    connection.close()

    def read_all() -> None:
        queue.corrections()
        for case in queue.cases("decided"):
            queue.case(case.id)

    with pytest.raises(CannotOpen):
        read_all()


def test_after_resealing_the_old_key_is_not_needed_any_more(tmp_path: Path) -> None:
    before = open_queue(tmp_path, "old")
    case_id = before.add(new_case())
    assert case_id is not None
    before.decide(case_id, "correct", "Normal", "clear", "anna")
    before.close()
    both = open_queue(tmp_path, "new", "old")
    later = both.add(new_case(1))
    assert later is not None
    assert both.film(case_id) == new_case().film
    assert both.reseal() == 3
    both.close()
    alone = open_queue(tmp_path, "new")
    assert alone.case(case_id).decision is not None
    assert (alone.film(case_id), alone.frame(later)) == (new_case().film, new_case(1).frame)
    assert [one.label for one in alone.corrections()] == ["Normal"]
    alone.close()
    with pytest.raises(CxrError, match="The encryption key new is not among the secrets"):
        open_queue(tmp_path, "old").case(case_id)


# ------------------------------------------------------------------ several processes
_WRITER = """
import sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from review_parts import new_case, open_queue
queue = open_queue(Path(sys.argv[2]))
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    case = queue.add(new_case(number, film=b"f" * 20_000))
    if number % 3 == 0:
        queue.decide(case, "correct", "Normal", "", "process")
    print(number, case, flush=True)
"""


def writer(folder: Path, start: int, end: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(Path(__file__).parent), str(folder), str(start), str(end)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_are_killed_lose_nothing_that_was_confirmed(tmp_path: Path) -> None:
    """Both write the numbers 0-19 at first, so the same films meet; then each its own, until it is killed."""
    processes = [writer(tmp_path, 0, 100_000), writer(tmp_path, 0, 100_000)]
    confirmed: list[dict[int, str]] = []
    for process in processes:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(40)]
        os.kill(process.pid, signal.SIGKILL)
        lines += [line.split() for line in process.stdout.read().splitlines() if re.fullmatch(r"\d+ \S{36}", line)]
        process.wait(30)
        process.stdout.close()
        confirmed.append({int(number): case for number, case in lines})
    queue = open_queue(tmp_path)
    for number, case_id in {**confirmed[0], **confirmed[1]}.items():
        case = queue.case(case_id)
        assert case.content_digest == digest_of(number)
        assert case.decisions >= (1 if number % 3 == 0 else 0)
        assert queue.film(case_id) == b"f" * 20_000
    both = confirmed[0].keys() & confirmed[1].keys()
    assert len(both) >= 40
    assert all(confirmed[0][number] == confirmed[1][number] for number in both)


def test_threads_share_one_queue(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)

    def work(number: int) -> Any:
        case_id = queue.add(new_case(number % 20))
        assert case_id is not None
        return queue.decide(case_id, "correct", LABELS[number % 3], "", f"reader{number}").id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(work, range(60)))
    assert len(set(ids)) == 20
    assert sum(queue.case(case_id).decisions for case_id in set(ids)) == 60


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "review.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(CxrError, match=r"review\.sqlite cannot be used \(SQLITE_NOTADB\)"):
        open_queue(tmp_path)


def test_the_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    open_queue(tmp_path).close()
    with sqlite3.connect(tmp_path / "review.sqlite") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(CxrError, match="another version of this service"):
        open_queue(tmp_path)


def test_workers_that_start_at_once_share_a_new_file(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from bentoml_service.review.store import ReviewStore\n"
        "Path(sys.argv[2]).touch()\n"
        "while not Path(sys.argv[3]).exists(): time.sleep(.001)\n"
        "ReviewStore(Path(sys.argv[1])).close()"
    )
    ready, go = [tmp_path / f"ready{number}" for number in range(4)], tmp_path / "go"
    command = [sys.executable, "-c", script, str(tmp_path / "review.sqlite")]
    started = [subprocess.Popen([*command, str(mark), str(go)]) for mark in ready]
    deadline = time.monotonic() + 60
    while not all(mark.exists() for mark in ready) and time.monotonic() < deadline:
        time.sleep(0.01)
    go.touch()
    assert [process.wait(60) for process in started] == [0] * 4
