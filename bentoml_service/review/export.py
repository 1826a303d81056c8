"""The way back: what readers decided, as labels and films that the pipeline can read."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bentoml_service.problems import RequestError
from bentoml_service.review.cases import Correction
from bentoml_service.review.queue import ReviewQueue
from cxr_core.dataset.label_corrections import LabelTable, write_corrections
from cxr_core.dataset.scan import SIDECAR
from cxr_core.errors import explain_os_errors
from cxr_core.store import write_atomically

__all__ = ["ExportedFilms", "export_films", "export_labels"]

SOURCE = "review"  # of the films in the sidecar


@dataclass(frozen=True)
class ExportedFilms:
    """Films of one version of the labels.

    Attributes:
        folder: class folders and ``metadata.csv``.
        films: how many are in it.
        gone: labelled films whose time in the queue was over.
    """

    folder: Path
    films: int
    gone: int


def export_labels(queue: ReviewQueue, out: Path) -> tuple[LabelTable, list[Correction]]:
    """Write the labels of all decisions as the next version in ``out``, unless the latest one says the same."""
    corrections = queue.corrections()
    rows = [
        {
            "content_digest": one.content_digest,
            "label": one.label,
            "action": one.action,
            "reviewer": one.reviewer,
            "decided": one.decided,
            "model_digest": one.model_digest,
        }
        for one in corrections
    ]
    return write_corrections(out, rows), corrections


def export_films(queue: ReviewQueue, out: Path, table: LabelTable, corrections: list[Correction]) -> ExportedFilms:
    """Write the films of a version of the labels, readable to everybody who can read the folder.

    Args:
        queue: where the films are.
        out: ``films-000003-0f1e2d3c4b5a`` is made in it, whole or not at all; one that is there stays as it is.
        table: the version.
        corrections: its labels.

    Returns:
        Where they are. Each film is named by the SHA-256 of the file that was sent, lies in the folder of its reader's
        label, and has the source ``review`` in the sidecar.
    """
    final = out / f"films-{table.number:06}-{table.version[:12]}"
    if final.exists():
        there = sum(1 for _ in final.glob("*/*.png"))
        return ExportedFilms(final, there, len(corrections) - there)
    rows, gone = [], 0
    with explain_os_errors(out, "writing the films"):
        staging = Path(tempfile.mkdtemp(dir=out, prefix=".tmp-"))  # for this user alone
        try:
            for one in corrections:
                try:
                    film = queue.film(one.case_id)
                except RequestError:  # the case is gone, its label is not
                    gone += 1
                    continue
                file = f"{one.label}/{one.content_digest}.png"
                (staging / one.label).mkdir(mode=0o700, exist_ok=True)
                write_atomically(staging / file, film)
                rows.append([file, one.label, SOURCE])
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows([["file", "label", "source"], *rows])
            write_atomically(staging / SIDECAR, text.getvalue().encode())
            staging.replace(final)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return ExportedFilms(final, len(rows), gone)
