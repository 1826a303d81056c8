"""Whole folders: one row a file whatever happens, and nothing is asked twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pretend_service import KEY, Heard, PretendService, film, problem, times

from cxr_core.client import Client, FolderResult, Retries, ServiceProblem, ServiceUnreachable, predict_folder
from cxr_core.client.films import find_films
from cxr_core.client.folder import journal_path
from cxr_core.client.journal import Journal
from cxr_core.client.models import ServedModel
from cxr_core.client.outcome import Refusal
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError

LARGEST = 1000  # bytes of a film here

Ask = Callable[..., FolderResult]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve films in two folders, two of them damaged and two alike, and files that are no films."""
    root = tmp_path / "Doe_John"
    for number in range(12):
        path = root / ("left" if number % 2 else "right") / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film(number if number != 7 else 5, bad=number in (2, 9)))
    (root / "no_suffix").write_bytes(bytes(128) + b"DICM" + b"x")
    (root / "empty.PNG").write_bytes(b"")
    (root / "large.jpg").write_bytes(film(1) + bytes(LARGEST))
    for litter in ("notes.txt", ".hidden.jpg", "Thumbs.db", "left/metadata.csv", "DICOMDIR"):
        (root / litter).write_bytes(b"text")
    (root / "left/again").symlink_to(root, target_is_directory=True)
    (root / "broken.jpg").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe.jpg")
    return root


@pytest.fixture
def ask(client: Client, folder: Path, tmp_path: Path) -> Ask:
    """Predict the folder by the pretended service."""

    def run(name: str = "results.csv", **options: object) -> FolderResult:
        return predict_folder(folder, ServedModel(client, LARGEST), tmp_path / name, **options)  # type: ignore[arg-type]

    return run


def test_every_film_has_a_row_and_other_files_are_counted(ask: Ask, folder: Path) -> None:
    found = ask()
    names = [row.file for row in found.rows]
    assert names == ["broken.jpg", "empty.PNG", "large.jpg", *(f"left/{n:02}.jpg" for n in range(1, 12, 2)),
                     "no_suffix", *(f"right/{n:02}.jpg" for n in range(0, 12, 2))]  # fmt: skip
    table = pd.read_csv(found.out, keep_default_na=False)
    assert table["file"].tolist() == names
    assert dict(zip(table["file"], table["error"], strict=True)) == {
        name: {"broken.jpg": "unreadable", "large.jpg": "body_too_large", "left/09.jpg": "truncated",
               "right/02.jpg": "truncated"}.get(name, "") for name in names
    }  # fmt: skip
    assert found.others == 2
    assert found.errors == {"body_too_large": 1, "truncated": 2, "unreadable": 1}
    assert sum(found.predictions.values()) == len(names) - 4


def test_a_row_says_what_was_answered(ask: Ask, folder: Path, client: Client, service: PretendService) -> None:
    found = ask("results.parquet")
    table = pd.read_parquet(found.out).set_index("file")
    data = (folder / "left/03.jpg").read_bytes()
    answer = client.predict(data)
    row = table.loc["left/03.jpg"]
    assert row["sha256"] == digest_bytes(data)
    assert (row["prediction"], row["confidence"]) == (answer.prediction, answer.confidence)
    assert {name: row[f"p_{name}"] for name in answer.probabilities} == answer.probabilities
    assert (row["warnings"], row["model"], row["version"]) == ("low_confidence", service.model, "1.0.0")
    assert (row["entropy"], row["margin"], row["error"]) == (0.5, 0.25, "")
    assert pd.isna(table.loc["right/02.jpg", "confidence"])
    lines = [json.loads(line) for line in ask("results.jsonl").out.read_text().splitlines()]
    assert [line["file"] for line in lines] == table.index.tolist()
    by_name = {line["file"]: line for line in lines}
    assert by_name["left/03.jpg"]["probabilities"] == answer.probabilities
    assert by_name["right/02.jpg"]["code"] == "truncated"


def test_equal_files_are_sent_once(ask: Ask, service: PretendService) -> None:
    found = ask()
    assert max(Counter(service.sent).values()) == 1
    assert found.asked == len(service.sent) == 13
    outcomes = {row.file: row.outcome for row in found.rows}
    assert outcomes["left/05.jpg"] == outcomes["left/07.jpg"]


def test_several_requests_at_a_time_change_nothing(ask: Ask, service: PretendService) -> None:
    service.seconds = 0.02
    alone = ask("one.csv", concurrency=1).out.read_bytes()
    assert ask("many.csv", concurrency=8).out.read_bytes() == alone


def test_what_was_answered_is_not_sent_again(ask: Ask, service: PretendService, folder: Path) -> None:
    first = ask()
    content = first.out.read_bytes()
    before = len(service.sent)
    again = ask()
    assert (again.asked, len(service.sent)) == (0, before)
    assert again.out.read_bytes() == content
    (folder / "right/00.jpg").rename(folder / "right/moved.jpg")
    (folder / "new.jpg").write_bytes(film(99))
    assert ask().asked == 1
    assert service.sent[before:] == [film(99)]
    assert ask(fresh=True).asked == 14


def test_a_film_that_might_be_answered_another_time_is_asked_again(ask: Ask, service: PretendService) -> None:
    service.rules.append(lambda heard: problem(500, "internal_error") if film(4) in heard.films else None)
    assert ask().errors["internal_error"] == 1
    service.rules.clear()
    again = ask()
    assert "internal_error" not in again.errors
    assert again.asked == 1


def test_another_model_in_the_midst_answers_every_film(ask: Ask, service: PretendService) -> None:
    said_lines: list[str] = []

    def rule(heard: object) -> None:
        if len(service.heard) > 2:
            service.model = "b" * 64

    service.rules.append(rule)
    found = ask(concurrency=1, log=said_lines.append)
    assert found.models == ("b" * 64,)
    assert found.model.digest == "b" * 64
    assert found.asked > 13
    assert "The model changed to cxr 1.0.0 (bbbbbbbbbbbb) meanwhile." in said_lines
    service.rules.clear()
    service.model = "c" * 64
    said_lines.clear()
    assert ask(log=said_lines.append).models == ("c" * 64,)
    assert any("answered by another model before" in line for line in said_lines)


def test_a_service_that_mixes_models_is_not_followed_for_ever(
    folder: Path, service: PretendService, tmp_path: Path
) -> None:
    def rule(heard: Heard) -> None:  # two models behind one address: odd films meet the second
        service.model = ("b" if heard.films and heard.films[0][-1:] in b"13579" else "a") * 64

    service.rules.append(rule)
    said: list[str] = []
    with Client(service.url, KEY, max_files=1) as client:
        model = ServedModel(client, LARGEST)
        found = predict_folder(folder, model, tmp_path / "results.csv", concurrency=1, log=said.append)
    assert found.models == ("a" * 64, "b" * 64)
    assert "see the column model" in said[-1]
    assert set(pd.read_csv(found.out, keep_default_na=False)["model"]) == {"", *found.models}


def test_a_refused_key_stops_the_run_and_leaves_no_results(folder: Path, service: PretendService, tmp_path: Path):
    with Client(service.url, "wrong") as stranger, pytest.raises(ServiceProblem, match="401"):
        predict_folder(folder, ServedModel(stranger, LARGEST), tmp_path / "results.csv")
    assert not (tmp_path / "results.csv").exists()
    assert service.sent == []


def test_a_service_that_goes_away_stops_the_run_and_what_came_is_kept(
    folder: Path, service: PretendService, tmp_path: Path
) -> None:
    def rule(heard: object) -> object:
        return problem(503, "overloaded") if len(service.sent) > 4 else None

    service.rules.append(rule)
    out = tmp_path / "results.csv"
    policy = Retries(attempts=2, first=0.001)
    with (
        Client(service.url, KEY, retries=policy, max_files=2) as client,
        pytest.raises(CxrError, match="503 overloaded"),
    ):
        predict_folder(folder, ServedModel(client, LARGEST), out, concurrency=1)
    assert not out.exists()
    service.rules.clear()
    with Client(service.url, KEY) as client:
        assert predict_folder(folder, ServedModel(client, LARGEST), out).asked == 9


def test_the_journal_names_no_file(ask: Ask, tmp_path: Path) -> None:
    text = journal_path(ask().out).read_text()
    assert digest_bytes(film(3)) in text
    for name in ("Doe", ".jpg", "left"):
        assert name not in text
    assert journal_path(tmp_path / "results.csv").stat().st_mode & 0o077 == 0


def test_a_killed_run_goes_on_where_it_was(folder: Path, service: PretendService, tmp_path: Path) -> None:
    service.seconds = 0.1
    out = tmp_path / "results.csv"
    program = "from cxr_core.cli import main; main()"
    options = ["--url", service.url, "--out", str(out), "--concurrency", "1"]
    command = [sys.executable, "-c", program, "predict", str(folder), *options]
    environment = {**os.environ, "CXR_API_KEY": KEY, "CXR_SERVICE__MAX_FILES": "1"}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(service.sent) < 5:
        assert running.poll() is None, running.stderr.read()  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert not out.exists()
    service.seconds = 0
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # two films are damaged
    assert "were answered by this model before; they are not sent again" in done.stderr
    counts = Counter(service.sent)
    assert sum(count - 1 for count in counts.values()) <= 1  # at most the one that was under way
    assert len(counts) == 14
    assert len(pd.read_csv(out)) == 16
    assert KEY not in done.stdout + done.stderr + " ".join(command)


def test_a_torn_last_line_is_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.add([("a", "m", Refusal("truncated", "Damaged.")), ("b", "m", Refusal("empty", "Empty."))])
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:-cut])
        with Journal(path) as journal:
            journal.add([("c", "m", Refusal("corrupt", "Why."))])
            assert journal.find("c", "m") == Refusal("corrupt", "Why.")
        with Journal(path) as journal:
            assert journal.find("c", "m") == Refusal("corrupt", "Why.")
            assert journal.find("b", "m") is None
            kept = journal.find("a", "m")
        assert kept == (Refusal("truncated", "Damaged.") if whole[:-cut].count(b"\n") > 1 else None)


def test_a_journal_belongs_to_one_process_and_to_us(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal"), pytest.raises(CxrError, match="Another process works with"):
        Journal(tmp_path / "journal")
    for content in (b"file,label\n", b'{"journal": 99}\n', b"[]\n"):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(CxrError, match="is not a journal of predictions"):
            Journal(tmp_path / "other")
        assert (tmp_path / "other").read_bytes() == content


def test_results_are_refused_before_a_film_is_sent(ask: Ask, service: PretendService, tmp_path: Path) -> None:
    with pytest.raises(CxrError, match=r"must end in \.csv, \.parquet, \.jsonl"):
        ask("results.xlsx")
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(CxrError, match="is a folder"):
        ask("taken.csv")
    assert service.heard == []


def test_a_place_without_films_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(CxrError, match="No film in"):
        find_films([tmp_path])
    with pytest.raises(CxrError, match="is not there while looking for films"):
        find_films([tmp_path / "missing"])


def test_a_film_that_is_named_is_taken_whatever_it_holds(tmp_path: Path, folder: Path) -> None:
    found = find_films([folder / "notes.txt", folder / "left"])
    assert found.films[0].name == (folder / "notes.txt").as_posix()
    assert found.films[1].name == (folder / "left/01.jpg").as_posix()


def test_closing_a_client_ends_the_waits_of_other_threads(service: PretendService) -> None:
    service.rules.append(times(100, problem(503, "overloaded", Retry_After="60")))
    client = Client(service.url, KEY)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            client.predict(film(1))
        except ServiceUnreachable as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not service.heard:
        time.sleep(0.01)
    client.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(ended) == 1


def test_a_shut_folder_stops_the_search_and_its_name_is_not_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: Path) -> object:  # root may read everything, so permissions alone prove nothing
        if Path(path).name == "left":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(CxrError, match="cannot be read as a whole") as caught:
        find_films([folder])
    assert "left" not in str(caught.value)
