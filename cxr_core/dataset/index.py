"""The image index: every raw file with its verdict, label, source, group and statistics; nothing is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.duplicates import connected_groups, find_near_duplicates
from cxr_core.dataset.label_corrections import LabelCorrections, apply_corrections, spread_to_copies
from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.dataset.sidecar import parse_patient, read_sidecar
from cxr_core.digests import digest_bytes
from cxr_core.eda.statistics import STATISTICS
from cxr_core.imaging.quality import RULES, broken_rules
from cxr_core.progress import Log
from cxr_core.settings_sections import DuplicateSettings, QualitySettings

__all__ = ["ID_DIGITS", "build_index", "quarantine_of"]

ID_DIGITS = 16  # of a film's SHA-256: 64 bits, the chance of one collision in 10 million films is 3e-6

_HEADER = ["format", "mode", "width", "height", "bit_depth", "tint"]
_COLUMNS = [
    "image_id", "sha256", "file", "label", "label_index", "source", "group_id", "patient_known", "status",
    "reason_code", "reason", "duplicate_of", "flags", "bytes", *_HEADER, *STATISTICS,
]  # fmt: skip
_CORRECTED = ["original_label", "label_source"]  # there only where readers correct labels


def build_index(
    raw_dir: Path,
    hashed: pd.DataFrame,
    cache: PixelCache,
    labels: tuple[str, ...],
    quality: QualitySettings,
    duplicates: DuplicateSettings,
    log: Log | None = None,
    corrections: LabelCorrections | None = None,
) -> pd.DataFrame:
    """Judge every file.

    Args:
        raw_dir: raw folder; its sidecar is read.
        hashed: every file with its digest, after :func:`cxr_core.dataset.ingest.ingest` has run over it.
        cache: records and thumbnails of the contents.
        labels: class names in output order.
        quality: quality rules.
        duplicates: near-duplicate thresholds.
        log: where progress lines go.
        corrections: labels that readers gave in review, by content.

    Returns:
        One row a file, sorted by file. ``status`` is accepted, quarantined (``reason_code``, ``reason``) or duplicate
        (``duplicate_of`` is the image_id that stands for it). ``group_id`` is equal for films of one patient and for
        copies; it tells nothing of either. ``flags`` are the codes of broken rules that only mark.
        With ``corrections`` also ``original_label`` and ``label_source``, see :func:`apply_corrections`.
    """
    table = hashed.merge(cache.records(), on="sha256", how="left").sort_values("file", ignore_index=True)
    table = table.rename(columns={"size": "bytes"})
    table["image_id"] = table["sha256"].str[:ID_DIGITS]
    for column in ("reason_code", "reason", "duplicate_of", "flags", "source"):
        table[column] = table[column] if column == "reason" and "reason" in table else ""
    sidecar = read_sidecar(raw_dir)
    if corrections is not None:
        apply_corrections(table, sidecar, corrections)
    patients = _apply_sidecar(table, sidecar, labels)
    table["reason"] = table["reason"].fillna("")
    _judge_content(table, quality)
    copies = _copies(table, cache, duplicates, log)
    if corrections is not None:
        spread_to_copies(table, copies)
    _judge_copies(table, copies)
    table["group_id"], table["patient_known"] = _groups(table, patients, copies), patients != ""
    quarantined = table["reason_code"].ne("") & table["duplicate_of"].eq("")
    table["status"] = np.select([table["duplicate_of"].ne(""), quarantined], ["duplicate", "quarantined"], "accepted")
    table["label_index"] = table["label"].map({label: index for index, label in enumerate(labels)}).astype(np.int64)
    for column in (*_HEADER, *STATISTICS):  # nothing could be decoded: the columns are there all the same
        if column not in table:
            table[column] = np.nan
    for column in ("width", "height", "bit_depth"):
        table[column] = table[column].astype("Int64")
    return table[_COLUMNS if corrections is None else [*_COLUMNS, *_CORRECTED]]


def quarantine_of(index: pd.DataFrame) -> pd.DataFrame:
    """The files that are kept out, and why: columns file, label, image_id, reason_code, reason."""
    rows = index[index["status"] == "quarantined"]
    return rows[["file", "label", "image_id", "reason_code", "reason"]].reset_index(drop=True)


def _quarantine(table: pd.DataFrame, rows: npt.NDArray[np.bool_], code: str, reason: str | pd.Series) -> None:
    """Give ``rows`` a reason, unless they have one already: the first reason is the one to mend first."""
    free = rows & table["reason_code"].eq("").to_numpy()
    table.loc[free, "reason_code"] = code
    table.loc[free, "reason"] = reason if isinstance(reason, str) else reason[free]


def _apply_sidecar(table: pd.DataFrame, sidecar: pd.DataFrame | None, labels: tuple[str, ...]) -> pd.Series:
    """Set source and label problems from the sidecar; returns the patient key of each row, empty where unknown."""
    from_name = table["file"].map(parse_patient)
    if sidecar is None:
        return from_name
    listed = sidecar.reindex(table["file"]).reset_index(drop=True)
    table["source"] = listed["source"].fillna("")
    known = table["file"].isin(sidecar.index).to_numpy()
    if "label_source" in table:  # a reader settled what folder and sidecar may disagree about
        known &= table["label_source"].ne("review").to_numpy()
    if sidecar["label"].notna().any():
        said = listed["label"].fillna("").str.lower()
        canonical = said.map({label.lower(): label for label in labels}).fillna("")
        empty = known & said.eq("").to_numpy()
        foreign = known & canonical.eq("").to_numpy() & ~empty
        other = known & canonical.ne("").to_numpy() & canonical.ne(table["label"]).to_numpy()
        _quarantine(table, empty, "missing_label", "metadata.csv gives no label for this file: fill it in.")
        _quarantine(table, foreign, "unknown_label", "metadata.csv gives a label that is no class: correct it.")
        _quarantine(table, other, "label_mismatch", "metadata.csv and the folder disagree on the label: correct one.")
    original = listed["original_name"].fillna("").map(parse_patient)
    stated = listed["patient_id"].fillna("")
    stated = stated.where(stated.eq(""), table["source"] + "/" + stated)
    return stated.where(stated.ne(""), original.where(original.ne(""), from_name))


def _judge_content(table: pd.DataFrame, quality: QualitySettings) -> None:
    _quarantine(
        table, table["sha256"].eq("").to_numpy(), "unreadable", "The file cannot be read: mend its link or permissions."
    )
    code = table["code"].fillna("")
    table["reason_code"] = table["reason_code"].where(table["reason_code"].ne(""), code)
    decoded = code.eq("") & table["sha256"].ne("")
    if not decoded.any():
        return
    rows = table.loc[decoded, ["width", "height", "mean", "std", "tint"]].astype({"width": int, "height": int})
    records = [dict(zip(rows.columns.astype(str), values, strict=True)) for values in rows.itertuples(index=False)]
    broken = [(values, broken_rules(values, quality)) for values in records]
    marks = [",".join(rule.code for rule in rules if rule.effect == "flag") for _, rules in broken]
    table.loc[decoded, "flags"] = marks
    for rule in (rule for rule in RULES if rule.effect == "quarantine"):
        reasons = [rule.reason(values, quality) if rule in rules else "" for values, rules in broken]
        found = pd.Series(reasons, index=rows.index).reindex(table.index, fill_value="")
        _quarantine(table, found.ne("").to_numpy(), rule.code, found)


def _copies(
    table: pd.DataFrame, cache: PixelCache, settings: DuplicateSettings, log: Log | None
) -> npt.NDArray[np.intp]:
    """Number of the copy cluster of each row; rows that are out for another reason stay alone."""
    usable = np.flatnonzero(table["reason_code"].eq(""))
    contents = table["sha256"].iloc[usable]
    first = contents.drop_duplicates()
    pairs = find_near_duplicates(cache.thumbnails(first.tolist()), settings, log)
    near = first.index.to_numpy()[pairs[["a", "b"]].to_numpy(np.intp)]
    same = np.column_stack([contents.map(dict(zip(first, first.index, strict=True))), contents.index])
    return connected_groups(len(table), np.concatenate([near.reshape(-1, 2), same]).astype(np.intp))


def _judge_copies(table: pd.DataFrame, copies: npt.NDArray[np.intp]) -> None:
    """Keep the largest film of each cluster; put a cluster with contradicting labels aside altogether."""
    clusters = pd.Series(copies, index=table.index)
    for members in clusters[clusters.duplicated(keep=False)].groupby(clusters).groups.values():
        rows = table.loc[members]
        if rows["label"].nunique() > 1:
            named = " and ".join(sorted(rows["label"].unique()))
            table.loc[members, "reason_code"] = "contradictory_label"
            table.loc[members, "reason"] = f"The same film is filed under {named}: keep the one that is right."
            continue
        pixels = rows["width"].astype(int) * rows["height"].astype(int)
        order = pd.DataFrame({"pixels": -pixels, "bytes": -rows["bytes"], "file": rows["file"]})
        keeper = order.sort_values(["pixels", "bytes", "file"]).index[0]
        for row in members.drop(keeper):
            exact = rows["sha256"][row] == rows["sha256"][keeper]
            table.at[row, "duplicate_of"] = rows["image_id"][keeper]
            table.at[row, "reason_code"] = "exact_duplicate" if exact else "near_duplicate"
            table.at[row, "reason"] = f"A copy of {rows['file'][keeper]}, which stands for it."


def _groups(table: pd.DataFrame, patients: pd.Series, copies: npt.NDArray[np.intp]) -> pd.Series:
    """Opaque identifier of what must stay on one side of a split: a patient's films, and copies of them."""
    named = np.flatnonzero(patients.ne(""))
    keys = np.column_stack([named, len(table) + pd.factorize(patients.iloc[named])[0]])
    offset = len(table) + patients.nunique()
    links = np.column_stack([np.arange(len(table)), offset + copies])
    component = connected_groups(offset + len(table), np.concatenate([keys, links]).astype(np.intp))[: len(table)]
    smallest = (table["sha256"] + table["file"].where(table["sha256"].eq(""), "")).groupby(component).transform("min")
    return smallest.map(lambda text: "g" + digest_bytes(text.encode())[:ID_DIGITS])
