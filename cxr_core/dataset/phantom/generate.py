"""Writing a phantom data set to disk, so that an interrupted or foreign tree is never mistaken for a finished one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_core.dataset.phantom.defects import mask_png
from cxr_core.dataset.phantom.files import build_content
from cxr_core.dataset.phantom.plan import PlannedFile, plan_files
from cxr_core.dataset.phantom.spec import PhantomSpec
from cxr_core.dataset.phantom.truth import (
    PLAN_FILE,
    SPEC_FILE,
    TRUTH_COLUMNS,
    TRUTH_DIR,
    PhantomTruth,
    load_truth,
    read_spec,
    tree_digest,
)
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.settings import LABELS

__all__ = ["GENERATOR_VERSION", "ensure_phantoms", "generate_phantoms"]

GENERATOR_VERSION = "3"  # raise it with every change that alters a byte of the output
_METADATA = "metadata.csv"
_WORKERS = 4  # rendering spends most of its time in OpenCV and zlib, which release the interpreter lock
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left in a folder by looking at it
_SHOWN_FOREIGN = 3  # foreign files named in an error


def _write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name, then rename: a reader sees all of it or none."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    temporary.replace(path)


def _planned_paths(root: Path) -> set[str]:
    """Paths that an earlier generation in `root` wrote or was about to write; empty if there was none."""
    try:
        return set(json.loads((root / TRUTH_DIR / PLAN_FILE).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _refuse_foreign(root: Path) -> None:
    """Raise unless every file under `root` was made by the generator."""
    own = _planned_paths(root)
    present = (path for path in root.rglob("*") if not path.is_dir() and path.name not in _LITTER)
    paths = (path.relative_to(root).as_posix() for path in present)
    foreign = sorted(path for path in paths if path not in own and not (own and path.startswith(f"{TRUTH_DIR}/")))
    # A generation that died before it had written its plan leaves at most the plan's temporary file.
    foreign = [path for path in foreign if path != f"{TRUTH_DIR}/{Path(PLAN_FILE).stem}.tmp"]
    if foreign:
        named = ", ".join(foreign[:_SHOWN_FOREIGN]) + (", ..." if len(foreign) > _SHOWN_FOREIGN else "")
        raise CxrError(
            f"{root} holds {len(foreign)} file(s) that the phantom generator did not make ({named}): "
            "choose an empty folder for the phantoms."
        )


def _clear(root: Path) -> None:
    """Remove an earlier generation; its completion record goes first and its plan last."""
    (root / TRUTH_DIR / SPEC_FILE).unlink(missing_ok=True)
    for path in _planned_paths(root):
        (root / path).unlink(missing_ok=True)
    for label in LABELS:
        if (root / label).is_dir():
            shutil.rmtree(root / label)
    if (root / TRUTH_DIR).is_dir():
        shutil.rmtree(root / TRUTH_DIR)


def _write_file(root: Path, spec: PhantomSpec, planned: PlannedFile) -> dict[str, str]:
    """Write one image file with its masks; returns its row of the truth table."""
    content = build_content(spec, planned)
    (root / planned.file).write_bytes(content.data)
    row = {
        "file": planned.file,
        "true_label": planned.true_label,
        "filed_label": planned.filed_label,
        "patient_id": planned.patient_id,
        "site": planned.site,
        "defect": planned.defect,
        "duplicate_of": planned.source.file if planned.source else "",
    }
    for name, mask in (("lesion", content.lesion_mask), ("lung", content.lung_mask)):
        path = "" if mask is None else f"{TRUTH_DIR}/{name}/{planned.stem}.png"
        if mask is not None:
            (root / path).write_bytes(mask_png(mask))
        row[f"{name}_mask"] = path
    return row


def _write_metadata(root: Path, files: list[PlannedFile]) -> None:
    """Write the sidecar that a hospital would deliver: labels as filed, patients as registered."""
    rows = [(file.file, file.filed_label, file.registered_id, file.site) for file in files]
    table = pd.DataFrame(rows, columns=["file", "label", "patient_id", "source"])
    table.to_csv(root / _METADATA, index=False, lineterminator="\n")


def generate_phantoms(
    root: Path, spec: PhantomSpec, progress: Callable[[int, int], None] | None = None
) -> PhantomTruth:
    """Write a phantom data set, replacing an earlier one.

    Layout: `root/<label>/film-NNNNNN.<ext>`, `root/metadata.csv` (file, label, patient_id, source), and the truth under
    `root/.truth`: `truth.csv`, `lesion/*.png`, `lung/*.png`, `spec.json`.

    Args:
        root: Folder to write to; made if missing.
        spec: What to write. Equal specs give equal bytes.
        progress: Called after each file with the number of files done and in all.

    Returns:
        The truth of the data set.

    Raises:
        CxrError: `root` holds files that the generator did not make, or cannot be written.
    """
    files = plan_files(spec)
    with explain_os_errors(root, "writing the phantom films"):
        _refuse_foreign(root)
        _clear(root)
        for folder in (*LABELS, f"{TRUTH_DIR}/lesion", f"{TRUTH_DIR}/lung"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        paths = [file.file for file in files] + [_METADATA]
        _write_json(root / TRUTH_DIR / PLAN_FILE, {"generator": GENERATOR_VERSION, "files": paths})
        rows = []
        with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
            try:
                for row in pool.map(partial(_write_file, root, spec), files):
                    rows.append(row)
                    if progress is not None:
                        progress(len(rows), len(files))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        _write_metadata(root, files)
        table = pd.DataFrame(rows, columns=list(TRUTH_COLUMNS))
        table.to_csv(root / TRUTH_DIR / "truth.csv", index=False, lineterminator="\n")
        record = {"generator": GENERATOR_VERSION, "spec": spec.model_dump(mode="json"), "digest": tree_digest(root)}
        _write_json(root / TRUTH_DIR / SPEC_FILE, record)
    return load_truth(root)


def ensure_phantoms(root: Path, spec: PhantomSpec, progress: Callable[[int, int], None] | None = None) -> PhantomTruth:
    """Return the phantom data set of `spec` in `root`; generate it if missing, unfinished or of another spec.

    A finished tree of the same spec and generator version is left alone, provided that all its files are there.

    Raises:
        CxrError: As `generate_phantoms`.
    """
    record = read_spec(root)
    if record is not None and record[:2] == (GENERATOR_VERSION, spec):
        paths = _planned_paths(root)
        if paths and all((root / path).is_file() for path in paths):
            return load_truth(root)
    return generate_phantoms(root, spec, progress)
