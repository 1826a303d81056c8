import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from bentoml_service.keys import app
from bentoml_service.security import KeyRing, create_key, key_file, read_keys, revoke_key
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError


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
    assert ring.holder(one) == "one"
    two = create_key(path, "two")
    assert (ring.holder(one), ring.holder(two)) == ("one", "two")
    revoke_key(path, "one")
    assert (ring.holder(one), ring.holder(two)) == (None, "two")


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
    assert ring.holder(key) == "one"
    path.write_bytes(content)
    assert ring.holder(key) is None
    with pytest.raises(CxrError, match="not a file of API keys"):
        ring.require_some()
    path.unlink()
    assert ring.holder(key) is None
    path.write_bytes(good)
    assert ring.holder(key) == "one"


def test_there_is_no_default_key(path: Path) -> None:
    with pytest.raises(CxrError, match="No API key is configured"):
        KeyRing(path).require_some()
    key = create_key(path, "one")
    revoke_key(path, "one")
    with pytest.raises(CxrError, match="No API key is configured"):
        KeyRing(path).require_some()
    assert KeyRing(path).holder(key) is None


def test_keys_made_at_the_same_time_are_all_kept(path: Path) -> None:
    names = [f"holder-{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        keys = list(pool.map(lambda name: create_key(path, name), names))
    ring = KeyRing(path)
    assert [ring.holder(key) for key in keys] == names


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


def test_the_command_creates_lists_and_revokes(path: Path) -> None:
    run = CliRunner()
    created = run.invoke(app, ["create", "--id", "ward-3", "--file", str(path)])
    assert created.exit_code == 0
    assert KeyRing(path).holder(created.output.strip()) == "ward-3"
    listed = run.invoke(app, ["list", "--file", str(path)]).output
    assert listed.startswith("ward-3\t20")
    assert json.loads(path.read_text())[0]["sha256"] not in listed
    assert run.invoke(app, ["revoke", "--id", "ward-3", "--file", str(path)]).exit_code == 0
    assert read_keys(path) == ()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["revoke", "--id", "nobody"], "no key nobody"), (["create", "--id", "a b"], "An id has")],
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
