"""``cxr report``: the evidence report of the latest candidate, as a folder that can be opened or sent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxr_core import NOTICE
from cxr_core.errors import CxrError, explain_os_errors

if TYPE_CHECKING:
    from cxr_core.release.documents import DocumentKind
    from cxr_core.store import Artefact, ArtefactStore

__all__ = ["report"]

_MODEL = "trained_model"


@click.command()
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), help="Copy it there; default: say where it lies."
)
@click.option("--card", is_flag=True, help="The model card in place of the evidence report.")
def report(to: Path | None, card: bool) -> None:
    """Show where the evidence report lies, or copy it to a folder.

    It is one HTML file that needs no network, the same as Markdown with its figures, and each number's source as JSON.
    Where the stored reports are newer, or the promotion gate rejected the model, it is written anew from them.
    """
    from cxr_core.release.documents import DOCUMENTS, SETTINGS
    from cxr_core.settings import load_settings
    from cxr_core.store import ArtefactStore

    kind = DOCUMENTS["model_card" if card else "evidence_report"]
    store = ArtefactStore(load_settings().store)
    names = (*kind.inputs, SETTINGS)
    found = {name: artefact for name in names if (artefact := store.find_ref(name)) is not None}
    if _MODEL not in found:
        raise CxrError(f"There is no {_MODEL} in {store.root}: run `make run` first.")
    artefact, why = _current(kind, store, found)
    folder = store.local_tree(artefact)
    if why:
        click.echo(f"Written anew from the stored reports: {why}.")
    if to is not None:
        with explain_os_errors(to, "writing the report"):
            shutil.copytree(folder, to, dirs_exist_ok=True)
        folder = to
    click.echo(f"{folder / f'{kind.name}.html'}\n{NOTICE}")


def _current(kind: DocumentKind, store: ArtefactStore, found: dict[str, Artefact]) -> tuple[Artefact, str]:
    """The stored document, or one that is written now and why."""
    from cxr_core.release.document_files import outdated
    from cxr_core.release.documents import make_document
    from cxr_core.release.report_sources import Sources

    stored = store.find_ref(kind.name)
    if stored is None or not store.holds(stored):
        return make_document(kind, store, found)[0], f"no {kind.name} was stored"
    record = json.loads((store.local_tree(stored) / f"{kind.name}.json").read_bytes())
    changed = outdated(record, Sources.open(store, found))
    if not changed:
        return stored, ""
    return make_document(kind, store, found)[0], f"{', '.join(changed)} changed since"
