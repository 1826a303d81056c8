"""Pruning removes what is past its retention, keeps the proof, and hides nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from audit_trails import FAST, anchor_of, attack, check, copy, event, fill, found, raw_rows

from bentoml_service import audit_prune
from bentoml_service.audit_anchors import read_anchor
from bentoml_service.audit_chain import Anchor, hash_row
from bentoml_service.audit_log import AuditTrail
from bentoml_service.audit_prune import prune
from bentoml_service.audit_reading import exported
from bentoml_service.audit_store import AuditStore
from bentoml_service.secret_keys import Secrets, load_secrets, rotate_secret
from cxr_core.errors import CxrError

DAYS = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/audit.sqlite"


def prune_until(path: Path, secrets: Secrets, moment: datetime) -> int:
    """Prune as if the rows before ``moment`` were just past their retention."""
    store = AuditStore(path, secrets.cipher, secrets.audit, durable=False, seen=None)
    try:
        return prune(store, secrets.audit, DAYS, moment + timedelta(days=DAYS))
    finally:
        store.close()


def anchored(path: Path, secrets: Secrets) -> Anchor:
    file = path.with_name("anchor.json")
    file.write_bytes(anchor_of(path, secrets))
    anchor = read_anchor(file, secrets.audit)
    assert anchor is not None
    return anchor


def filled(path: Path, secrets: Secrets, old: int = 20, young: int = 10) -> datetime:
    """A trail of old and young rows, and the moment between them."""
    fill(path, secrets, old)
    moment = datetime.now(UTC)
    fill(path, secrets, young, first=old)
    return moment


def test_old_rows_go_and_the_rest_still_verifies(path: Path, secrets: Secrets) -> None:
    moment = filled(path, secrets)
    assert prune_until(path, secrets, moment) == 20
    report = check(path, secrets)
    assert (found(report), report.rows, report.pruned) == ([], 11, 20)
    assert [row[0] for row in raw_rows(path)] == list(range(21, 32))
    assert fill(path, secrets, 1) == [32]


def test_a_pruning_leaves_a_row_that_says_what_went(path: Path, secrets: Secrets) -> None:
    moment = filled(path, secrets)
    cut_hash = list(raw_rows(path))[19][3].hex()
    prune_until(path, secrets, moment)
    last = list(exported(path, secrets.audit, secrets.cipher, None, None))[-1]
    assert (last["sequence"], last["route"], last["code"]) == (31, "cxr audit prune", "pruned")
    assert last["detail"] == {"first": 1, "last": 20, "count": 20, "hash": cut_hash, "days": DAYS}


def test_nothing_is_left_of_the_rows_in_the_files(path: Path, secrets: Secrets) -> None:
    moment = filled(path, secrets)
    sealed = [row[2] for row in raw_rows(path)]
    prune_until(path, secrets, moment)
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert not any(one in content for one in sealed[:20])
    assert all(one in content for one in sealed[20:])


def test_young_rows_stay(path: Path, secrets: Secrets) -> None:
    filled(path, secrets)
    before = path.read_bytes()
    assert prune_until(path, secrets, datetime.now(UTC) - timedelta(hours=1)) == 0
    assert path.read_bytes() == before


def test_a_trail_can_be_pruned_again_and_as_a_whole(path: Path, secrets: Secrets) -> None:
    for number in range(3):
        fill(path, secrets, 5)
        assert prune_until(path, secrets, datetime.now(UTC)) == 5 + bool(number)
    report = check(path, secrets)
    assert (found(report), report.rows, report.pruned) == ([], 1, 17)


def test_a_long_past_goes_in_several_transactions(
    path: Path, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = filled(path, secrets)
    monkeypatch.setattr(audit_prune, "_ROWS_AT_ONCE", 7)
    assert prune_until(path, secrets, moment) == 20
    report = check(path, secrets)
    assert (found(report), report.rows, report.pruned) == ([], 13, 20)  # 7 + 7 + 6: three rows say so


def test_rows_are_pruned_beside_the_running_service(path: Path, secrets: Secrets) -> None:
    trail = AuditTrail(path, secrets, FAST)
    trail.open()
    try:
        asyncio.run(trail.record(event()))
        sealed = next(raw_rows(path))[2]
        assert any(sealed in file.read_bytes() for file in path.parent.iterdir())
        assert prune_until(path, secrets, datetime.now(UTC)) == 1
        assert not any(sealed in file.read_bytes() for file in path.parent.iterdir())  # nor in the write-ahead log
        assert asyncio.run(trail.record(event())) == 3  # the row that it wrote before is gone, with proof
        assert trail.healthy
    finally:
        trail.close()
    assert found(check(path, secrets)) == []


def test_a_deletion_that_was_no_pruning_is_still_found(path: Path, secrets: Secrets) -> None:
    prune_until(path, secrets, filled(path, secrets))
    attack(path, lambda db: db.execute("DELETE FROM entries WHERE sequence IN (21, 22, 25)"))
    assert found(check(path, secrets)) == [("missing", 21, 22), ("missing", 25, 25)]


def test_a_proof_that_was_deleted_or_stretched_is_found(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    prune_until(path, secrets, filled(path, secrets))
    deleted = copy(path, tmp_path / "deleted.sqlite")
    attack(deleted, lambda db: db.execute("DELETE FROM cuts"))
    assert found(check(deleted, secrets)) == [("missing", 1, 20)]

    def stretch(db: sqlite3.Connection) -> None:
        db.execute("UPDATE cuts SET last = 25, text = replace(text, '\"last\": 20', '\"last\": 25')")
        db.execute("DELETE FROM entries WHERE sequence <= 25")

    attack(path, stretch)
    assert found(check(path, secrets)) == [("cut", None, None), ("missing", 1, 25)]


def test_a_proof_of_another_trail_or_in_another_place_is_none(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    prune_until(path, secrets, filled(path, secrets))
    moved = copy(path, tmp_path / "moved.sqlite")
    attack(moved, lambda db: db.execute("UPDATE cuts SET last = 19"))
    assert found(check(moved, secrets)) == [("cut", None, None), ("missing", 1, 20)]
    other = tmp_path / "other/audit.sqlite"
    prune_until(other, secrets, filled(other, secrets))
    with closing(sqlite3.connect(other)) as connection:
        foreign = connection.execute("SELECT * FROM cuts").fetchone()
    attack(path, lambda db: db.execute("REPLACE INTO cuts VALUES (?, ?, ?, ?)", foreign))
    assert found(check(path, secrets)) == [("cut", None, None), ("missing", 1, 20)]


def test_a_pruning_hides_no_chain_that_was_made_anew(path: Path, secrets: Secrets) -> None:
    moment = filled(path, secrets)
    trail = anchored(path, secrets).trail
    rows = list(raw_rows(path))

    def chain_anew(db: sqlite3.Connection) -> None:
        before = rows[3][3]
        for sequence, time, sealed, *_ in rows[4:-1]:
            before = hash_row(trail, before, sequence, time, bytes(sealed[::-1]))
            db.execute("UPDATE entries SET sealed = ?, hash = ? WHERE sequence = ?", (sealed[::-1], before, sequence))

    attack(path, chain_anew)
    with pytest.raises(CxrError, match="Row 5 of the audit trail is not as it was written"):
        prune_until(path, secrets, moment)
    assert found(check(path, secrets)) == [("altered", 5, 29)]


def test_rows_that_were_pruned_and_put_back_are_found(path: Path, secrets: Secrets) -> None:
    moment = filled(path, secrets)
    old = list(raw_rows(path))[:20]
    prune_until(path, secrets, moment)
    attack(path, lambda db: db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", old))
    assert found(check(path, secrets)) == [("inserted", 1, 20)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET sealed = zeroblob(9) WHERE sequence = 5",
        "DELETE FROM entries WHERE sequence = 5",
        "UPDATE entries SET time = 0 WHERE sequence = 25",
    ],
)
def test_a_pruning_hides_no_attack(path: Path, secrets: Secrets, statement: str) -> None:
    moment = filled(path, secrets)
    attack(path, lambda db: db.execute(statement))
    before = found(check(path, secrets))
    assert len(before) == 1
    if "25" not in statement:  # the pruning does not reach row 25
        with pytest.raises(CxrError, match="Row 5 of the audit trail is not as it was written"):
            prune_until(path, secrets, moment)
        assert len(list(raw_rows(path))) >= 29
    else:
        assert prune_until(path, secrets, moment) == 20
    assert found(check(path, secrets)) == before


def test_a_pruning_that_is_interrupted_leaves_a_whole_trail(
    path: Path, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = filled(path, secrets)
    monkeypatch.setattr(audit_prune, "_ROWS_AT_ONCE", 7)
    real, calls = AuditStore.extend, []

    def fails(self: AuditStore, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(AuditStore, "extend", fails)
    with pytest.raises(KeyboardInterrupt):
        prune_until(path, secrets, moment)
    report = check(path, secrets)
    assert (found(report), report.rows, report.pruned) == ([], 24, 7)
    assert prune_until(path, secrets, moment) == 13
    assert found(check(path, secrets)) == []


def test_anchors_older_than_the_cut_are_checked_where_the_trail_kept_them(path: Path, secrets: Secrets) -> None:
    fill(path, secrets, 10)
    kept = anchored(path, secrets)
    fill(path, secrets, 5)
    at_the_cut = anchored(path, secrets)
    attack(path, lambda db: db.execute("DELETE FROM anchors WHERE sequence = 15"))
    moment = datetime.now(UTC)
    fill(path, secrets, 5)
    after = anchored(path, secrets)
    assert prune_until(path, secrets, moment) == 15
    report = check(path, secrets, kept=kept, at_the_cut=at_the_cut, after=after)
    assert (found(report), report.notes) == ([], ())
    attack(path, lambda db: db.execute("DELETE FROM anchors"))
    report = check(path, secrets, kept=kept, at_the_cut=at_the_cut, after=after)
    assert found(report) == []
    assert report.notes == ("kept: row 10 was pruned, and the trail kept no copy of this anchor.",)


def test_an_older_copy_that_was_continued_and_pruned_is_found(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    fill(path, secrets, 10)
    other = copy(path, tmp_path / "other/audit.sqlite")
    fill(path, secrets, 5)
    anchor = anchored(path, secrets)
    fill(other, secrets, 5, first=1000)
    prune_until(other, secrets, datetime.now(UTC))
    fill(other, secrets, 5)
    assert found(check(other, secrets)) == []
    assert found(check(other, secrets, anchor=anchor)) == [("rewritten", 1, 15)]  # against the hash at the cut


def test_an_anchored_row_that_was_rewritten_by_a_key_holder_is_not_pruned(
    path: Path, secrets: Secrets, tmp_path: Path
) -> None:
    """The trail's own anchors are compared before their rows go."""
    fill(path, secrets, 10)
    other = copy(path, tmp_path / "other/audit.sqlite")
    fill(path, secrets, 5)
    anchored(path, secrets)
    fill(other, secrets, 20, first=1000)
    rows = list(raw_rows(other))
    with closing(sqlite3.connect(other)) as connection:
        head = connection.execute("SELECT text, mac FROM head").fetchone()

    def splice(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entries")
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
        db.execute("UPDATE head SET text = ?, mac = ?", head)

    attack(path, splice)
    with pytest.raises(CxrError, match="Row 15 of the audit trail"):
        prune_until(path, secrets, datetime.now(UTC))


def test_a_pruned_trail_verifies_after_rotations(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    moment = filled(path, secrets)
    prune_until(path, secrets, moment)
    rotate_secret(tmp_path / "secrets.json", "audit")
    fill(path, load_secrets(), 5)
    prune_until(path, load_secrets(), datetime.now(UTC))
    report = check(path, load_secrets())
    assert (found(report), report.rows) == ([], 1)
