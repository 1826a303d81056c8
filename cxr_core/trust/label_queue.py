"""The relabel queue: which films a reader should look at first, in a form that is handed back as label corrections."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.label_corrections import CORRECTION_COLUMNS, QUEUE_COLUMNS
from cxr_core.errors import CxrError
from cxr_core.trust.label_search import Found

__all__ = ["KINDS", "QUEUE_FILE", "contradictions", "queue_csv", "relabel_queue"]

QUEUE_FILE = "relabel_queue.csv"
# In the order of the queue: a contradiction is certain, the others are ranked together by their score.
KINDS = ("contradiction", "system", "random")
_COLUMNS = ["image_id", "sha256", "label", "suggested", "score", "kind", "source"]


def contradictions(index: pd.DataFrame) -> pd.DataFrame:
    """Copies of one film that are filed under different labels, one row a content.

    Args:
        index: image_id, sha256, label, source, group_id, reason_code of the image index.

    Returns:
        Columns as :func:`relabel_queue`. ``label`` names every label that the content has; ``suggested`` is the label
        that most files of its group have, empty where two have equally many.
    """
    rows = index[index["reason_code"] == "contradictory_label"].sort_values(["sha256", "label"])
    found = []
    for (group, sha256), members in rows.groupby(["group_id", "sha256"], sort=True):
        votes = rows.loc[rows["group_id"] == group, "label"].value_counts()
        first = votes.index[0] if len(votes) == 1 or votes.iloc[0] > votes.iloc[1] else ""
        found.append(
            {
                "image_id": members["image_id"].iloc[0],
                "sha256": sha256,
                "label": " / ".join(sorted(members["label"].unique())),
                "suggested": first,
                "score": 1.0,
                "kind": KINDS[0],
                "source": members["source"].iloc[0],
            }
        )
    return pd.DataFrame(found, columns=_COLUMNS)


def relabel_queue(found: Found | None, sha256: pd.Series, contradicting: pd.DataFrame) -> pd.DataFrame:
    """All suspects, ranked.

    Args:
        found: of the search; None where there was too little to search.
        sha256: content digests by image_id.
        contradicting: of :func:`contradictions`.

    Returns:
        Columns image_id, sha256, label (as filed), suggested, score (how probably the label is wrong, 0-1), kind
        (one of :data:`KINDS`), source, rank from 1.
    """
    parts = [contradicting] if len(contradicting) else []
    if found is not None and found.suspects.any():
        parts.append(_suspects(found, sha256))
    if not parts:
        return pd.DataFrame(columns=[*_COLUMNS, "rank"]).astype({"score": np.float64, "rank": np.int64})
    table = pd.concat(parts, ignore_index=True).drop_duplicates("sha256")
    later = table["kind"].ne(KINDS[0])
    order = np.lexsort((table["image_id"], -table["score"], later))
    table = table.iloc[order].reset_index(drop=True)
    return table.assign(rank=np.arange(1, len(table) + 1))


def _suspects(found: Found, sha256: pd.Series) -> pd.DataFrame:
    labels, n = found.labels, len(found.labels)
    wrong: npt.NDArray[np.float64] = np.zeros(n)
    suggested = found.confident.suggested.copy()
    p = found.probabilities
    own, other = p[np.arange(n), labels], p[np.arange(n), suggested]
    np.divide(other, own + other, out=wrong, where=own + other > 0)
    for cell in found.systematic:
        assert cell.judged.mixture is not None
        rows = cell.suspects()
        place = {row: at for at, row in enumerate(cell.rows.tolist())}
        for row in rows.tolist():
            wrong[row] = cell.judged.mixture.wrong[place[row]]
            suggested[row] = cell.other
    rows = np.flatnonzero(found.suspects)
    films = found.films.iloc[rows]
    return pd.DataFrame(
        {
            "image_id": films["image_id"].to_numpy(),
            "sha256": sha256.loc[films["image_id"]].to_numpy(),
            "label": [found.names[place] for place in labels[rows]],
            "suggested": [found.names[place] for place in suggested[rows]],
            "score": wrong[rows],
            "kind": np.where(found.by_system[rows], KINDS[1], KINDS[2]),
            "source": films["source"].to_numpy(),
        },
        columns=_COLUMNS,
    )


def queue_csv(queue: pd.DataFrame, audit_digest: str, labels: Sequence[str]) -> str:
    """The queue as a table of label corrections whose decisions are still empty.

    A reader looks at the film, writes ``accept`` into ``action`` where ``label``, the suggestion, is right, or
    ``correct`` and another label (that which it is filed under, too), and fills in ``reviewer`` and ``decided`` (a time
    in ISO 8601). Rows without a decision are passed over when the table is read.

    Args:
        queue: of :func:`relabel_queue`.
        audit_digest: 64 hexadecimal digits that name what made the suggestions; becomes ``model_digest``.
        labels: class names.

    Raises:
        CxrError: a suggestion that is no class.
    """
    if not set(queue["suggested"]) <= {"", *labels}:
        raise CxrError("The relabel queue suggests a label that is no class: materialise label_audit again.")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*CORRECTION_COLUMNS, *QUEUE_COLUMNS])
    for row in queue.itertuples(index=False):
        decision = {"content_digest": row.sha256, "label": row.suggested, "model_digest": audit_digest}
        asked = {
            "rank": row.rank, "image_id": row.image_id, "filed": row.label, "suggested": row.suggested,
            "score": f"{row.score:.4f}", "kind": row.kind, "source": row.source,
        }  # fmt: skip
        writer.writerow([*(decision.get(name, "") for name in CORRECTION_COLUMNS), *(asked[n] for n in QUEUE_COLUMNS)])
    return text.getvalue()
