"""The README tells the truth: its lineage is the code's, its commands exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def short(name: str) -> str:
    return "eda" if name.startswith("eda_") else name


def test_the_lineage_picture_is_the_asset_graph():
    from cxr_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    edges = set()
    for name, above in parents.items():
        for parent in above:
            if name == "model_card":  # the node "reports" stands for all that the card is written from
                edges |= {(short(parent), "reports"), ("reports", name)}
            elif name in {"evidence_report", "release_candidate"} and parent in parents["model_card"]:
                edges.add(("reports", name))
            else:
                edges.add((short(parent), short(name)))
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", README, re.MULTILINE))
    assert drawn == edges


def test_make_targets_that_are_named_exist():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"make ([a-z-]+)", listed))
    assert (
        set(re.findall(r"\bmake ([a-z]+)\b", " ".join(re.findall(r"`[^`]*`|^make .*$", README, re.MULTILINE))))
        <= targets
    )
    assert {"run", "test", "ui", "lint", "serve", "bench", "lock", "clean"} <= targets


def test_settings_that_are_named_exist():
    from cxr_core.settings import describe, load_settings

    known = {f"CXR_{name.upper().replace('.', '__')}" for name, _, _ in describe(load_settings())}
    named = set(re.findall(r"CXR_[A-Z_]+", README + (ROOT / "data/README.md").read_text()))
    service = {"CXR_API_KEYS", "CXR_API_KEY", "CXR_SECRETS", "CXR_MODEL"}  # read before there are settings
    assert named <= known | service


def test_the_picture_is_there():
    assert (ROOT / "docs/asset-graph.png").stat().st_size > 10_000


def test_every_short_form_of_a_source_is_explained():
    sources = (ROOT / "docs/sources.md").read_text()
    explained = set(re.findall(r"^\| (\d+) \|", sources, re.MULTILINE))
    named: set[str] = set()
    for package in ("cxr_core", "cxr_assets", "bentoml_service"):
        for path in (ROOT / package).rglob("*.py"):
            for numbers in re.findall(r"TRAPS (\d+(?:, \d+)*)", path.read_text()):
                named |= set(numbers.split(", "))
    assert named
    assert named <= explained
