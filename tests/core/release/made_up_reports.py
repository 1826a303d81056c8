"""A store of made-up reports with hostile names, and a document that shows each kind of block over it."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pandas as pd
from PIL import Image

from cxr_core.release.document import (
    COUNT,
    PERCENT,
    Block,
    Document,
    Fact,
    Facts,
    Heading,
    Missing,
    Paragraph,
    Section,
    Table,
)
from cxr_core.release.evidence import SAYS
from cxr_core.release.report_sources import Sources
from cxr_core.store import Artefact, ArtefactStore

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>.png',
    "x' onmouseover='alert(1)",
    "[film](https://example.org/a) ![x](https://example.org/b.png)",
    "a | b `c` **d** _e_ # f & &lt;",
    "up\nand\ttoo \u202egnp.exe\x07",
    "# heading {braces}",
    "- point\n---",
)
SCORES = ("precision", "recall", "specificity", "F1", "AUC", "kappa", "MCC", "PR-AUC", "Brier", "log loss")


def png(width: int = 1200, height: int = 500) -> bytes:
    """A figure: dark marks on white, as every figure of the project is."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((0, 114, 178), (width // 10, height // 5, width // 2, height // 2))
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def made_up_store(folder: Path, model: str = "") -> tuple[ArtefactStore, dict[str, Artefact]]:
    """A store, and the artefacts of an evaluation, a table, a robustness report of another model, and a package.

    Args:
        folder: of the store.
        model: digest that the evaluation says it is of; empty: of the model that is there.
    """
    store = ArtefactStore(folder)
    trained = store.write_report("trained_model", "training.json", {"labels": ["a", "b"]}, {})
    scores = {
        name: {"value": 0.1 * k + 0.0123, "low": 0.1 * k, "high": 0.1 * k + 0.07} for k, name in enumerate(SCORES)
    }
    evaluation = {
        SAYS: model or trained.digest,
        "overall": {"accuracy": 0.8123456789, "n": 1234, "whole": 56.0, "tiny": 5.5e-6, "gap": -0.0423},
        "intervals": {"accuracy": {"low": 0.70, "high": 0.91}},
        "per/source": {
            name: {"scores": scores, "~": {"value": None, "reason": f"no films of {name}"}} for name in HOSTILE
        },
        "empty": None,
        "text": "none",
        "rows": {"value": 3},
    }  # fmt: skip
    figures = {"roc_curves": png(), "small": png(200, 120)}
    splits = pd.DataFrame({"split": ["train", "test", "test"], "source": [HOSTILE[0], HOSTILE[0], HOSTILE[1]]})
    return store, {
        "trained_model": trained,
        "evaluation": store.write_report("evaluation", "evaluation.json", evaluation, figures),
        "splits": store.write_table("splits", splits),
        "robustness": store.write_report(
            "robustness", "robustness.json", {SAYS: "f" * 64, "share": 0.5}, {"scores": png()}
        ),
        "release_candidate": store.write_report(
            "release_candidate",
            "manifest.json",
            {"name": "cxr", "version": "1.0.0", "data": {SAYS: trained.digest}, "gate": {"passed": False}},
            {},
        ),
    }


def every_block(sources: Sources) -> Document:
    """Each kind of block: available, missing, empty, hostile, wide and long."""

    def score(source: str, name: str) -> str:
        return f"/per~1source/{source.replace('~', '~0').replace('/', '~1')}/scores/{name}"

    accuracy = sources.number("evaluation", "/overall/accuracy", PERCENT, "/intervals/accuracy")
    wide = Table(
        ("source", *SCORES),
        tuple((name, *(sources.number("evaluation", score(name, kind)) for kind in SCORES)) for name in HOSTILE),
        "Scores inside each source.",
    )
    long = Table(
        ("rule", "passed", "value", "finding"),
        tuple((f"rule_{k}", "yes", accuracy, "A sentence that needs a column of its own. " * 4) for k in range(9)),
        "Rules.",
    )
    first: tuple[Block, ...] = (
        Paragraph("Accuracy is {accuracy} on {films} films of {source}.", {
            "accuracy": accuracy, "films": sources.number("evaluation", "/overall/n"), "source": HOSTILE[0],
        }),
        Heading("In numbers"),
        Facts((
            Fact("whole", sources.number("evaluation", "/overall/whole", COUNT)),
            Fact("tiny", sources.number("evaluation", "/overall/tiny")),
            Fact("gap", sources.number("evaluation", "/overall/gap", "points")),
            Fact("absent", sources.number("evaluation", "/overall/nowhere")),
            Fact("films of a source", sources.count("splits", {"split": "test", "source": HOSTILE[0]})),
            Fact(HOSTILE[2], HOSTILE[1]),
            Fact("without text", ""),
        )),
        wide,
    )  # fmt: skip
    return Document(
        "Evidence <report>",
        "What the stored reports say.",
        (
            Section("scores", "Scores & more", first),
            Section(
                "figures",
                "Figures",
                (
                    sources.picture("evaluation", "roc_curves", 'ROC "curves"', "ROC curves <each>."),
                    sources.picture("evaluation", "small", "A small one", "Small."),
                    sources.picture("robustness", "scores", "Of another model", "Never shown."),
                    long,
                    Table(("a", "b"), (), "Nothing here.", "no film was wrong"),
                    Table((), (), "No column."),
                    Facts(()),
                    Missing("no report of mitigation is stored"),
                ),
            ),
            Section("nothing", "Nothing", ()),
        ),
        {"Model": HOSTILE[1], "Digest": "0123456789abcdef" * 4},
    )


def opened(folder: Path, change: Mapping[str, Artefact] | None = None) -> Sources:
    """Sources over the made-up store."""
    store, artefacts = made_up_store(folder)
    return Sources.open(store, {**artefacts, **(change or {})})
