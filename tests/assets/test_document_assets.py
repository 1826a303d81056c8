"""The assets of the two documents, and the command that hands the report out, over a made-up store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from cxr_core.release.evidence import SAYS

COUNTS = ("sections", "figures", "numbers_available", "numbers_not_available")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Both documents, made once over a store that holds a part of what they read; the rest is an empty report."""
    from cxr_assets.release import documents
    from cxr_assets.resources import ArtefactIOManager, SettingsResource, StoreResource

    folder = tmp_path_factory.mktemp("site") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "core/release"))
        patch.setenv("CXR_STORE", str(folder))
        patch.setattr("cxr_assets.resources.unpassed_gate", lambda *_: "")  # no check runs here
        from made_up_reports import HOSTILE, made_up_store

        store, artefacts = made_up_store(folder)
        blank = store.write_report("blank", "blank.json", {}, {})
        keys = {key.to_user_string() for asset in documents.ASSETS for key in asset.dependency_keys}
        above = sorted(keys - {"model_card"})
        for name in above:
            store.set_ref(name, artefacts.get(name, blank))
        settings = SettingsResource()
        shelf = StoreResource(settings=settings)
        resources = {"settings": settings, "store": shelf, "io_manager": ArtefactIOManager(store=shelf)}
        result = dg.materialize(
            [*map(dg.AssetSpec, above), *documents.ASSETS],
            resources=resources,
            instance=dg.DagsterInstance.ephemeral(),
        )
        yield SimpleNamespace(result=result, store=store, artefacts=artefacts, hostile=HOSTILE)


def metadata(result: dg.ExecuteInProcessResult, name: str) -> Mapping[str, Any]:
    (event,) = result.asset_materializations_for_node(name)
    return {key: found.value for key, found in event.metadata.items()}


def test_both_documents_are_folders_that_name_their_model(site: SimpleNamespace):
    result = site.result
    for name in ("model_card", "evidence_report"):
        folder = site.store.local_tree(site.store.get_ref(name))
        assert {f"{name}.html", f"{name}.md", f"{name}.json"} <= {path.name for path in folder.iterdir()}
        record = json.loads((folder / f"{name}.json").read_text())
        assert record[SAYS] == site.artefacts["trained_model"].digest
        seen = metadata(result, name)
        assert set(seen) >= {"preview", "page"}
        assert seen["preview"].startswith("# ")
        assert len(seen["preview"]) < 31_000
        assert seen["page"].endswith(f"/{name}.html")
        assert [seen[f"document_{name}"] for name in COUNTS] == [record[name] for name in COUNTS]
    report = (site.store.local_tree(site.store.get_ref("evidence_report")) / "evidence_report.html").read_text()
    assert "rejected this model" in report


def test_a_run_is_tagged_with_no_name_of_a_file(site: SimpleNamespace):
    (event,) = site.result.asset_materializations_for_node("evidence_report")
    tags = json.dumps([dict(site.result.dagster_run.tags), dict(event.tags or {})])
    assert not [name for name in site.hostile if name in tags or json.dumps(name)[1:-1] in tags]


def test_the_command_hands_out_the_report_and_writes_it_anew_when_it_is_old(
    site: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from cxr_core.release.report_command import report

    monkeypatch.setenv("CXR_STORE", str(site.store.root))

    def ask(*arguments: str) -> str:
        done = CliRunner().invoke(report, list(arguments))
        assert done.exit_code == 0, done.exception
        return done.output

    assert "anew" not in ask("--to", str(tmp_path / "out"))
    settings = site.store.read_json(site.store.get_ref("settings"))
    assert settings["profile"] in (tmp_path / "out/evidence_report.md").read_text()
    assert settings["digest"][:12] in (tmp_path / "out/evidence_report.md").read_text()
    folder = site.store.local_tree(site.store.get_ref("evidence_report"))
    handed = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert handed == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert str(folder / "evidence_report.html") in ask()
    assert "model_card.html" in ask("--card")
    newer = site.store.write_report("evaluation", "evaluation.json", {"overall": {"n": 7}}, {})
    site.store.set_ref("evaluation", newer)
    assert "evaluation changed since" in ask("--to", str(tmp_path / "new"))
    record = json.loads((tmp_path / "new/evidence_report.json").read_text())
    assert record["inputs"]["evaluation"] == newer.digest
    assert (
        site.store.local_tree(site.store.get_ref("evidence_report")) == folder
    )  # what is current is not the command's


def test_the_command_needs_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from cxr_core.release.report_command import report

    monkeypatch.setenv("CXR_STORE", str(tmp_path))
    assert "run `make run` first" in str(CliRunner().invoke(report, []).exception)
