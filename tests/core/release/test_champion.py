"""The champion and its history as the store keeps them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_package import good_facts, write_tiny_package

from cxr_core.cli import main
from cxr_core.errors import CxrError
from cxr_core.release.champion import (
    CHAMPION,
    get_champion,
    judged,
    models,
    past_champions,
    record_candidate,
    require_current,
    set_champion,
)
from cxr_core.release.evidence import REPORTS, gather_evidence, gather_verdicts
from cxr_core.release.gate import Comparison, evaluate_gate
from cxr_core.settings_sections import GateSettings
from cxr_core.store import Artefact, ArtefactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "store")


def package(store: ArtefactStore, weights: bytes = b"first", **changes: Any) -> Artefact:
    return store.write_tree("release_candidate", lambda to: write_tiny_package(to, weights_bytes=weights, **changes))  # type: ignore[arg-type, return-value]


def against(champion: Artefact) -> dict[str, Any]:
    """A decision that was made against a champion."""
    comparison = Comparison(champion=champion.digest, name="it", difference=0.0, low=-0.1, high=0.1, films=9, groups=9)
    return {"gate": evaluate_gate({"macro_f1": 0.9}, GateSettings(), good_facts(comparison=comparison))}


def test_there_is_no_champion_at_first(store: ArtefactStore) -> None:
    assert get_champion(store) is None
    assert past_champions(store) == []
    require_current(store, package(store))


def test_the_champion_moves_and_its_predecessors_are_remembered_in_order(store: ArtefactStore) -> None:
    first, second = package(store), package(store, b"second")
    assert set_champion(store, first)
    assert not set_champion(store, first)
    assert set_champion(store, second)
    assert get_champion(store) == second
    assert past_champions(store) == [first, second]
    assert set_champion(store, first)  # it takes its place again
    assert past_champions(store) == [first, second, first]


def test_a_rejected_package_never_becomes_champion(store: ArtefactStore) -> None:
    with pytest.raises(CxrError, match=r"cannot be champion: Macro F1 on test is 0\.2"):
        set_champion(store, package(store, macro_f1=0.2))
    assert get_champion(store) is None


def test_a_crash_between_list_and_pointer_loses_no_champion(
    store: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = package(store)
    set_ref = ArtefactStore.set_ref

    def dies(self: ArtefactStore, key: str, artefact: Artefact) -> None:
        if key == CHAMPION:
            raise KeyboardInterrupt
        set_ref(self, key, artefact)

    monkeypatch.setattr(ArtefactStore, "set_ref", dies)
    with pytest.raises(KeyboardInterrupt):
        set_champion(store, first)
    monkeypatch.undo()
    assert set_champion(store, first)
    assert past_champions(store) == [first]


def test_a_package_judged_against_an_older_champion_is_refused(store: ArtefactStore) -> None:
    first, second = package(store), package(store, b"second")
    late = package(store, b"late", **against(first))
    set_champion(store, first)
    require_current(store, first)
    require_current(store, late)
    with pytest.raises(CxrError, match="was judged against no champion but the champion now is"):
        require_current(store, second)
    set_champion(store, second)
    with pytest.raises(CxrError, match="materialise release_candidate again"):
        require_current(store, late)
    require_current(store, package(store, b"second", metrics={"macro_f1": 0.91}))  # the same model, measured anew


def test_every_judged_package_is_remembered_once(store: ArtefactStore) -> None:
    first, rejected = package(store), package(store, macro_f1=0.2)
    for one in (first, rejected, first):
        record_candidate(store, one)
    assert judged(store) == [first, rejected]


def test_the_list_tells_who_serves_who_served_and_why_others_do_not(store: ArtefactStore) -> None:
    first, second, rejected = package(store), package(store, b"second"), package(store, macro_f1=0.2)
    waiting, lost = package(store, b"waiting"), package(store, b"lost")
    for one in (first, rejected, second, waiting, lost):
        record_candidate(store, one)
    set_champion(store, first)
    set_champion(store, second)
    shutil.rmtree(store.local_tree(lost))
    rows = models(store)
    assert [row["state"] for row in rows] == ["was in service", "rejected", "in service", "passed", "gone"]
    assert rows[1]["reasons"] == ["Macro F1 on test is 0.2, but must be above 0.75."]
    assert rows[2] == {
        "package": second.digest,
        "name": "cxr",
        "version": "1.0.0",
        "state": "in service",
        "reasons": [],
    }
    lines = CliRunner().invoke(main, ["models"], env={"CXR_STORE": str(store.root)}).output.splitlines()
    assert lines[1:3] == [f"{rejected.digest[:12]}  cxr 1.0.0  rejected", f"    {rows[1]['reasons'][0]}"]
    told = CliRunner().invoke(main, ["models", "--json"], env={"CXR_STORE": str(store.root)}).output
    assert [json.loads(line) for line in told.splitlines()] == rows


def test_evidence_names_the_model_of_each_report(store: ArtefactStore) -> None:
    reports = {name: store.write_report(name, file, {"trained_model": "e" * 64}, {}) for name, file in REPORTS.items()}
    assert set(gather_evidence(store, "e" * 64, reports).made_from.values()) == {"e" * 64}
    reports["robustness"] = store.write_report("robustness", "robustness.json", {"n": 1}, {})
    reports["gradcam_gallery"] = store.write_report("gradcam_gallery", "other.json", {}, {})
    del reports["evaluation"]
    found = gather_evidence(store, "e" * 64, reports).made_from
    assert set(found) == set(REPORTS)
    assert {name for name, model in found.items() if model is None} == {"robustness", "gradcam_gallery", "evaluation"}


def test_verdicts_are_read_from_the_reports_that_hold_one(store: ArtefactStore) -> None:
    verdict = {"passed": False, "sentence": "No.", "value": 1.0}
    reports = {
        "shortcut_audit": store.write_report("shortcut_audit", "shortcut_audit.json", {"verdict": verdict}, {}),
        "evaluation": store.write_report("evaluation", "evaluation.json", {"overall": {}}, {}),
        "label_audit": store.write_report("label_audit", "other.json", {"verdict": verdict}, {}),
    }
    assert gather_verdicts(store, reports) == {"shortcut_audit": verdict}


def test_a_report_that_is_gone_from_the_store_is_no_evidence(store: ArtefactStore) -> None:
    report = store.write_report("robustness", "robustness.json", {"trained_model": "e" * 64}, {})
    shutil.rmtree(store.local_tree(report))
    assert gather_evidence(store, "e" * 64, {"robustness": report}).made_from["robustness"] is None


def test_predicting_uses_the_model_in_service_and_not_a_later_candidate_that_was_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, film: Any, encode: Any
) -> None:
    store = ArtefactStore(tmp_path / "home/data/store")
    monkeypatch.setenv("CXR_STORE", str(store.root))
    path = tmp_path / "film.png"
    path.write_bytes(encode(film(1)))

    def digest(*options: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["predict", "--json", *options, str(path)])
        assert result.exit_code == code, result.output
        return str(json.loads(result.stdout)["model"]["digest"]) if code == 0 else result.output

    served, rejected = package(store), package(store, b"second", gate=evaluate_gate({}, GateSettings(), good_facts()))
    store.set_ref("release_candidate", rejected)
    assert "did not pass the promotion gate" in digest(code=1)
    set_champion(store, served)
    assert digest() != digest("--rejected")
