"""Rows of a folder as a table: CSV, Parquet or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_core.client.answers import Answer
from cxr_core.client.outcome import Row
from cxr_core.errors import CxrError
from cxr_core.store import write_atomically

__all__ = ["COLUMNS", "FORMATS", "check_format", "results_table", "row_json", "write_results"]

_BEFORE = ("file", "sha256", "prediction", "confidence")
_AFTER = ("entropy", "margin", "warnings", "parts", "error", "model", "version", "request_id")
# What stands in a table besides a column ``p_<label>`` for each class.
COLUMNS = (*_BEFORE, *_AFTER)
# And where the model package has the parts that say so.
_SAID = ("prediction_set", "flags")


def results_table(rows: Iterable[Row]) -> pd.DataFrame:
    """One row a file, in the order given.

    Returns:
        Columns file, sha256, prediction, confidence, p_<label> for each class, entropy, margin, warnings (codes with
        spaces between), parts (JSON), error (code), model (digest), version, request_id; after margin prediction_set
        (JSON list of labels) and flags (names with spaces between, see :attr:`Answer.flags`) where any answer has
        them. Where there is no answer the numbers are missing and the texts empty.
    """
    flat = [_flat(row) for row in rows]
    labels = list(dict.fromkeys(name for values in flat for name in values if name.startswith("p_")))
    said = [name for name in _SAID if any(name in values for values in flat)]
    table = pd.DataFrame(flat, columns=[*_BEFORE, *labels, *_AFTER[:2], *said, *_AFTER[2:]])
    numbers = ["confidence", "entropy", "margin", *labels]
    texts = [name for name in table.columns if name not in numbers]
    table[texts] = table[texts].fillna("").astype(str)
    table[numbers] = table[numbers].astype(float)
    return table


def _flat(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {"file": row.file, "sha256": row.digest}
    outcome = row.outcome
    if not isinstance(outcome, Answer):
        return {**values, "error": outcome.code}
    uncertainty, labels, flags = outcome.uncertainty, outcome.prediction_set, outcome.flags
    return {
        **values,
        **({} if labels is None else {"prediction_set": json.dumps(labels)}),
        **({} if flags is None else {"flags": " ".join(flags)}),
        "prediction": outcome.prediction,
        "confidence": outcome.confidence,
        **{f"p_{label}": p for label, p in outcome.probabilities.items()},
        "entropy": uncertainty.entropy if uncertainty else None,
        "margin": uncertainty.margin if uncertainty else None,
        "warnings": " ".join(warning.code for warning in outcome.warnings),
        "parts": json.dumps(outcome.parts, sort_keys=True) if outcome.parts else "",
        "model": outcome.model.digest,
        "version": outcome.model.version,
        "request_id": outcome.request_id,
    }


def row_json(row: Row) -> dict[str, Any]:
    """One row with everything that was answered."""
    values: dict[str, Any] = {"file": row.file, "sha256": row.digest}
    outcome = row.outcome
    if isinstance(outcome, Answer):
        return {**values, **outcome.model_dump(mode="json", exclude_none=True)}
    return {**values, "code": outcome.code, "error": outcome.detail}


def _csv(rows: Sequence[Row]) -> bytes:
    return results_table(rows).to_csv(index=False, lineterminator="\n").encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    return bytes(results_table(rows).to_parquet(index=False))


def _json_lines(rows: Sequence[Row]) -> bytes:
    return b"".join(json.dumps(row_json(row)).encode() + b"\n" for row in rows)


FORMATS: dict[str, Callable[[Sequence[Row]], bytes]] = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines}


def check_format(out: Path) -> None:
    """Refuse a result file before any film is sent.

    Raises:
        CxrError: its suffix names no format, or a folder lies there.
    """
    if out.suffix.lower() not in FORMATS:
        raise CxrError(f"{out} must end in {', '.join(FORMATS)}: the suffix says how results are written.")
    if out.is_dir():
        raise CxrError(f"{out} is a folder: name the file of the results.")


def write_results(rows: Sequence[Row], out: Path) -> None:
    """Write the file as a whole, or not at all.

    Raises:
        CxrError: as :func:`check_format`, or the disk refuses.
    """
    check_format(out)
    write_atomically(out, FORMATS[out.suffix.lower()](rows))
