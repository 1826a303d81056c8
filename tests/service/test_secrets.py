"""Secrets are never shown, never overwritten, and can be rotated while the service runs."""

from __future__ import annotations

import base64
import errno
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from bentoml_service.audit_commands import secrets as command
from bentoml_service.secret_keys import (
    create_secrets,
    load_key_set,
    load_secrets,
    read_secrets,
    require_secrets,
    rotate_secret,
    secrets_file,
)
from cxr_core.errors import CxrError

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(1, 33))).decode()
VARIABLES = ("CXR_ENCRYPTION_KEYS", "CXR_AUDIT_KEYS", "CXR_PSEUDONYM_KEY")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "secrets/service.json"
    monkeypatch.setenv("CXR_SECRETS", str(path))
    return path


def keys_of(path: Path) -> list[str]:
    return [entry["key"] for entries in json.loads(path.read_bytes()).values() for entry in entries]


def test_without_secrets_the_service_is_told_which_command_makes_them(path: Path) -> None:
    with pytest.raises(CxrError, match=f"{path}.*`cxr secrets create`"):
        require_secrets()


def test_there_is_no_default_key(path: Path, tmp_path: Path) -> None:
    create_secrets(path)
    create_secrets(tmp_path / "other.json")
    assert len(set(keys_of(path) + keys_of(tmp_path / "other.json"))) == 6
    assert all(len(base64.b64decode(key)) == 32 for key in keys_of(path))


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    create_secrets(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rotate_secret(path, "audit")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_everybody_may_read_is_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    create_secrets(path)
    path.chmod(0o644)
    require_secrets()
    assert f"{path} can be read by every user" in caplog.text


def test_secrets_are_never_overwritten(path: Path) -> None:
    create_secrets(path)
    before = path.read_bytes()
    with pytest.raises(CxrError, match="is there already"):
        create_secrets(path)
    assert path.read_bytes() == before


def test_a_rotation_keeps_what_opens_older_values(path: Path) -> None:
    create_secrets(path)
    old = read_secrets(path)
    made = rotate_secret(path, "encryption")
    new = read_secrets(path)
    assert new["encryption"][0].id == made
    assert new["encryption"][1:] == old["encryption"]
    assert (new["audit"], new["pseudonym"]) == (old["audit"], old["pseudonym"])


def test_rotations_at_the_same_time_lose_no_key(path: Path) -> None:
    create_secrets(path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: rotate_secret(path, "audit"), range(16)))
    assert len(set(made)) == 16
    assert {key.id for key in read_secrets(path)["audit"]} > set(made)


def test_a_running_service_uses_a_rotated_key_at_once(path: Path) -> None:
    create_secrets(path)
    running = load_secrets()
    sealed = running.cipher.seal(b"x", "here")
    rotate_secret(path, "encryption")
    assert running.audit.active.id == read_secrets(path)["audit"][0].id
    made = rotate_secret(path, "audit")
    assert running.audit.active.id == made
    assert running.cipher.open(sealed, "here") == b"x"
    assert running.cipher.reseal(sealed, "here") != sealed


def test_a_rotation_whose_first_reading_fails_is_taken_up_at_the_next_use(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_secrets(path)
    running = load_secrets()
    before = running.audit.active.id
    made = rotate_secret(path, "audit")
    with monkeypatch.context() as away:

        def fail(self: Path) -> bytes:
            raise OSError(errno.EIO, "Input/output error", str(self))

        away.setattr(Path, "read_bytes", fail)
        assert running.audit.active.id == before
    assert running.audit.active.id == made  # the file has not changed since


@pytest.mark.parametrize("content", [b"", b"{}", b'{"encryption": []}', None])
def test_a_running_service_survives_a_damaged_file(path: Path, content: bytes | None) -> None:
    create_secrets(path)
    running = load_secrets()
    sealed = running.cipher.seal(b"x", "here")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert running.cipher.open(sealed, "here") == b"x"
    with pytest.raises(CxrError, match=str(path)):
        load_secrets()


def test_a_damaged_file_is_not_quoted(path: Path) -> None:
    create_secrets(path)
    content = json.loads(path.read_bytes())
    content["audit"][0]["key"] = KEY[:20]
    path.write_text(json.dumps({**content, "more": KEY}))
    with pytest.raises(CxrError) as caught:
        load_secrets()
    assert KEY[:12] not in str(caught.value)
    assert caught.value.__cause__ is None
    path.write_text(json.dumps(content))
    with pytest.raises(CxrError) as caught:
        load_secrets()
    assert KEY[:12] not in str(caught.value)


def test_two_keys_of_one_id_are_refused(path: Path) -> None:
    create_secrets(path)
    content = json.loads(path.read_bytes())
    content["audit"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(CxrError, match="two audit keys of one id"):
        load_secrets()


def test_the_environment_is_enough_and_goes_before_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, f"new:{KEY}, old:{OTHER}")
    found = load_secrets()
    assert not path.exists()
    assert [key.id for key in found.audit.all] == ["new", "old"]
    assert found.audit.active.value == bytes(range(32))
    create_secrets(path)
    monkeypatch.delenv("CXR_AUDIT_KEYS")
    mixed = load_secrets()
    assert mixed.audit.active == read_secrets(path)["audit"][0]
    assert mixed.pseudonyms.active.id == "new"


def test_an_auditor_needs_the_audit_key_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_AUDIT_KEYS", f"a:{KEY}")
    assert load_key_set("audit").active.id == "a"
    with pytest.raises(CxrError):
        load_secrets()


@pytest.mark.parametrize("wrong", [KEY, f"a:{KEY[:-8]}", "a:", f"a b:{KEY}", f"a:{KEY},a:{OTHER}", f"a:{KEY},", "a:é"])
def test_a_wrong_variable_is_named_and_not_quoted(path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("CXR_AUDIT_KEYS", wrong)
    with pytest.raises(CxrError, match="CXR_AUDIT_KEYS") as caught:
        load_key_set("audit")
    assert KEY[:12] not in str(caught.value)


@pytest.mark.parametrize("encoded", [KEY, KEY.rstrip("="), base64.urlsafe_b64encode(b"\xfb" * 32).decode()])
def test_base64_of_every_kind_is_read(monkeypatch: pytest.MonkeyPatch, encoded: str) -> None:
    monkeypatch.setenv("CXR_AUDIT_KEYS", f"a:{encoded}")
    assert base64.urlsafe_b64encode(load_key_set("audit").active.value).rstrip(b"=") == (
        encoded.replace("+", "-").replace("/", "_").rstrip("=").encode()
    )


def test_a_pseudonym_follows_the_patient_and_leads_nowhere_without_the_key(path: Path, tmp_path: Path) -> None:
    create_secrets(path)
    found = load_secrets()
    name = found.pseudonym("Müller-4711")
    assert name == found.pseudonym("  Mu\u0308ller-4711 ")
    assert name == load_secrets().pseudonym("Müller-4711")
    assert len(name) == 32
    assert int(name, 16) >= 0
    assert len({found.pseudonym(str(n)) for n in range(1000)}) == 1000
    assert found.pseudonym("\ud800") != found.pseudonym("")
    path.unlink()
    create_secrets(path)
    assert load_secrets().pseudonym("Müller-4711") != name


def test_after_a_rotation_a_patient_can_still_be_found(path: Path) -> None:
    create_secrets(path)
    found = load_secrets()
    before = found.pseudonym("4711")
    rotate_secret(path, "pseudonym")
    after = found.pseudonym("4711")
    assert after != before
    assert found.every_pseudonym("4711") == (after, before)


def test_no_repr_shows_a_key(path: Path) -> None:
    create_secrets(path)
    found = load_secrets()
    shown = f"{found!r} {found.audit!r} {found.audit.active!r} {found.cipher!r} {read_secrets(path)!r}"
    for key in keys_of(path):
        assert key not in shown
        assert repr(base64.b64decode(key))[2:10] not in shown


def test_the_commands_make_rotate_and_list_and_show_no_key(path: Path) -> None:
    runner = CliRunner()
    said = runner.invoke(command, ["create"]).output
    assert str(path) in said
    rotated = runner.invoke(command, ["rotate", "audit"])
    said += rotated.output
    listed = runner.invoke(command, ["list"])
    said += listed.output
    assert [line.split("\t")[:3:2] for line in listed.output.splitlines()] == [
        ["encryption", "active"],
        ["audit", "active"],
        ["audit", "kept"],
        ["pseudonym", "active"],
    ]
    assert rotated.output.strip() in listed.output.splitlines()[1]
    for key in keys_of(path):
        assert key.rstrip("=") not in said
    again = runner.invoke(command, ["create"])
    assert again.exit_code == 1
    assert again.output.startswith("Error: ")
    assert runner.invoke(command, ["rotate", "other"]).exit_code == 2


def test_the_default_file_lies_under_the_project(tmp_path: Path) -> None:
    assert secrets_file() == (tmp_path / "home/data/service-secrets.json").resolve()
