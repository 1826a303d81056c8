"""The known truth of a phantom data set, kept beside it in `.truth`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr_core.dataset.phantom.spec import PhantomSpec
from cxr_core.digests import digest_file, digest_json
from cxr_core.errors import CxrError

__all__ = ["TRUTH_COLUMNS", "PhantomTruth", "load_truth", "tree_digest"]

TRUTH_DIR = ".truth"
SPEC_FILE = "spec.json"  # written last: its presence says that the tree is complete
PLAN_FILE = "plan.json"  # written first: names every file that the generator may replace
TRUTH_COLUMNS = (
    "file",
    "true_label",
    "filed_label",
    "patient_id",
    "site",
    "defect",
    "duplicate_of",
    "lesion_mask",
    "lung_mask",
)


@dataclass(frozen=True)
class PhantomTruth:
    """What a phantom data set really holds.

    Attributes:
        root: Folder of the data set.
        table: One row per image file with the columns of `TRUTH_COLUMNS`, all strings; paths relative to `root`, empty
            where there is nothing to name.
        digest: SHA-256 over all files, see `tree_digest`.
    """

    root: Path
    table: pd.DataFrame
    digest: str


def tree_digest(root: Path) -> str:
    """SHA-256 over the paths and contents of all files under `root`, the generator's own two records left out."""
    records = {root / TRUTH_DIR / SPEC_FILE, root / TRUTH_DIR / PLAN_FILE}
    files = sorted(path for path in root.rglob("*") if path.is_file() and path not in records)
    return digest_json([(path.relative_to(root).as_posix(), digest_file(path)) for path in files])


def read_spec(root: Path) -> tuple[str, PhantomSpec, str] | None:
    """Generator version, spec and digest of a finished tree; `None` if there is none or its record is unreadable."""
    try:
        record = json.loads((root / TRUTH_DIR / SPEC_FILE).read_text(encoding="utf-8"))
        return str(record["generator"]), PhantomSpec.model_validate(record["spec"]), str(record["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_truth(root: Path) -> PhantomTruth:
    """Read the truth of a finished phantom data set.

    Raises:
        CxrError: `root` holds no finished phantom data set.
    """
    record = read_spec(root)
    if record is None:
        raise CxrError(f"{root} holds no finished phantom data set: generate one with ensure_phantoms.")
    table = pd.read_csv(root / TRUTH_DIR / "truth.csv", dtype=str, keep_default_na=False)
    return PhantomTruth(root, table, record[2])
