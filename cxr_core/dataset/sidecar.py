"""The optional ``metadata.csv`` beside the class folders, and patients told from known file-name schemes."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import pandas as pd

from cxr_core.dataset.scan import SIDECAR
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["parse_patient", "read_sidecar", "rows_without_file"]

COLUMNS = ["file", "label", "patient_id", "source", "original_name"]

_SCHEMES = (  # name pattern -> data set whose patient numbers it carries
    ("kermany", re.compile(r"person(\d+)_")),  # person1_bacteria_1.jpeg
    ("kermany-normal", re.compile(r"(?:NORMAL2-)?IM-(\d+)-\d+")),  # NORMAL2-IM-0001-0001.jpeg
    ("nih", re.compile(r"(?<!\d)(\d{8})_\d{3}(?!\d)")),  # 00003748_000.png
    ("shenzhen", re.compile(r"CHNCXR_(\d+)_\d")),  # CHNCXR_0124_0.png
    ("montgomery", re.compile(r"MCUCXR_(\d+)_\d")),  # MCUCXR_0002_0.png
)


def read_sidecar(raw_dir: Path) -> pd.DataFrame | None:
    """The sidecar as strings, indexed by file; ``None`` where there is none.

    Columns label, patient_id, source, original_name; empty where the sidecar says nothing, and label is missing
    altogether (``<NA>``) where the sidecar has no label column.

    Raises:
        CxrError: no ``file`` column, or a file listed twice with different content.
    """
    path = raw_dir / SIDECAR
    if not path.is_file():
        return None
    with explain_os_errors(path, "reading the sidecar"):
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise CxrError(f"{path} is not a CSV table in UTF-8: {error}.") from error
    if "file" not in table:
        raise CxrError(f"{path} has no column 'file': name each image relative to {raw_dir} there.")
    table = table.apply(lambda column: column.str.strip()).reindex(columns=COLUMNS)
    table["file"] = table["file"].str.replace("\\", "/").str.removeprefix("./")
    table = table.drop_duplicates()
    twice = table["file"][table["file"].duplicated()]
    if len(twice):
        raise CxrError(f"{path} lists {twice.iloc[0]} twice with different entries: keep one.")
    return table.set_index("file")


def rows_without_file(raw_dir: Path, files: Collection[str]) -> int:
    """Number of sidecar rows whose file is not in the raw folder: no error, as a sidecar may cover more than a part."""
    sidecar = read_sidecar(raw_dir)
    return 0 if sidecar is None else int((~sidecar.index.isin(list(files))).sum())


def parse_patient(name: str) -> str:
    """Patient key told from a file name, ``scheme:number``; empty where no known scheme fits."""
    stem = PurePosixPath(name).name
    for scheme, pattern in _SCHEMES:
        if found := pattern.search(stem):
            return f"{scheme}:{found.group(1)}"
    return ""
