"""The labels that readers gave in review, as a versioned source beside the folders and the sidecar.

A folder holds one immutable table a version, ``labels-000003-0f1e2d3c4b5a.csv``: a number that only grows and the
beginning of the table's SHA-256, its version. A film is found by its content, so that it keeps its reader's label
wherever it is filed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.locking import locked
from cxr_core.store import write_atomically

__all__ = [
    "CORRECTION_COLUMNS",
    "QUEUE_COLUMNS",
    "LabelCorrections",
    "LabelTable",
    "apply_corrections",
    "read_corrections",
    "spread_to_copies",
    "write_corrections",
]

CORRECTION_COLUMNS = ("content_digest", "label", "action", "reviewer", "decided", "model_digest")
# Further columns of a relabel queue, which a reader fills in by hand: why the film is asked about.
QUEUE_COLUMNS = ("rank", "image_id", "filed", "suggested", "score", "kind", "source")

_NAME = re.compile(r"labels-(\d{6,})-([0-9a-f]{12})\.csv")
_VERSION_DIGITS = 12  # of the version in a file's name, enough to see that name and content belong together
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ACTIONS = ("accept", "correct")
_REVIEW = "review"


@dataclass(frozen=True)
class LabelTable:
    """One version of the labels on disk.

    Attributes:
        path: the file.
        number: of the version, from 1; 0 for a file that was named by hand.
        version: SHA-256 of its content.
    """

    path: Path
    number: int
    version: str


@dataclass(frozen=True)
class LabelCorrections:
    """What readers say of films.

    Attributes:
        table: where it was read from.
        labels: SHA-256 of a file's content to the class that it shows, spelt as in the settings.
    """

    table: LabelTable
    labels: Mapping[str, str]


# ---------------------------------------------------------------------- on disk
def write_corrections(folder: Path, rows: Iterable[Mapping[str, str]]) -> LabelTable:
    """Write a version of the labels, unless the latest one says the same.

    Args:
        folder: where the versions lie; made, for this user alone, where it is missing.
        rows: the columns ``CORRECTION_COLUMNS``: SHA-256 of the file, label, ``accept`` or ``correct``, who decided,
            when (ISO 8601), SHA-256 of the model whose label it was about. In any order.

    Returns:
        The latest version, which now holds exactly ``rows``.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CORRECTION_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: row["content_digest"]))
    data = text.getvalue().encode()
    version = digest_bytes(data)
    with locked(folder / "labels", "writing the label corrections"):
        latest = _latest(folder)
        if latest is not None and digest_bytes(_bytes(latest.path)) == version:
            return LabelTable(latest.path, latest.number, version)
        number = latest.number + 1 if latest else 1
        path = folder / f"labels-{number:06}-{version[:_VERSION_DIGITS]}.csv"
        write_atomically(path, data)
    return LabelTable(path, number, version)


def read_corrections(path: Path, classes: tuple[str, ...]) -> LabelCorrections:
    """Read the latest version of a folder, or the one version that ``path`` names.

    Args:
        path: the folder of versions, or a table.
        classes: the labels of the data set; told apart without regard to case.

    Raises:
        CxrError: nothing there, a table that is malformed or was changed after it was written, a label that is no
            class. The sentence names file and line and never quotes the table.
    """
    table = _find(path)
    data = _bytes(table.path)
    version = digest_bytes(data)
    if table.number and not version.startswith(table.version):
        raise CxrError(f"{table.path} was changed after it was exported: export the labels again with cxr review.")
    spelt = {label.lower(): label for label in classes}
    labels: dict[str, str] = {}
    for line, row in _rows(table.path, data):
        if row["content_digest"] in labels:
            raise CxrError(f"{table.path}, line {line}: the film has a label already, keep one of them.")
        label = spelt.get(row["label"].lower())
        if label is None:
            raise CxrError(
                f"{table.path}, line {line}: the label is no class, correct it or name the classes by CXR_LABELS."
            )
        labels[row["content_digest"]] = label
    return LabelCorrections(LabelTable(table.path, table.number, version), labels)


def _find(path: Path) -> LabelTable:
    if path.is_dir():
        if (latest := _latest(path)) is None:
            raise CxrError(
                f"No table of labels in {path}: write one with cxr review export, or unset label_corrections."
            )
        return latest
    if found := _NAME.fullmatch(path.name):
        return LabelTable(path, int(found[1]), found[2])
    return LabelTable(path, 0, "")


def _latest(folder: Path) -> LabelTable | None:
    with explain_os_errors(folder, "looking for label corrections"):
        named = [(path, found) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
    tables = sorted((LabelTable(path, int(found[1]), found[2]) for path, found in named), key=lambda one: one.number)
    if len(tables) > 1 and tables[-1].number == tables[-2].number:
        raise CxrError(f"{tables[-1].path} and {tables[-2].path.name} have the same number: keep the right one.")
    return tables[-1] if tables else None


def _bytes(path: Path) -> bytes:
    with explain_os_errors(path, "reading the label corrections"):
        return path.read_bytes()


def _rows(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CxrError(f"{path} is not a CSV table in UTF-8: export it again.") from error
    queue = bool(lines) and tuple(lines[0]) == CORRECTION_COLUMNS + QUEUE_COLUMNS
    if not queue and (not lines or tuple(lines[0]) != CORRECTION_COLUMNS):
        raise CxrError(f"{path} must have the columns {', '.join(CORRECTION_COLUMNS)}: export it again.")
    for line, values in enumerate(lines[1:], start=2):
        if not values:
            continue  # an empty line, as editors leave it at the end
        if len(values) != len(lines[0]):
            raise CxrError(f"{path}, line {line}: it must have {len(lines[0])} values, export it again.")
        row = dict(zip(lines[0], values, strict=True))
        if queue and not (row["action"] or row["reviewer"] or row["decided"]):
            continue  # nobody has looked at this film yet
        for column in ("content_digest", "model_digest"):
            if not _DIGEST.fullmatch(row[column]):
                raise CxrError(f"{path}, line {line}: {column} must be a SHA-256 in 64 small hexadecimal digits.")
        if row["action"] not in _ACTIONS or not _is_time(row["decided"]):
            raise CxrError(f"{path}, line {line}: action must be accept or correct, and decided a time in ISO 8601.")
        yield line, row


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------- in the index
def apply_corrections(table: pd.DataFrame, sidecar: pd.DataFrame | None, corrections: LabelCorrections) -> None:
    """Give the films that readers labelled their label, and say of every film where its label is from.

    Args:
        table: one row a file: ``file``, ``sha256``, ``label``, that of the folder. ``label`` becomes the reader's where
            there is one. Added: ``original_label``, that of the folder, and ``label_source``: ``review``; ``sidecar``
            where the sidecar states the folder's label too; ``folder``.
        sidecar: as :func:`cxr_core.dataset.sidecar.read_sidecar` gives it.
        corrections: what readers say.
    """
    said = table["sha256"].map(corrections.labels)
    by_reader = said.notna()
    in_sidecar = np.zeros(len(table), bool)
    if sidecar is not None:
        stated = sidecar["label"].reindex(table["file"]).fillna("").str.lower().to_numpy()
        in_sidecar = stated == table["label"].str.lower().to_numpy()
    table["original_label"] = table["label"]
    table["label_source"] = np.select([by_reader, in_sidecar], [_REVIEW, "sidecar"], "folder")
    table["label"] = said.where(by_reader, table["label"])


def spread_to_copies(table: pd.DataFrame, copies: npt.NDArray[np.intp]) -> None:
    """Give the copies of a film that a reader labelled its label: they are the same film.

    Where readers gave copies different labels nothing is spread, and the copies contradict each other.

    Args:
        table: after :func:`apply_corrections`.
        copies: number of the copy cluster of each row.
    """
    clusters = pd.Series(copies, index=table.index)
    read = table["label_source"].eq(_REVIEW)
    touched = clusters.isin(clusters[read]) & clusters.duplicated(keep=False)
    for members in clusters[touched].groupby(clusters[touched]).groups.values():
        labels = table.loc[members, "label"][read[members]].unique()
        if len(labels) == 1:
            table.loc[members, "label"] = labels[0]
            table.loc[members, "label_source"] = _REVIEW
