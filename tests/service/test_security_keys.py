"""Roles, expiry, rotation and revocation of API keys, over real key files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bentoml_service import key_entries
from bentoml_service.permissions import ROLES
from bentoml_service.security import Holder, KeyRing, create_key, read_keys, revoke_key, rotate_key
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError


class Clock:
    """The time that the key file goes by."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(key_entries, "_now", clock)
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api-keys.json"


@pytest.mark.parametrize("role", ROLES)
def test_a_key_gives_the_role_it_was_made_with(path: Path, role: str) -> None:
    key = create_key(path, "one", role)
    assert KeyRing(path).holder(key) == Holder("one", role)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["", "root", "Admin", "admin ", "None"])
def test_an_unknown_role_is_refused_and_nothing_is_written(path: Path, role: str) -> None:
    with pytest.raises(CxrError, match="choose one of radiologist, technician, admin"):
        create_key(path, "one", role)
    assert not path.exists()


def test_a_key_of_a_file_without_roles_is_a_technicians(path: Path) -> None:
    key = "k" * 43
    entry = {"id": "old", "sha256": digest_bytes(key.encode()), "created": "2026-01-01T00:00:00Z"}
    path.write_text(json.dumps([entry]))
    assert KeyRing(path).holder(key) == Holder("old", "technician")


@pytest.mark.parametrize(
    "change",
    [{"role": "root"}, {"role": None}, {"expires": "soon"}, {"expires": "2030-01-01T00:00:00"}, {"admin": True}],
)
def test_an_entry_that_is_not_understood_opens_nothing(path: Path, change: dict[str, object]) -> None:
    key = create_key(path, "one")
    entry = json.loads(path.read_text())[0]
    path.write_text(json.dumps([{**entry, **change}]))
    assert KeyRing(path).holder(key) is None
    with pytest.raises(CxrError, match="not a file of API keys"):
        KeyRing(path).require_some()


def test_a_key_stops_at_its_expiry_without_a_change_of_the_file(path: Path, clock: Clock) -> None:
    key = create_key(path, "one", "admin", clock.now + timedelta(hours=1))
    ring = KeyRing(path)
    clock.pass_by(minutes=59, seconds=59)
    assert ring.holder(key) == Holder("one", "admin")
    clock.pass_by(seconds=1)
    assert ring.holder(key) is None
    assert read_keys(path)[0].state() == "expired"


def test_an_expiry_past_out_of_reach_or_without_a_time_zone_is_refused(path: Path, clock: Clock) -> None:
    tomorrow = clock.now + timedelta(days=1)
    for expires in (
        clock.now,
        clock.now - timedelta(days=1),
        tomorrow.replace(tzinfo=None),
        tomorrow.replace(year=9999),
    ):
        with pytest.raises(CxrError, match="expires within the next 100 years"):
            create_key(path, "one", expires=expires)
    assert not path.exists()


def test_both_keys_work_while_a_rotation_overlaps_and_then_the_new_one_alone(path: Path, clock: Clock) -> None:
    old = create_key(path, "one", "radiologist")
    other = create_key(path, "two")
    new = rotate_key(path, "one", timedelta(hours=2))
    assert new != old
    ring, holder = KeyRing(path), Holder("one", "radiologist")
    clock.pass_by(hours=1)
    assert (ring.holder(old), ring.holder(new)) == (holder, holder)
    clock.pass_by(hours=1)
    assert (ring.holder(old), ring.holder(new)) == (None, holder)
    assert ring.holder(other) == Holder("two", "technician")
    clock.pass_by(days=4000)
    assert ring.holder(new) == holder  # a key without expiry is replaced by one without


def test_a_rotation_without_overlap_ends_the_old_key_at_once(path: Path, clock: Clock) -> None:
    old = create_key(path, "one")
    ring = KeyRing(path)
    new = rotate_key(path, "one", timedelta(0))
    assert ring.holder(old) is None
    assert ring.holder(new) == Holder("one", "technician")


def test_a_rotation_never_lengthens_the_life_of_an_old_key(path: Path, clock: Clock) -> None:
    first = create_key(path, "one", expires=clock.now + timedelta(hours=1))
    second = rotate_key(path, "one", timedelta(days=9), clock.now + timedelta(days=90))
    ring = KeyRing(path)
    clock.pass_by(hours=1)
    assert [ring.holder(key) is None for key in (first, second)] == [True, False]
    third = rotate_key(path, "one", timedelta(minutes=5))
    clock.pass_by(minutes=5)
    assert [ring.holder(key) is None for key in (first, second, third)] == [True, True, False]


def test_a_rotated_key_lives_as_long_as_the_one_before_it_was_given(path: Path, clock: Clock) -> None:
    create_key(path, "one", expires=clock.now + timedelta(days=30))
    clock.pass_by(days=20)
    key = rotate_key(path, "one", timedelta(0))
    ring = KeyRing(path)
    clock.pass_by(days=29)
    assert ring.holder(key) is not None
    clock.pass_by(days=1)
    assert ring.holder(key) is None
    renewed = rotate_key(path, "one", timedelta(0), clock.now + timedelta(days=400))
    clock.pass_by(days=399)
    assert ring.holder(renewed) is not None


def test_what_cannot_be_rotated_is_said(path: Path) -> None:
    with pytest.raises(CxrError, match="no key one to rotate"):
        rotate_key(path, "one", timedelta(0))
    create_key(path, "one")
    with pytest.raises(CxrError, match="0 or more"):
        rotate_key(path, "one", timedelta(seconds=-1))
    revoke_key(path, "one")
    with pytest.raises(CxrError, match="no key one to rotate"):
        rotate_key(path, "one", timedelta(0))
    assert len(read_keys(path)) == 1


def test_a_revocation_ends_every_key_of_the_id_and_the_id_stays_on_record(path: Path) -> None:
    old = create_key(path, "one", "admin")
    new = rotate_key(path, "one", timedelta(days=1))
    ring = KeyRing(path)
    assert ring.holder(old) == ring.holder(new) == Holder("one", "admin")
    revoke_key(path, "one")
    assert (ring.holder(old), ring.holder(new)) == (None, None)
    assert [(entry.id, entry.state()) for entry in read_keys(path)] == [("one", "revoked"), ("one", "revoked")]
    again = create_key(path, "one", "technician")
    assert ring.holder(again) == Holder("one", "technician")
    assert (ring.holder(old), ring.holder(new)) == (None, None)


def test_every_entry_is_compared_whichever_fits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [create_key(path, f"holder-{number}") for number in range(4)]
    ring = KeyRing(path)
    compared: list[str] = []
    real = key_entries.digest_bytes

    def counted(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("bentoml_service.security.hmac.compare_digest", counted)
    for key in (keys[0], keys[-1], "wrong"):
        compared.clear()
        ring.holder(key)
        assert compared == [real(stored.encode()) for stored in keys]


def test_the_service_does_not_start_on_keys_of_which_none_works(path: Path, clock: Clock) -> None:
    create_key(path, "one", expires=clock.now + timedelta(hours=1))
    create_key(path, "two")
    KeyRing(path).require_some()
    revoke_key(path, "two")
    KeyRing(path).require_some()
    clock.pass_by(hours=1)
    with pytest.raises(CxrError, match="Every API key is expired or revoked"):
        KeyRing(path).require_some()


def test_the_service_does_not_start_on_a_file_that_anybody_may_write(path: Path) -> None:
    create_key(path, "one")
    path.chmod(0o666)
    with pytest.raises(CxrError, match="run chmod 600"):
        KeyRing(path).require_some()


def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create_key(path, "one")
    ring = KeyRing(path)
    with monkeypatch.context() as patch:

        def exhausted(_: Path) -> bytes:
            raise OSError(24, "Too many open files")

        patch.setattr(Path, "read_bytes", exhausted)
        assert ring.holder(key) is None
    assert ring.holder(key) == Holder("one", "technician")
