import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import Ranking, percentile_interval, resample_weights
from cxr_core.evaluation.comparison import MEAN, inside_table, out_of_fold_report
from cxr_core.evaluation.fold_figures import fold_losses_figure, inside_figure
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.source_scores import per_source
from cxr_core.evaluation.weighted import OVERALL
from cxr_core.plotting import png_bytes

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
GROUPS = {"a+b": ("a", "b")}
COLUMNS = ["p_0", "p_1", "p_2"]


def predicted(skill: float, n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    labels = np.arange(n) % 3
    sources = np.array(["a", "b", ""])[rng.integers(0, 3, n)]
    sources[labels == 1] = "c"  # a source of one class
    scores = np.random.default_rng(2).normal(size=(n, 3)) + skill * np.eye(3)[labels]
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    ids, groups = [f"i{k:03}" for k in range(n)], [f"g{k // 2}" for k in range(n)]
    columns = {"image_id": ids, "split": "out_of_fold", "fold": labels, "label_index": labels}
    table = pd.DataFrame({**columns, "source": sources, "group_id": groups})
    return table.assign(**dict(zip(COLUMNS, p.T, strict=True)), predicted_index=p.argmax(axis=1))


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {"shuffle": predicted(1.0), "source_balanced": predicted(2.0)}


@pytest.fixture(scope="module")
def report(tables: dict[str, pd.DataFrame]) -> dict:
    found = out_of_fold_report(tables, NAMES, 7, GROUPS, resamples=200)
    return json.loads(json.dumps(found, allow_nan=False))


def test_the_numbers_are_those_of_a_direct_computation(tables: dict[str, pd.DataFrame], report: dict) -> None:
    for way, table in tables.items():
        said = report["ways"][way]
        direct = classification_metrics(table["label_index"].to_numpy(), table[COLUMNS].to_numpy(), NAMES)
        assert said["overall"] == json.loads(json.dumps(direct))
        for name, members in {"a": "a", "b": "b", "unknown": "", "a+b": ["a", "b"]}.items():
            rows = table[table["source"].isin([members] if isinstance(members, str) else members)]
            area = roc_auc_score(rows["label_index"] != 0, 1 - rows["p_0"])
            assert said["inside"][name]["value"] == pytest.approx(area)
            assert said["inside"][name]["films"] == len(rows)
            assert said["inside"][name]["groups"] == rows["group_id"].nunique()


def test_inside_a_source_it_says_what_the_evaluation_says(tables: dict[str, pd.DataFrame], report: dict) -> None:
    for way, table in tables.items():
        apart = per_source(table, NAMES, 7, 200)
        for source in ("a", "b", "unknown"):
            area = report["ways"][way]["inside"][source]
            assert apart[source]["disease_auc"] == {name: area[name] for name in ("value", "low", "high")}
        assert "c" not in report["ways"][way]["inside"]
        mean = np.mean([report["ways"][way]["inside"][source]["value"] for source in ("a", "b", "unknown")])
        assert report["ways"][way]["inside"][MEAN]["value"] == pytest.approx(mean)


def test_the_table_has_single_sources_first_and_the_report_s_numbers(report: dict) -> None:
    table = inside_table(report).set_index("inside")
    assert table.index.tolist() == ["a", "b", "unknown", "a+b", MEAN]
    assert table.loc["a+b", "source_balanced_low"] == report["ways"]["source_balanced"]["inside"]["a+b"]["low"]


def test_differences_are_paired(tables: dict[str, pd.DataFrame], report: dict) -> None:
    (difference,) = report["differences"]
    assert (difference["of"], difference["minus"]) == ("source_balanced", "shuffle")
    rows = {way: table[table["source"] == "a"] for way, table in tables.items()}
    weights = np.concatenate(list(resample_weights(rows["shuffle"]["group_id"].to_numpy(), 7, 200)))
    areas = {way: Ranking((part["label_index"] != 0).to_numpy(), (1 - part["p_0"]).to_numpy()).auc(weights)
             for way, part in rows.items()}  # fmt: skip
    expected = percentile_interval(areas["source_balanced"] - areas["shuffle"])
    assert {name: difference["inside"]["a"][name] for name in ("low", "high")} == pytest.approx(expected)
    for name in ("accuracy", "macro_f1", "macro_auc"):
        values = [report["ways"][way]["overall"][name] for way in ("source_balanced", "shuffle")]
        assert difference["pooled"][name]["value"] == pytest.approx(values[0] - values[1])
        assert difference["pooled"][name]["low"] > 0  # twice the skill


def test_a_way_less_itself_is_nothing(tables: dict[str, pd.DataFrame]) -> None:
    same = out_of_fold_report({"one": tables["shuffle"], "two": tables["shuffle"]}, NAMES, 7, GROUPS, resamples=50)
    (difference,) = same["differences"]
    found = [*difference["inside"].values(), *(difference["pooled"][name] for name in OVERALL)]
    assert len(found) == 5 + len(OVERALL)
    for numbers in found:
        assert numbers == {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}


def test_ways_that_saw_other_films_are_not_compared(tables: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(CxrError, match="did not predict the same films"):
        out_of_fold_report({"one": tables["shuffle"], "two": tables["shuffle"].iloc[1:]}, NAMES, 7)


@pytest.mark.parametrize(("groups", "word"), [({"x": ("a", "nowhere")}, "nowhere"), ({"a": ("b",)}, "taken already")])
def test_a_group_of_sources_has_to_fit_the_films(tables: dict[str, pd.DataFrame], groups: dict, word: str) -> None:
    with pytest.raises(CxrError, match=word):
        out_of_fold_report(tables, NAMES, 7, groups)


def test_without_a_normal_class_nothing_is_made_up(tables: dict[str, pd.DataFrame]) -> None:
    report = out_of_fold_report(tables, ("Covid", "Pneumonia", "Tuberculosis"), 7, resamples=20)
    assert report["ways"]["shuffle"]["inside"] == {}
    assert report["differences"][0]["inside"] == {}
    assert png_bytes(inside_figure(report)).startswith(b"\x89PNG")


def test_the_figures_show_every_number(report: dict) -> None:
    figure = inside_figure(report)
    texts = [text.get_text() for text in figure.axes[0].texts]
    for way in report["ways"].values():
        for area in way["inside"].values():
            assert any(text.startswith(f"{area['value']:.3f}  [{area['low']:.3f}") for text in texts)
    assert png_bytes(figure) == png_bytes(inside_figure(report))


def test_the_loss_of_every_fold_is_drawn() -> None:
    history = [{"epoch": k, "frozen": k == 1, "train_loss": 1 / k, "val_loss": 1.2 / k} for k in (1, 2, 3)]
    folds = [{"fold": k, "history": history[: 3 - k], "best_epoch": 2} for k in range(2)]
    figure = fold_losses_figure({"shuffle": folds, "balanced": folds})
    assert [axis.get_title() for axis in figure.axes] == [
        "shuffle, fold 1", "shuffle, fold 2", "balanced, fold 1", "balanced, fold 2",
    ]  # fmt: skip
    train, val = figure.axes[1].get_lines()[:2]
    assert list(train.get_ydata()) == [1.0, 0.5]
    assert list(val.get_ydata()) == [1.2, 0.6]
