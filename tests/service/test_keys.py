import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from bentoml_service.keys import app
from bentoml_service.security import Holder, KeyRing, create_key, key_file, read_keys, revoke_key
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError

ONE, TWO = Holder("one", "technician"), Holder("two", "technician")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data/api-keys.json"


def test_only_the_digest_of_a_key_is_stored(path: Path) -> None:
    key = create_key(path, "ward-3")
    assert len(key) == 43  # 256 bits in base64
    assert key not in path.read_text()
    assert [(entry.id, entry.sha256) for entry in read_keys(path)] == [("ward-3", digest_bytes(key.encode()))]


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    create_key(path, "one")
    path.chmod(0o644)
    create_key(path, "two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_are_told_apart_and_can_be_revoked_while_the_service_runs(path: Path) -> None:
    one = create_key(path, "one")
    ring = KeyRing(path)
    assert ring.holder(one) == ONE
    two = create_key(path, "two")
    assert (ring.holder(one), ring.holder(two)) == (ONE, TWO)
    revoke_key(path, "one")
    assert (ring.holder(one), ring.holder(two)) == (None, TWO)


@pytest.mark.parametrize("wrong", ["", "x", "ключ", "é" * 43, "a" * 10_000])
def test_a_wrong_key_has_no_holder(path: Path, wrong: str) -> None:
    key = create_key(path, "one")
    ring = KeyRing(path)
    assert ring.holder(wrong) is None
    assert ring.holder(digest_bytes(key.encode())) is None  # the stored digest opens nothing
    assert ring.holder(key[:-1]) is None


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"null", b"[1]", b'[{"id": "x", "sha256": "short"}]', b"\xff"])
def test_a_damaged_file_opens_nothing_until_it_is_mended(path: Path, content: bytes) -> None:
    key = create_key(path, "one")
    good = path.read_bytes()
    ring = KeyRing(path)
    assert ring.holder(key) == ONE
    path.write_bytes(content)
    assert ring.holder(key) is None
    with pytest.raises(CxrError, match="not a file of API keys"):
        ring.require_some()
    path.unlink()
    assert ring.holder(key) is None
    path.write_bytes(good)
    assert ring.holder(key) == ONE


def test_there_is_no_default_key(path: Path) -> None:
    with pytest.raises(CxrError, match="No API key is configured"):
        KeyRing(path).require_some()
    key = create_key(path, "one")
    revoke_key(path, "one")
    with pytest.raises(CxrError, match="Every API key is expired or revoked"):
        KeyRing(path).require_some()
    assert KeyRing(path).holder(key) is None


def test_keys_made_at_the_same_time_are_all_kept(path: Path) -> None:
    names = [f"holder-{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        keys = list(pool.map(lambda name: create_key(path, name), names))
    ring = KeyRing(path)
    assert [ring.holder(key) for key in keys] == [Holder(name, "technician") for name in names]


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a" * 65, "ward\n3", "ward/3"])
def test_an_id_is_a_plain_name(path: Path, name: str) -> None:
    with pytest.raises(CxrError, match="An id has"):
        create_key(path, name)
    assert not path.exists()


def test_the_file_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path))
    monkeypatch.delenv("CXR_API_KEYS", raising=False)
    assert key_file() == tmp_path / "data/api-keys.json"
    monkeypatch.setenv("CXR_API_KEYS", str(tmp_path / "elsewhere.json"))
    assert key_file() == tmp_path / "elsewhere.json"


def test_the_command_creates_lists_rotates_and_revokes(path: Path) -> None:
    run = CliRunner()

    def cxr_keys(*arguments: str) -> str:
        result = run.invoke(app, [*arguments, "--file", str(path)])
        assert result.exit_code == 0, result.output
        return result.output

    made = ["create", "--id", "ward-3", "--role", "radiologist", "--expires", "90d"]
    old, holder = cxr_keys(*made).strip(), Holder("ward-3", "radiologist")
    assert KeyRing(path).holder(old) == holder
    new = cxr_keys("rotate", "--id", "ward-3", "--overlap", "0m").strip()
    assert (KeyRing(path).holder(old), KeyRing(path).holder(new)) == (None, holder)
    cxr_keys("create", "--id", "scanner")
    listed = cxr_keys("list")
    rows = [line.split("\t") for line in listed.splitlines()]
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("ward-3", "radiologist", "expired"),
        ("ward-3", "radiologist", "active"),
        ("scanner", "technician", "active"),
    ]
    assert rows[2][3] == "never"
    assert not [entry for entry in read_keys(path) if entry.sha256 in listed]
    assert old not in listed
    cxr_keys("revoke", "--id", "ward-3")
    assert KeyRing(path).holder(new) is None
    assert [line.split("\t")[4] for line in cxr_keys("list").splitlines()] == ["revoked", "revoked", "active"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2099-12-31", "2100-01-01T00:00:00+00:00"),  # through the day
        ("2099-12-31T12:00", "2099-12-31T12:00:00+00:00"),
        ("2099-12-31T12:00+02:00", "2099-12-31T10:00:00+00:00"),
    ],
)
def test_an_expiry_is_a_day_or_a_time(path: Path, given: str, stored: str) -> None:
    result = CliRunner().invoke(app, ["create", "--id", "one", "--expires", given, "--file", str(path)])
    assert result.exit_code == 0, result.output
    assert read_keys(path)[0].expires == datetime.fromisoformat(stored)


@pytest.mark.parametrize(
    "given", ["soon", "-1d", "90", "9999999999d", "2031-13-01", "9999-12-31", "9999-12-30", "", "2001-01-01"]
)
def test_an_expiry_that_is_none_or_past_makes_no_key(path: Path, given: str) -> None:
    result = CliRunner().invoke(app, ["create", "--id", "one", "--expires", given, "--file", str(path)])
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["revoke", "--id", "nobody"], "no key nobody"),
        (["rotate", "--id", "nobody"], "no key nobody"),
        (["create", "--id", "a b"], "An id has"),
    ],
)
def test_the_command_explains_itself_in_one_sentence(path: Path, arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--file", str(path)])
    assert result.exit_code == 1
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_a_second_key_of_the_same_id_is_refused(path: Path) -> None:
    create_key(path, "one")
    with pytest.raises(CxrError, match="already"):
        create_key(path, "one")
