"""The commands of the audit trail: what an operator and an auditor do with it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from audit_trails import FAST, attack, copy, event, fill
from click.testing import CliRunner, Result

from bentoml_service.audit_commands import audit
from bentoml_service.audit_log import AuditTrail
from bentoml_service.secret_keys import Secrets, create_secrets, load_secrets, rotate_secret

DAY = 86_400_000_000_000  # nanoseconds


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    create_secrets(tmp_path / "secrets.json")
    monkeypatch.setenv("CXR_SECRETS", str(tmp_path / "secrets.json"))
    monkeypatch.setenv("CXR_SERVICE__STATE_DIR", str(tmp_path / "state"))
    return load_secrets()


@pytest.fixture
def path(secrets: Secrets, tmp_path: Path) -> Path:
    path = tmp_path / "state/audit.sqlite"
    fill(path, secrets, 10)
    return path


def run(*arguments: object, **options: str) -> Result:
    return CliRunner().invoke(audit, list(map(str, arguments)), **options)  # type: ignore[arg-type]


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_verify_says_what_is_wrong_and_ends_with_status_1(path: Path) -> None:
    good = run("verify")
    assert (good.exit_code, good.stdout) == (0, "10 rows read, 0 pruned with proof, signed end 10, anchors 0.\n")
    attack(path, lambda db: db.execute("DELETE FROM entries WHERE sequence IN (4, 5, 8)"))
    bad = run("verify")
    assert bad.exit_code == 1
    assert bad.stdout.splitlines()[:2] == [
        "Rows 4-5: deleted without a pruning's proof.",
        "Row 8: deleted without a pruning's proof.",
    ]


def test_an_anchor_kept_elsewhere_finds_an_older_copy(path: Path, secrets: Secrets, tmp_path: Path) -> None:
    old = copy(path, tmp_path / "old.sqlite")
    fill(path, secrets, 5)
    assert run("anchor", "--out", tmp_path / "elsewhere/one.json").exit_code == 0
    rotate_secret(tmp_path / "secrets.json", "audit")
    fill(path, load_secrets(), 5)
    assert run("anchor", "--out", tmp_path / "two.json").exit_code == 0
    anchors = ("--anchor", tmp_path / "elsewhere/one.json", "--anchor", tmp_path / "two.json")
    assert run("verify", *anchors).exit_code == 0
    found = run("verify", "--file", old, *anchors)
    assert found.exit_code == 1
    assert "Rows 11-15: the trail ends before the anchor" in found.stdout
    assert "Rows 11-20: the trail ends before the anchor" in found.stdout


def test_an_anchor_is_small_and_holds_nothing_secret(path: Path, tmp_path: Path) -> None:
    run("anchor", "--out", tmp_path / "anchor.json")
    content = json.loads((tmp_path / "anchor.json").read_bytes())
    assert sorted(content) == ["hash", "key_id", "mac", "sequence", "time", "trail"]
    assert content["sequence"] == 10


def test_verification_needs_the_audit_key_alone_and_writes_nothing(
    path: Path, secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = secrets.audit.active
    monkeypatch.setenv("CXR_AUDIT_KEYS", f"{key.id}:{base64.b64encode(key.value).decode()}")
    (tmp_path / "secrets.json").unlink()
    before = path.read_bytes()
    assert run("verify").exit_code == 0
    assert path.read_bytes() == before
    refused = run("export")
    assert refused.exit_code == 1
    assert "cxr secrets create" in refused.stderr


def test_verification_without_the_right_key_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_AUDIT_KEYS", f"other:{base64.b64encode(os.urandom(32)).decode()}")
    result = run("verify")
    assert result.exit_code == 1
    assert "a key that is not here" in result.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a disk that it cannot write to")
def test_a_copy_on_a_disk_that_cannot_be_written_is_verified(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    copy(path, folder / "audit.sqlite")
    if subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a folder")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (folder / "x").touch()
        assert run("verify", "--file", folder / "audit.sqlite").exit_code == 0
    finally:
        subprocess.run(["umount", folder], check=True)


def test_the_trail_of_a_running_service_is_verified_and_exported(path: Path, secrets: Secrets) -> None:
    trail = AuditTrail(path, secrets, FAST)
    trail.open()
    try:
        asyncio.run(trail.record(event(99)))
        assert run("verify").stdout.startswith("11 rows read")
        assert lines(run("export"))[-1]["request_id"] == "request-99"
    finally:
        trail.close()


def test_an_export_is_json_lines_for_its_owner_alone(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "export.jsonl"
    assert run("export", "--out", out).exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["sequence"] for row in rows] == list(range(1, 11))
    assert {row["request_id"] for row in rows} == {f"request-{number}" for number in range(10)}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert lines(run("export")) == rows


def test_an_export_takes_a_stretch_of_time(secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (1, 2, 3):
        monkeypatch.setattr(time, "time_ns", lambda day=day: 1_900_000_000_000_000_000 + day * DAY)  # 2030-03-17 17:46
        fill(tmp_path / "state/audit.sqlite", secrets, 1)
    sequences = [
        [row["sequence"] for row in lines(run("export", *arguments))]
        for arguments in (
            ["--since", "2030-03-19"],
            ["--until", "2030-03-19"],
            ["--since", "2030-03-19T17:46:40", "--until", "2030-03-20T18:46:40+01:00"],
            ["--since", "2031-01-01"],
        )
    ]
    assert sequences == [[2, 3], [1], [2], []]
    assert lines(run("export", "--until", "2030-03-19"))[0]["time"] == "2030-03-18T17:46:40.000+00:00"
    assert run("export", "--since", "yesterday").exit_code == 2


def test_the_rows_of_one_patient_are_found_whatever_the_key_was(secrets: Secrets, tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path / "state/audit.sqlite", secrets, FAST)
    trail.open()
    for patient in ("4711", "4712", "4711"):
        asyncio.run(trail.record(event(patient=secrets.pseudonym(patient))))
        rotate_secret(tmp_path / "secrets.json", "pseudonym")
    trail.close()
    result = run("export", "--patient", input="4711\n")
    assert [row["sequence"] for row in lines(result)] == [1, 3]
    assert "4711" not in result.stdout


def test_an_altered_row_does_not_open_and_is_counted(path: Path) -> None:
    attack(path, lambda db: db.execute("UPDATE entries SET sealed = zeroblob(99) WHERE sequence = 4"))
    result = run("export")
    assert result.exit_code == 1
    assert result.stderr == "1 rows do not open: see `cxr audit verify`.\n"
    rows = lines(result)
    assert len(rows) == 10
    assert sorted(rows[3]) == ["error", "sequence"]


def test_rows_sealed_with_older_keys_are_exported_after_rotations(path: Path, tmp_path: Path) -> None:
    for purpose in ("encryption", "audit"):
        rotate_secret(tmp_path / "secrets.json", purpose)
        fill(path, load_secrets(), 5)
    result = run("export")
    assert result.exit_code == 0
    assert len(lines(result)) == 20


def test_prune_follows_the_retention_setting(secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = tmp_path / "state/audit.sqlite", time.time_ns()
    for days in (20, 11, 9, 0):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda days=days: now - days * DAY)
            fill(path, secrets, 2)
    assert run("prune").stdout == "0 rows older than 2557 days removed.\n"
    monkeypatch.setenv("CXR_SERVICE__AUDIT__RETENTION_DAYS", "10")
    assert run("prune").stdout == "4 rows older than 10 days removed.\n"
    rows = lines(run("export"))
    assert [row["sequence"] for row in rows] == [5, 6, 7, 8, 9]
    assert rows[-1]["code"] == "pruned"
    assert run("verify").stdout == "5 rows read, 4 pruned with proof, signed end 9, anchors 0.\n"


@pytest.mark.parametrize("command", [["verify"], ["export"], ["prune"], ["anchor", "--out", "x"]])
def test_a_trail_that_is_not_there_is_one_sentence_and_is_not_begun(
    secrets: Secrets, tmp_path: Path, command: list[str]
) -> None:
    result = run(*command)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: There is no audit trail in {tmp_path / 'state/audit.sqlite'}: name its file with --file.\n"
    )
    assert not (tmp_path / "state").exists()


def test_a_file_that_is_no_anchor_is_one_sentence(path: Path, tmp_path: Path) -> None:
    for content in (b"", b"[]", b"{}", b"\xff" * 9000):
        (tmp_path / "wrong").write_bytes(content)
        result = run("verify", "--anchor", tmp_path / "wrong")
        assert result.exit_code == 1
        assert "is not an anchor of an audit trail" in result.stderr


def test_the_commands_run_without_the_packages_of_the_pipeline(path: Path) -> None:
    code = "import sys; from bentoml_service.audit_commands import audit; "
    code += "print({'torch', 'mlflow', 'dagster', 'bentoml', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
