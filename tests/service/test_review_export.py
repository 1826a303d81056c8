"""What readers decided comes back as labels and films that the pipeline reads, by who holds the key alone."""

from __future__ import annotations

import csv
import stat
from collections.abc import Callable
from pathlib import Path

import films
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from review_parts import CANARY, LABELS, MODEL, age, digest_of, new_case

from bentoml_service.encryption import Cipher
from bentoml_service.key_sets import KeySet
from bentoml_service.review import export
from bentoml_service.review.commands import app
from bentoml_service.review.pictures import encode_png
from bentoml_service.review.queue import ReviewQueue
from bentoml_service.secret_keys import create_secrets, load_key_set, rotate_secret
from cxr_core.dataset.hashing import hash_files
from cxr_core.dataset.index import build_index
from cxr_core.dataset.ingest import ingest
from cxr_core.dataset.label_corrections import read_corrections
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.dataset.scan import scan
from cxr_core.digests import digest_bytes, digest_file
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_sections import DuplicateSettings, QualitySettings
from cxr_core.settings_service import ReviewSettings

PLAIN = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a service with its secrets."""
    monkeypatch.setenv("CXR_SECRETS", str(tmp_path / "secrets.json"))
    monkeypatch.setenv("CXR_SERVICE__STATE_DIR", str(tmp_path / "state"))
    create_secrets(tmp_path / "secrets.json")
    return tmp_path / "state"


@pytest.fixture
def queue(state: Path) -> ReviewQueue:
    return ReviewQueue(state / "review.sqlite", Cipher(load_key_set("encryption")), ReviewSettings())


@pytest.fixture
def run(state: Path) -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments])


def decide(queue: ReviewQueue, number: int, label: str, **changes: object) -> str:
    case_id = queue.add(new_case(number, **changes))
    assert case_id is not None
    queue.decide(case_id, "correct", label, CANARY, "reader-anna")
    return case_id


def index_of(raw: Path, labels: Path | None = None) -> pd.DataFrame:
    hashed = hash_files(raw, scan(raw, LABELS), raw.parent)
    quality = QualitySettings(min_side=32)
    cache = PixelCache(raw.parent / "cache", PLAIN, quality)
    ingest(raw, hashed, cache, PLAIN, quality)
    corrections = read_corrections(labels, LABELS) if labels else None
    return build_index(raw, hashed, cache, LABELS, quality, DuplicateSettings(), corrections=corrections).set_index(
        "file"
    )


def test_the_exported_table_says_what_was_decided_and_no_comment(
    queue: ReviewQueue, run: Callable[..., Result], tmp_path: Path
) -> None:
    decide(queue, 1, "Normal")
    accepted = queue.add(new_case(0))
    assert accepted is not None
    queue.decide(accepted, "accept", None, CANARY, "reader-boris")
    queue.add(new_case(2))  # still open
    done = run("export", "--out", tmp_path / "labels")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("version 1: 2 labels in ")
    (table,) = (tmp_path / "labels").glob("labels-*.csv")
    rows = list(csv.DictReader(table.open(newline="")))
    assert [row.pop("decided")[:2] for row in rows] == ["20", "20"]
    expected = [
        {"content_digest": digest_of(1), "label": "Normal", "action": "correct", "reviewer": "reader-anna"},
        {"content_digest": digest_of(0), "label": "Pneumonia", "action": "accept", "reviewer": "reader-boris"},
    ]
    for row in expected:
        row["model_digest"] = MODEL
    assert rows == sorted(expected, key=lambda row: row["content_digest"])
    assert CANARY not in done.output + table.read_text()
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    again = run("export", "--out", tmp_path / "labels")
    assert again.output == done.output
    assert len(list((tmp_path / "labels").glob("labels-*.csv"))) == 1


def test_a_decision_about_a_film_of_the_data_set_corrects_it_in_the_index(
    queue: ReviewQueue, run: Callable[..., Result], tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    for number, label in enumerate((*LABELS, *LABELS)):
        (raw / label).mkdir(parents=True, exist_ok=True)
        (raw / label / f"film{number}.png").write_bytes(films.film(seed=number))
    sent = (raw / "Normal/film0.png").read_bytes()  # what a client uploads is the file as it lies there
    decide(queue, 0, "Tuberculosis", content_digest=digest_bytes(sent))
    assert run("export", "--out", tmp_path / "labels").exit_code == 0
    index = index_of(raw, tmp_path / "labels")
    assert index.loc["Normal/film0.png", ["label", "original_label", "label_source"]].tolist() == [
        "Tuberculosis",
        "Normal",
        "review",
    ]
    assert (index.drop("Normal/film0.png")["label_source"] == "folder").all()


def test_exported_films_are_raw_data_of_the_pipeline(
    queue: ReviewQueue, run: Callable[..., Result], tmp_path: Path
) -> None:
    sent = {}
    for number, label in enumerate(LABELS):
        film = encode_png(films.pixels(64, 48, seed=number))
        sent[f"{label}/{digest_of(number)}.png"] = digest_bytes(film)
        decide(queue, number, label, film=film)
    decide(queue, 3, "Normal", film=encode_png(films.pixels(64, 48, seed=3)))
    queue.add(new_case(4))
    done = run("export", "--out", tmp_path / "out", "--films")
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "out").glob("films-000001-*")
    assert f"4 films in {folder}, which is NOT encrypted" in done.output
    index = index_of(folder)
    assert len(index) == 4
    assert (index["status"] == "accepted").all()
    assert (index["source"] == "review").all()
    assert {file: index.at[file, "sha256"] for file in sent} == sent
    assert CANARY not in (folder / "metadata.csv").read_text()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")} | {stat.S_IMODE(folder.stat().st_mode)}
    assert modes == {0o600, 0o700}
    before = digest_file(folder / "metadata.csv")
    assert run("export", "--out", tmp_path / "out", "--films").output == done.output
    assert digest_file(folder / "metadata.csv") == before
    assert len(list((tmp_path / "out").glob("films-*"))) == 1


def test_a_label_stays_in_the_table_when_its_film_had_to_go(
    queue: ReviewQueue, run: Callable[..., Result], tmp_path: Path, state: Path
) -> None:
    decide(queue, 1, "Normal")
    old = decide(queue, 2, "Tuberculosis")
    age(state, old, 91)
    done = run("export", "--out", tmp_path / "out", "--films")
    assert "version 1: 2 labels" in done.output
    assert "1 films in " in done.output
    assert "1 labelled films are not kept any more" in done.output


def test_an_export_that_fails_leaves_no_film_behind(
    queue: ReviewQueue, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(queue, 1, "Normal")
    real, calls = export.write_atomically, []

    def full(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(export, "write_atomically", full)
    failed = run("export", "--out", tmp_path / "out", "--films")
    assert failed.exit_code == 1
    assert "No space left while writing the films" in failed.output
    assert len(calls) == 2
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []


def test_without_the_key_nothing_is_exported(
    queue: ReviewQueue, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(queue, 1, "Normal")
    create_secrets(tmp_path / "others.json")
    monkeypatch.setenv("CXR_SECRETS", str(tmp_path / "others.json"))
    refused = run("export", "--out", tmp_path / "out", "--films")
    assert refused.exit_code == 1
    assert "restore it from a backup" in refused.output
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("CXR_SECRETS", str(tmp_path / "nowhere.json"))
    assert "cxr secrets create" in run("status").output


def test_resealing_lets_the_old_key_go(
    queue: ReviewQueue, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = decide(queue, 1, "Normal")
    old = load_key_set("encryption").active
    rotate_secret(tmp_path / "secrets.json", "encryption")
    new = load_key_set("encryption").active
    assert new.id != old.id
    assert queue.film(case_id) == new_case(1).film  # the running service opens it all the while
    done = run("reseal")
    assert (done.exit_code, done.output) == (0, "2 rows are sealed with the present key\n")
    alone = ReviewQueue(
        tmp_path / "state/review.sqlite", Cipher(KeySet("encryption", lambda: (new,))), ReviewSettings()
    )
    assert alone.film(case_id) == new_case(1).film
    assert [one.label for one in alone.corrections()] == ["Normal"]


def test_status_and_prune_say_what_there_is_and_what_went(
    queue: ReviewQueue, run: Callable[..., Result], state: Path
) -> None:
    old = queue.add(new_case(0))
    assert old is not None
    decide(queue, 1, "Normal")
    shown = dict(line.split("\t") for line in run("status").output.splitlines())
    assert (shown["open"], shown["decided"], shown["expired_unread"]) == ("1", "1", "0")
    age(state, old, 91)
    shown = dict(line.split("\t") for line in run("prune").output.splitlines())
    assert (shown["open"], shown["decided"], shown["expired_unread"]) == ("0", "1", "1")


def test_a_queue_that_is_not_there_is_one_sentence(run: Callable[..., Result], state: Path) -> None:
    for command in (["export", "--out", state / "out"], ["reseal"], ["prune"], ["status"]):
        refused = run(*command)
        assert refused.exit_code == 1
        assert "There is no review queue" in refused.output
        assert refused.output.count("\n") == 1
    assert not (state / "review.sqlite").exists()
