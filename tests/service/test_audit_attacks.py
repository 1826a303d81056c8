"""What somebody without an audit key does to the trail's file is found, with the rows that it concerns (TRAPS 19)."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from audit_trails import anchor_of, attack, check, copy, fill, found, raw_rows

from bentoml_service.audit_anchors import read_anchor
from bentoml_service.audit_chain import Anchor, Head, hash_row
from bentoml_service.audit_end import read_head
from bentoml_service.secret_keys import Secrets, create_secrets, load_secrets, rotate_secret

ROWS = 30


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    path = tmp_path_factory.mktemp("secrets") / "secrets.json"
    create_secrets(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_SECRETS", str(path))
        return load_secrets()


@pytest.fixture(scope="module")
def whole(secrets: Secrets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trail") / "audit.sqlite"
    assert fill(path, secrets, ROWS) == list(range(1, ROWS + 1))
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return copy(whole, tmp_path / "audit.sqlite")


def head_of(path: Path, secrets: Secrets) -> Head:
    with closing(sqlite3.connect(path)) as connection:
        head = read_head(connection, secrets.audit)
    assert head is not None
    return head


def test_an_untouched_trail_passes(path: Path, secrets: Secrets) -> None:
    report = check(path, secrets)
    assert found(report) == []
    assert (report.rows, report.pruned, report.notes) == (ROWS, 0, ())
    assert report.head is not None
    assert report.head.sequence == ROWS


def flip(connection: sqlite3.Connection, column: str, sequence: int, at: int = 40) -> None:
    value = connection.execute(f"SELECT {column} FROM entries WHERE sequence = ?", (sequence,)).fetchone()[0]
    changed = bytearray(value)
    changed[at % len(changed)] ^= 1
    connection.execute(f"UPDATE entries SET {column} = ? WHERE sequence = ?", (bytes(changed), sequence))


def swap(connection: sqlite3.Connection, one: int, other: int) -> None:
    for old, new in ((one, -1), (other, one), (-1, other)):
        connection.execute("UPDATE entries SET sequence = ? WHERE sequence = ?", (new, old))


def make_room(connection: sqlite3.Connection, sequence: int) -> None:
    """Move every row from ``sequence`` on by one."""
    connection.execute("UPDATE entries SET sequence = -sequence - 1 WHERE sequence >= ?", (sequence,))
    connection.execute("UPDATE entries SET sequence = -sequence WHERE sequence < 0")


def insert_copy(connection: sqlite3.Connection, source: int, target: int) -> None:
    connection.execute(
        "INSERT INTO entries SELECT ?, time, sealed, hash, key_id, mark FROM entries WHERE sequence = ?",
        (target, source),
    )


def insert_between(connection: sqlite3.Connection) -> None:
    make_room(connection, 12)
    insert_copy(connection, 5, 12)


def close_gap(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM entries WHERE sequence = 12")
    connection.execute("UPDATE entries SET sequence = -sequence WHERE sequence > 12")
    connection.execute("UPDATE entries SET sequence = -sequence - 1 WHERE sequence < 0")


ATTACKS: dict[str, tuple[Callable[[sqlite3.Connection], object], list[tuple[str, int | None, int | None]]]] = {
    "sealed payload edited": (lambda db: flip(db, "sealed", 12), [("altered", 12, 12)]),
    "time edited": (
        lambda db: db.execute("UPDATE entries SET time = time - 1 WHERE sequence = 12"),
        [("altered", 12, 12)],
    ),
    "hash edited": (lambda db: flip(db, "hash", 12), [("altered", 12, 12)]),
    "mark edited": (lambda db: flip(db, "mark", 12), [("altered", 12, 12)]),
    "key named that is not here": (
        lambda db: db.execute("UPDATE entries SET key_id = 'other' WHERE sequence IN (12, 13)"),
        [("unknown_key", 12, 13)],
    ),
    "row deleted": (lambda db: db.execute("DELETE FROM entries WHERE sequence = 12"), [("missing", 12, 12)]),
    "rows deleted": (
        lambda db: db.execute("DELETE FROM entries WHERE sequence IN (1, 12, 13, 20)"),
        [("missing", 1, 1), ("missing", 12, 13), ("missing", 20, 20)],
    ),
    "row deleted and the gap closed": (close_gap, [("altered", 12, 29), ("missing", 30, 30)]),
    "row added": (lambda db: insert_copy(db, 30, 31), [("inserted", 31, 31)]),
    "row added before the first": (lambda db: insert_copy(db, 1, 0), [("inserted", 0, 0)]),
    "row inserted": (insert_between, [("altered", 12, 30), ("inserted", 31, 31)]),
    "row replaced by a copy of another": (
        lambda db: (db.execute("DELETE FROM entries WHERE sequence = 12"), insert_copy(db, 5, 12)),
        [("altered", 12, 12)],
    ),
    "neighbours swapped": (lambda db: swap(db, 12, 13), [("altered", 12, 13)]),
    "distant rows swapped": (lambda db: swap(db, 3, 30), [("altered", 3, 3), ("altered", 30, 30)]),
    "tail cut": (lambda db: db.execute("DELETE FROM entries WHERE sequence > 25"), [("missing", 26, 30)]),
    "all rows deleted": (lambda db: db.execute("DELETE FROM entries"), [("missing", 1, 30)]),
    "head deleted": (lambda db: db.execute("DELETE FROM head"), [("head", None, None)]),
    "values of other types": (
        lambda db: db.execute("UPDATE entries SET sealed = 'text', time = 1.5, mark = 7 WHERE sequence = 12"),
        [("altered", 12, 12)],
    ),
    "trigger added": (
        lambda db: db.execute("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END"),
        [("schema", None, None)],
    ),
    "proof of a pruning invented": (
        lambda db: (
            db.execute("DELETE FROM entries WHERE sequence <= 5"),
            db.execute("INSERT INTO cuts SELECT 5, text, key_id, mac FROM head"),
        ),
        [("cut", None, None), ("missing", 1, 5)],
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_found_with_its_rows(name: str, path: Path, secrets: Secrets) -> None:
    change, expected = ATTACKS[name]
    attack(path, change)
    assert found(check(path, secrets)) == expected


def test_a_cut_tail_is_found_though_the_head_was_set_back(path: Path, secrets: Secrets) -> None:
    head = head_of(path, secrets)
    hashes = {row[0]: row[3].hex() for row in raw_rows(path)}

    def cut(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entries WHERE sequence > 25")
        db.execute(
            "UPDATE head SET text = replace(replace(text, ?, ?), ?, ?)",
            (head.hash, hashes[25], '"sequence": 30', '"sequence": 25'),
        )

    attack(path, cut)
    assert [code for code, _, _ in found(check(path, secrets))] == ["head"]


def test_a_chain_made_anew_without_the_key_is_found_from_the_first_changed_row(path: Path, secrets: Secrets) -> None:
    head = head_of(path, secrets)
    rows = list(raw_rows(path))

    def chain_anew(db: sqlite3.Connection) -> None:
        before = rows[10][3]
        for sequence, time, sealed, *_ in rows[11:]:
            changed = sealed if sequence > 12 else bytes(reversed(sealed))
            before = hash_row(head.trail, before, sequence, time, changed)
            db.execute("UPDATE entries SET sealed = ?, hash = ? WHERE sequence = ?", (changed, before, sequence))
        db.execute("UPDATE head SET text = replace(text, ?, ?)", (head.hash, before.hex()))

    attack(path, chain_anew)
    assert found(check(path, secrets)) == [("head", None, None), ("altered", 12, 30)]


def read_anchor_of(path: Path, content: bytes, secrets: Secrets) -> Anchor | None:
    path.write_bytes(content)
    return read_anchor(path, secrets.audit)


def test_an_older_genuine_head_leaves_the_later_rows_outside(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    later = copy(path, tmp_path / "later/audit.sqlite")
    fill(later, secrets, 5, first=ROWS)
    with closing(sqlite3.connect(path)) as connection:
        old = connection.execute("SELECT text, key_id, mac FROM head").fetchone()
    attack(later, lambda db: db.execute("UPDATE head SET text = ?, key_id = ?, mac = ?", old))
    assert found(check(later, secrets)) == [("inserted", 31, 35)]


def test_an_older_copy_of_the_file_is_found_against_an_anchor(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    old = copy(path, tmp_path / "old/audit.sqlite")
    fill(path, secrets, 10, first=ROWS)
    anchor = read_anchor_of(tmp_path / "anchor.json", anchor_of(path, secrets), secrets)
    assert found(check(path, secrets, anchor=anchor)) == []
    assert found(check(old, secrets)) == []  # consistent in itself: this is why anchors are kept elsewhere
    assert found(check(old, secrets, anchor=anchor)) == [("missing", 31, 40)]


def test_an_older_copy_that_was_continued_is_found_between_two_anchors(
    path: Path, secrets: Secrets, tmp_path: Path
) -> None:
    first = read_anchor_of(tmp_path / "first.json", anchor_of(path, secrets), secrets)
    other = copy(path, tmp_path / "other/audit.sqlite")
    fill(path, secrets, 10, first=ROWS)
    second = read_anchor_of(tmp_path / "second.json", anchor_of(path, secrets), secrets)
    fill(other, secrets, 20, first=1000)
    assert found(check(other, secrets)) == []
    assert found(check(other, secrets, first=first, second=second)) == [("rewritten", 31, 40)]


def test_rows_of_a_continued_copy_do_not_fit_into_the_trail(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    other = copy(path, tmp_path / "other/audit.sqlite")
    fill(path, secrets, 10, first=ROWS)
    fill(other, secrets, 10, first=1000)
    foreign = list(raw_rows(other))[34]

    def replace(db: sqlite3.Connection) -> None:
        db.execute("REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", foreign)

    attack(path, replace)
    assert found(check(path, secrets)) == [("spliced", 35, 36)]  # neither 34-35 nor 35-36 belong together


def test_a_row_of_another_trail_with_the_same_keys_is_found(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    fill(tmp_path / "other.sqlite", secrets, 20)
    foreign = list(raw_rows(tmp_path / "other.sqlite"))[11]
    attack(path, lambda db: db.execute("REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", foreign))
    assert found(check(path, secrets)) == [("altered", 12, 12)]


def test_a_new_trail_in_the_place_of_the_old_one_is_found_against_an_anchor(
    path: Path, secrets: Secrets, tmp_path: Path
) -> None:
    anchor = read_anchor_of(tmp_path / "anchor.json", anchor_of(path, secrets), secrets)
    fill(tmp_path / "new.sqlite", secrets, ROWS)
    assert found(check(tmp_path / "new.sqlite", secrets, anchor=anchor)) == [("anchor", None, None)]


def test_a_forged_anchor_is_said_to_be_one(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    content = anchor_of(path, secrets).replace(b'"sequence": 30', b'"sequence": 29')
    anchor = read_anchor_of(tmp_path / "anchor.json", content, secrets)
    assert found(check(path, secrets, anchor=anchor)) == [("anchor", None, None)]


def test_every_changed_byte_is_found_in_its_row(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    chance = random.Random(42)
    for trial in range(60):
        changed = copy(path, tmp_path / f"trials/{trial}.sqlite")
        column, row = chance.choice(["sealed", "hash", "mark"]), chance.randint(1, ROWS)
        at = chance.randrange(1000)
        attack(changed, lambda db, column=column, row=row, at=at: flip(db, column, row, at))  # type: ignore[misc]
        assert ("altered", row, row) in found(check(changed, secrets)), (column, row, at)


def content_of(path: Path) -> list[object] | None:
    """Everything that SQLite reads in a file, None where it reads nothing."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            found: list[object] = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
            for table in ("entries", "head", "cuts", "anchors"):
                found += connection.execute(f"SELECT * FROM {table}").fetchall()
        except sqlite3.Error:
            return None
        return found


def test_damage_to_the_file_is_a_finding_and_no_crash(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    chance = random.Random(7)
    content = path.read_bytes()
    for trial in range(40):
        start = chance.randrange(100, len(content) - 600)
        damaged = bytearray(content)
        damaged[start : start + 500] = chance.randbytes(500)
        target = tmp_path / f"damaged{trial}.sqlite"
        target.write_bytes(damaged)
        assert bool(found(check(target, secrets))) == (content_of(target) != content_of(path))
    path.write_bytes(content[: len(content) // 2])
    assert found(check(path, secrets))
    path.write_bytes(b"no database" * 1000)
    assert found(check(path, secrets))


def test_rows_of_older_keys_still_verify_after_rotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secrets.json"
    create_secrets(file)
    monkeypatch.setenv("CXR_SECRETS", str(file))
    secrets, path = load_secrets(), tmp_path / "audit.sqlite"
    fill(path, secrets, 5)
    anchor = read_anchor_of(tmp_path / "anchor.json", anchor_of(path, secrets), secrets)
    made = rotate_secret(file, "audit")
    rotate_secret(file, "encryption")
    fill(path, load_secrets(), 5)
    assert [row[4] == made for row in raw_rows(path)] == [False] * 5 + [True] * 5
    assert found(check(path, load_secrets(), anchor=anchor)) == []
    attack(path, lambda db: flip(db, "sealed", 3))
    assert found(check(path, load_secrets(), anchor=anchor)) == [("altered", 3, 3)]
