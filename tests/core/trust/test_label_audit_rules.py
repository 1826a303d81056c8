"""The label audit on features whose truth is known: what it finds, and what it says where there is nothing to find."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_core.dataset.hashing import hash_files
from cxr_core.dataset.index import build_index
from cxr_core.dataset.ingest import ingest
from cxr_core.dataset.label_corrections import CORRECTION_COLUMNS, QUEUE_COLUMNS, read_corrections
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.dataset.scan import scan
from cxr_core.digests import digest_bytes, digest_file
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import is_available
from cxr_core.evaluation.folds import deal_folds
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings_sections import DuplicateSettings, QualitySettings
from cxr_core.settings_trust import LabelAuditSettings
from cxr_core.trust.label_audit import LabelAudit, audit_labels, audited_films
from cxr_core.trust.label_confident import confident_learning
from cxr_core.trust.label_figures import noise_figure, queue_figure, ranking_figure
from cxr_core.trust.label_head import out_of_fold
from cxr_core.trust.label_queue import contradictions, queue_csv, relabel_queue
from cxr_core.trust.label_space import RegionFeatures, audit_space

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
QUICK = LabelAuditSettings(resamples=100)
NO_INDEX = pd.DataFrame(columns=["image_id", "sha256", "label", "source", "group_id", "reason_code"])


def films(counts: dict[str, tuple[int, int, int]], distance: float = 3.0, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    """Films of each source and class; features in which classes lie apart and sources lie further apart."""
    rng = np.random.default_rng(seed)
    rows, values = [], []
    for site, (source, of_class) in enumerate(counts.items()):
        for label, count in enumerate(of_class):
            for _ in range(count):
                number = len(rows)
                rows.append(
                    (f"i{number:04}", label, source, f"g{number // 2:04}" if number % 5 == 0 else f"h{number:04}")
                )
                value = rng.normal(0, 1, 12)
                value[label] += distance
                value[5 + site] += 4
                values.append(value)
    table = pd.DataFrame(rows, columns=["image_id", "label_index", "source", "group_id"])
    table["sha256"] = [digest_bytes(name.encode()) for name in table["image_id"]]
    table["true"] = table["label_index"]
    return table, RegionFeatures(np.array(values, np.float32), (12,))


def misfile(table: pd.DataFrame, source: str, truly: int, filed: int, count: int) -> pd.DataFrame:
    rows = table.index[(table["source"] == source) & (table["true"] == truly)][:count]
    return table.assign(label_index=table["label_index"].where(~table.index.isin(rows), filed))


def audit(table: pd.DataFrame, features: Any, **more: Any) -> LabelAudit:
    settings = more.pop("settings", QUICK)
    return audit_labels(table, features, more.pop("index", NO_INDEX), NAMES, settings, 42, **more)


def precision_recall(found: LabelAudit, table: pd.DataFrame) -> tuple[float, float]:
    wrong, doubted = set(table["image_id"][table["label_index"] != table["true"]]), set(found.queue["image_id"])
    return len(wrong & doubted) / len(doubted), len(wrong & doubted) / len(wrong)


# ------------------------------------------------------------------ by system
@pytest.fixture(scope="module")
def planted() -> tuple[pd.DataFrame, LabelAudit]:
    """All normals of the south under pneumonia: there the source tells the label, and no ordinary head objects."""
    table, features = films({"north": (100, 60, 60), "south": (40, 100, 40)})
    table = misfile(table, "south", 0, 1, 40)
    predictions = table.assign(split="test", predicted_index=table["true"])
    return table, audit(table, features, predictions=predictions)


def test_one_source_s_normals_under_a_disease_are_found_though_the_source_tells_the_label(planted: Any) -> None:
    table, found = planted
    assert min(precision_recall(found, table)) >= 0.9
    assert (found.queue["kind"] == "system").mean() > 0.9
    cells = [cell for cell in found.report["cells"] if cell["is_mixture"]]
    assert [(cell["source"], cell["label"], cell["other"]) for cell in cells] == [("south", "Pneumonia", "Normal")]
    assert cells[0]["share"]["low"] < 40 / 140 < cells[0]["share"]["high"]
    assert cells[0]["judge"] == "other sources"


def test_an_ordinary_head_does_not_object_to_them() -> None:
    table, features = films({"north": (100, 60, 60), "south": (40, 100, 40)})
    table = misfile(table, "south", 0, 1, 40)
    labels = table["label_index"].to_numpy()
    fold = deal_folds(table.assign(label=table["label_index"].astype(str)), 5, 42)
    p = out_of_fold(audit_space(features.values, features.widths, 42), labels, fold, 3, QUICK.head_strength)
    ordinary = confident_learning(labels, p).suspects & (labels != table["true"])
    assert ordinary.sum() < 0.5 * (labels != table["true"]).sum()


def test_a_perfect_classifier_s_recall_on_wrong_labels_stands_beside_the_model_s(planted: Any) -> None:
    table, found = planted
    entry = found.report["classes"]["Pneumonia"]
    truth = 1 - 40 / 200
    assert entry["perfect_recall"]["low"] < truth < entry["perfect_recall"]["high"]
    assert entry["model_recall"]["value"] == truth  # the model is that perfect classifier
    assert entry["noise"]["value"] == pytest.approx(1 - entry["perfect_recall"]["value"])
    assert found.report["classes"]["Normal"]["perfect_recall"]["value"] > 0.97
    joint = np.array(found.report["joint"]["films"])
    assert np.allclose(joint.sum(axis=1), np.bincount(table["label_index"]))


def test_the_verdict_names_the_worst_place_and_fails(planted: Any) -> None:
    verdict = planted[1].report["verdict"]
    assert not verdict["passed"]
    assert verdict["sentence"].startswith("Of the labels Pneumonia of south, which seem to be Normal an estimated")
    assert verdict["low"] > verdict["limit"] == QUICK.max_noise_share


def test_the_head_learns_more_without_the_suspects(planted: Any) -> None:
    side = planted[1].report["without_suspects"]
    assert side["left_out"] + side["films"] == 400
    assert side["without_minus_with"]["log_loss"]["high"] < 0
    assert set(side["recall_without_minus_with"]) == set(NAMES)


def test_the_order_of_the_films_is_of_no_account(planted: Any) -> None:
    table, features = films({"north": (100, 60, 60), "south": (40, 100, 40)})
    table = misfile(table, "south", 0, 1, 40)
    order = np.random.default_rng(9).permutation(len(table))
    mixed = audit(table.iloc[order].reset_index(drop=True), RegionFeatures(features.values[order], (12,)))
    first = planted[1].queue
    assert set(mixed.queue["image_id"]) == set(first["image_id"])
    assert mixed.report["overall"]["value"] == pytest.approx(planted[1].report["overall"]["value"], abs=1e-4)


def test_figures_are_drawn_for_findings_and_for_none(planted: Any) -> None:
    frame = np.zeros((32, 32), np.uint8)
    table, features = films({"north": (6, 6, 6)})
    for found in (planted[1], audit(table, features)):
        for made in (
            queue_figure(found.queue, lambda _: frame, 7),
            noise_figure(found.report),
            ranking_figure(found.films),
        ):
            assert made.axes
    assert "Pneumonia → Normal" in queue_figure(planted[1].queue, lambda _: None, 7).axes[0].get_xlabel()


def other_kind(table: pd.DataFrame, features: Any, source: str) -> RegionFeatures:
    """The classes of one source differ in other features than elsewhere, as children from grown-ups."""
    values = features.values.copy()
    rows = (table["source"] == source).to_numpy()
    values[np.ix_(rows, [0, 1, 3, 4])] = values[np.ix_(rows, [3, 4, 0, 1])]
    return RegionFeatures(values, features.widths)


def test_heads_that_do_not_work_in_one_another_s_source_judge_no_third() -> None:
    table, features = films({"north": (80, 80, 0), "east": (80, 80, 0), "south": (0, 90, 0)}, distance=3.5)
    found = audit(table, other_kind(table, features, "east"))
    (reason,) = (
        cell["share"]["reason"]
        for cell in found.report["cells"]
        if (cell["source"], cell["other"]) == ("south", "Normal")
    )
    assert "heads of the other sources tell Pneumonia from Normal in one another with an AUC of 0." in reason
    believed = audit(table, features)
    assert {cell["judge"] for cell in believed.report["cells"] if cell["other"] == "Normal"} == {"other sources"}


def test_a_source_judges_itself_where_the_others_are_of_another_kind() -> None:
    table, features = films({"north": (80, 80, 0), "south": (90, 90, 0)}, distance=3.5)
    table = misfile(table, "south", 0, 1, 36)
    found = audit(table, other_kind(table, features, "south"))
    cell = next(cell for cell in found.report["cells"] if cell["is_mixture"])
    assert (cell["source"], cell["judge"]) == ("south", "own source")
    assert min(precision_recall(found, table)) >= 0.8


def test_a_head_is_not_believed_where_nothing_shows_that_it_works() -> None:
    table, features = films({"north": (80, 80, 0), "south": (0, 90, 0)})
    found = audit(table, features)
    reasons = [cell["share"]["reason"] for cell in found.report["cells"] if cell["source"] == "south"]
    assert any("nothing shows that a head of north works here" in reason for reason in reasons)
    assert found.report["queue"]["system"] == 0


# ------------------------------------------------------------------ at random, and nothing
def test_wrong_labels_at_random_are_found() -> None:
    table, features = films({"north": (90, 90, 90), "south": (90, 90, 90)}, distance=4.0)
    rng = np.random.default_rng(3)
    rows = rng.permutation(len(table))[:27]
    table.loc[rows, "label_index"] = (table.loc[rows, "label_index"] + rng.integers(1, 3, 27)) % 3
    found = audit(table, features)
    assert min(precision_recall(found, table)) >= 0.85
    assert found.report["overall"]["low"] < 0.05 < found.report["overall"]["high"]
    assert set(found.queue["kind"]) == {"random"}
    caught = found.queue.merge(table, on="image_id")
    caught = caught[caught["label_index"] != caught["true"]]
    assert (caught["suggested"] == [NAMES[true] for true in caught["true"]]).mean() > 0.95
    assert found.queue["score"].is_monotonic_decreasing
    assert found.queue["rank"].tolist() == list(range(1, len(found.queue) + 1))


@pytest.mark.parametrize("seed", range(3))
def test_clean_labels_pass_whatever_the_mix_of_the_sources(seed: int) -> None:
    table, features = films({"north": (100, 40, 90), "south": (30, 120, 40)}, distance=4.0, seed=seed)
    found = audit(table, features)
    assert found.report["verdict"]["passed"]
    assert not any(cell["is_mixture"] for cell in found.report["cells"])
    assert found.report["overall"]["value"] < 0.02
    assert found.report["overall"]["high"] > found.report["overall"]["value"]


# ------------------------------------------------------------------ too little
def test_a_class_of_three_films_is_named_and_the_others_are_audited() -> None:
    table, features = films({"north": (60, 60, 3), "south": (60, 60, 0)})
    found = audit(table, features)
    assert found.report["classes"]["Tuberculosis"]["noise"]["reason"] == "3 films of Tuberculosis, 20 are needed"
    assert is_available(found.report["classes"]["Normal"]["noise"])
    assert found.report["joint"]["labels"] == ["Normal", "Pneumonia"]
    assert not set(found.films["image_id"]) & set(table["image_id"][table["label_index"] == 2])


def test_one_source_is_audited_by_itself() -> None:
    table, features = films({"only": (60, 60, 60)}, distance=4.0)
    found = audit(table, features)
    assert {cell["judge"] for cell in found.report["cells"]} == {"own source"}
    assert is_available(found.report["overall"])


def test_where_each_source_has_one_class_no_mixture_can_be_told() -> None:
    table, features = films({"north": (60, 0, 0), "south": (0, 60, 0), "east": (0, 0, 60)})
    found = audit(table, features)
    assert all("no other source holds 20 films of both" in cell["share"]["reason"] for cell in found.report["cells"])
    assert found.report["queue"]["system"] == 0


def test_without_a_normal_class_the_others_are_audited() -> None:
    table, features = films({"north": (0, 60, 60), "south": (0, 60, 60)}, distance=4.0)
    found = audit(table, features)
    assert found.report["classes"]["Normal"]["noise"]["reason"] == "0 films of Normal, 20 are needed"
    assert is_available(found.report["classes"]["Pneumonia"]["noise"])


@pytest.mark.parametrize("counts", [(6, 6, 6), (60, 0, 0), (0, 0, 0)])
def test_too_few_films_are_said_and_nothing_is_made_up(counts: tuple[int, int, int]) -> None:
    table, features = films({"north": counts}) if sum(counts) else (films({"n": (1, 0, 0)})[0].head(0), None)
    found = audit(table, features or RegionFeatures(np.zeros((0, 0), np.float32), ()))
    assert not is_available(found.report["overall"])
    assert "two classes of 20 films or more are needed" in found.report["verdict"]["sentence"]
    assert not found.report["verdict"]["passed"]
    assert len(found.queue) == 0


def test_films_that_cannot_be_told_apart_are_said_to_be_so() -> None:
    table, features = films({"north": (60, 60, 60)})
    flat = audit(table, RegionFeatures(np.ones_like(features.values), (12,)))
    assert flat.report["overall"]["reason"] == "every film is given the same probabilities"
    with pytest.raises(CxrError, match="values that are no numbers"):
        audit(table, RegionFeatures(np.full_like(features.values, np.nan), (12,)))


# ------------------------------------------------------------------ given probabilities
def test_probabilities_of_a_cross_validation_take_the_head_s_place() -> None:
    table, features = films({"north": (90, 90, 90)})
    noise = RegionFeatures(np.random.default_rng(0).normal(0, 1, features.values.shape).astype(np.float32), (12,))
    sure = np.full((270, 3), 0.01)
    sure[np.arange(270), table["true"]] = 0.98
    wrong = misfile(table, "north", 0, 2, 9)
    given = wrong[["image_id"]].assign(**{f"p_{k}": sure[:, k] for k in range(3)}).sample(frac=1, random_state=1)
    found = audit(wrong, noise, given=given)
    assert precision_recall(found, wrong) == (1.0, 1.0)
    assert found.report["judged_by"] == "the cross-validated model"
    with pytest.raises(CxrError, match="lacks 1 of 270 films"):
        audit(wrong, noise, given=given.iloc[1:])
    with pytest.raises(CxrError, match="Column p_1"):
        audit(wrong, noise, given=given.assign(p_1=np.nan))


def test_whole_patients_are_drawn_where_there_are_too_many_films() -> None:
    table, _ = films({"north": (100, 100, 100)})
    chosen = audited_films(table, LabelAuditSettings(max_films=100), 1)
    assert 90 <= len(chosen) <= 100
    assert not set(chosen["group_id"]) & set(table["group_id"][~table["image_id"].isin(chosen["image_id"])])


# ------------------------------------------------------------------ the queue and its way back
PLAIN = Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def index_of(root: Path, corrections: Path | None = None) -> pd.DataFrame:
    cache = PixelCache(root.parent / "cache", PLAIN, QualitySettings())
    hashed = hash_files(root, scan(root, NAMES), root.parent / "cache", workers=1)
    ingest(root, hashed, cache, PLAIN, QualitySettings())
    said = read_corrections(corrections, NAMES) if corrections else None
    return build_index(root, hashed, cache, NAMES, QualitySettings(), DuplicateSettings(), corrections=said)


@pytest.fixture
def root(tmp_path: Path, film: Any, encode: Any) -> Path:
    for number in range(6):
        path = tmp_path / "raw" / NAMES[number % 3] / f"film{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(film(number)))
    shutil.copy(tmp_path / "raw/Normal/film0.png", tmp_path / "raw/Pneumonia/again.png")
    return tmp_path / "raw"


def decided(text: str, decisions: dict[str, dict[str, str]]) -> str:
    rows = list(csv.DictReader(io.StringIO(text)))
    for row in rows:
        row.update(decisions.get(row["content_digest"], {}))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, [*CORRECTION_COLUMNS, *QUEUE_COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_a_queue_that_a_reader_filled_in_corrects_the_index(root: Path, tmp_path: Path) -> None:
    index = index_of(root)
    doubles = contradictions(index)
    assert doubles["label"].tolist() == ["Normal / Pneumonia"]
    assert doubles["suggested"].tolist() == [""]
    doubted = index[index["file"].isin(["Tuberculosis/film2.png", "Tuberculosis/film5.png"])]
    rows = doubted[["image_id", "sha256", "label", "source"]].assign(suggested="Normal", score=0.9, kind="random")
    queue = relabel_queue(None, pd.Series(dtype=str), pd.concat([doubles, rows]))
    assert queue["kind"].tolist() == ["contradiction", "random", "random"]
    text = queue_csv(queue, "a" * 64, NAMES)
    path = tmp_path / "queue.csv"
    path.write_text(text)
    assert read_corrections(path, NAMES).labels == {}  # nobody has decided anything

    who = {"reviewer": "reader-anna", "decided": "2026-11-24"}
    double, accepted = doubles["sha256"].iloc[0], digest_file(root / "Tuberculosis/film2.png")
    path.write_text(decided(text, {double: {"action": "correct", "label": "Pneumonia", **who},
                                   accepted: {"action": "accept", **who}}))  # fmt: skip
    after = index_of(root, path).set_index("file")
    assert after.at["Tuberculosis/film2.png", "label"] == "Normal"
    assert after.at["Tuberculosis/film5.png", "label"] == "Tuberculosis"
    assert set(after.loc[["Normal/film0.png", "Pneumonia/again.png"], "label"]) == {"Pneumonia"}
    assert "contradictory_label" not in set(after["reason_code"])
    assert set(index["reason_code"]) >= {"contradictory_label"}


@pytest.mark.parametrize(
    "decision", [{"action": "accept"}, {"reviewer": "anna"}, {"action": "maybe", "decided": "2026-11-24"}]
)
def test_a_decision_that_is_half_filled_in_is_refused(tmp_path: Path, decision: dict[str, str]) -> None:
    row = {"image_id": "i", "sha256": "b" * 64, "label": "Normal", "suggested": "Pneumonia", "score": 0.9,
           "kind": "random", "source": "", "rank": 1}  # fmt: skip
    path = tmp_path / "queue.csv"
    path.write_text(decided(queue_csv(pd.DataFrame([row]), "a" * 64, NAMES), {"b" * 64: decision}))
    with pytest.raises(CxrError, match="line 2: action must be accept or correct"):
        read_corrections(path, NAMES)


def test_most_copies_speak_for_a_label_and_ties_for_none() -> None:
    rows = [("a", "1" * 64, "Normal"), ("b", "2" * 64, "Pneumonia"), ("c", "3" * 64, "Pneumonia")]
    index = pd.DataFrame(rows, columns=["image_id", "sha256", "label"]).assign(
        source="x", group_id="g", reason_code="contradictory_label"
    )
    assert contradictions(index)["suggested"].tolist() == ["Pneumonia"] * 3
    assert contradictions(index.head(2))["suggested"].tolist() == ["", ""]
    assert contradictions(index.assign(reason_code="")).empty


def test_what_a_reader_has_settled_is_not_asked_again() -> None:
    table, features = films({"north": (90, 90, 90)}, distance=4.0)
    table = misfile(table, "north", 0, 1, 6)
    wrong = table[table["label_index"] != table["true"]]
    before = audit(table, features)
    assert len(set(wrong["image_id"]) & set(before.queue["image_id"])) >= 5
    index = wrong[["image_id", "sha256", "source", "group_id"]].assign(label="Pneumonia", reason_code="",
                                                                       label_source="review")  # fmt: skip
    after = audit(table, features, index=index)
    assert not set(wrong["image_id"]) & set(after.queue["image_id"])
    assert after.report["settled_by_readers"] == 6


def test_a_suggestion_that_is_no_class_is_refused() -> None:
    row = {"image_id": "i", "sha256": "b" * 64, "label": "Normal", "suggested": "Covid", "score": 0.9, "kind": "random",
           "source": "", "rank": 1}  # fmt: skip
    with pytest.raises(CxrError, match="a label that is no class"):
        queue_csv(pd.DataFrame([row]), "a" * 64, NAMES)
